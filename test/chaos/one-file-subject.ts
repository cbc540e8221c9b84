/**
 * One file as the target of two members of a pool, under chaos: they take turns at it, and neither takes a line from the
 * other. Each record is there at least once; how often, nobody promises.
 */
import type { Flow } from "../support/node-red.js";
import type { FileSubject } from "./file-subject.js";
import { isIntact } from "./flow.js";
import { PoolSubject } from "./pool-subject.js";
import type { Subject } from "./subject.js";

export class OneFileSubject implements Subject {
  readonly name = "one file";
  readonly inOrder = false;
  readonly #file: FileSubject;
  readonly #pool: PoolSubject;

  constructor(file: FileSubject) {
    this.#file = file;
    this.#pool = new PoolSubject([file, file]);
  }

  get exporter(): Readonly<Record<string, unknown>> {
    return this.#pool.exporter;
  }

  get members(): Flow {
    return this.#pool.members;
  }

  hold(pick: number): Promise<string> {
    return this.#file.hold(pick);
  }

  release(): Promise<void> {
    return this.#file.release();
  }

  /** Each once; what is no whole line of ours as it is. */
  async *arrived(): AsyncIterable<unknown> {
    const seen = new Set<number>();
    for await (const value of this.#file.arrived()) {
      if (isIntact(value) && seen.has(value.n)) continue;
      if (isIntact(value)) seen.add(value.n);
      yield value;
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
