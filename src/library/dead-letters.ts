/** What programs can do with rejected records: those of an exporter, or of a pool and all its members. */
import { decode } from "../codec.js";
import type { DeadLetters as EngineDeadLetters, LetterFilter } from "../delivery/dead-letters.js";
import type { Routing } from "../record.js";
import type { Rejection } from "../targets/target.js";

export interface DeadLetter {
  /** The record's id: the same since it was accepted. */
  readonly id: string;
  /** Who rejected it: the name of an exporter; of the pool, when it was not even accepted. */
  readonly exporter: string;
  readonly rejection: Rejection;
  readonly acceptedAt: Date;
  readonly rejectedAt: Date;
  readonly routing: Routing;
  /** As it was accepted, so after the transform; as it was sent, when the transform failed. */
  readonly payload: unknown;
}

/** Which of them: all, or those with one of these ids, of one code. */
export interface DeadLetterFilter {
  readonly ids?: Iterable<string>;
  readonly code?: string;
}

/** Where the rejected records of one exporter are. */
export interface DeadLetterBox {
  readonly exporter: string;
  readonly letters: EngineDeadLetters;
  requeue(filter: LetterFilter): Promise<number>;
}

export class DeadLetters {
  readonly #boxes: () => Promise<readonly DeadLetterBox[]>;

  constructor(boxes: () => Promise<readonly DeadLetterBox[]>) {
    this.#boxes = boxes;
  }

  /** How many there are. */
  async count(): Promise<number> {
    return sumOf((await this.#boxes()).map(({ letters }) => letters.count));
  }

  /** Each exporter's, the oldest first. */
  async *list(filter?: DeadLetterFilter): AsyncGenerator<DeadLetter, void, undefined> {
    for (const { exporter, letters } of await this.#boxes()) {
      for await (const letter of letters.letters(engineFilter(filter))) {
        const { id, rejection, routing, acceptedAtMs, rejectedAtMs } = letter;
        yield {
          id,
          exporter,
          rejection,
          acceptedAt: new Date(acceptedAtMs),
          rejectedAt: new Date(rejectedAtMs),
          routing,
          payload: decode(letter.record),
        };
      }
    }
  }

  /** As lines of JSON, each with its line end; payloads as MongoDB Extended JSON, which keeps every type. */
  async *exported(filter?: DeadLetterFilter): AsyncGenerator<string, void, undefined> {
    for (const { letters } of await this.#boxes()) yield* letters.exported(engineFilter(filter));
  }

  /** Sends them once more, with the same ids, each to the exporter that rejected it. Resolves to how many. */
  async requeue(filter?: DeadLetterFilter): Promise<number> {
    const boxes = await this.#boxes();
    return sumOf(await Promise.all(boxes.map((box) => box.requeue(engineFilter(filter)))));
  }

  /** Throws them away. Resolves to how many. */
  async discard(filter?: DeadLetterFilter): Promise<number> {
    const boxes = await this.#boxes();
    return sumOf(await Promise.all(boxes.map(({ letters }) => letters.discard(engineFilter(filter)))));
  }
}

function engineFilter({ ids, code }: DeadLetterFilter = {}): LetterFilter {
  return { ...(ids === undefined ? {} : { ids: new Set(ids) }), ...(code === undefined ? {} : { code }) };
}

function sumOf(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}
