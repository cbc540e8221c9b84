/**
 * A pool as the target under chaos: its members are targets of their own, each taken away and given back by itself, and
 * each must have everything.
 */
import type { Flow } from "../support/node-red.js";
import { RUNTIME_ID } from "./flow.js";
import type { Subject } from "./subject.js";

export class PoolSubject implements Subject {
  readonly name = "pool";
  readonly inOrder = false;
  readonly parts: readonly Subject[];
  readonly #held = new Set<Subject>();

  /** @param parts its members */
  constructor(parts: readonly Subject[]) {
    this.parts = parts;
  }

  get exporter(): Readonly<Record<string, unknown>> {
    return {
      type: "resilient-pool",
      data: "payload",
      dataType: "msg",
      control: false,
      transform: {},
      flush: {},
      wires: [this.parts.map((_, i) => `member-${i}`)],
    };
  }

  get members(): Flow {
    return this.parts.map(({ exporter }, i) => ({
      ...exporter,
      id: `member-${i}`,
      type: String(exporter["type"]),
      z: "tab",
      runtime: RUNTIME_ID,
      wires: [],
    }));
  }

  /** One, two or all of them. */
  async hold(pick: number): Promise<string> {
    const first = Math.floor(pick * this.parts.length);
    const count = 1 + (Math.floor(pick * 1_000) % this.parts.length);
    const told: string[] = [];
    for (let i = 0; i < count; i++) {
      const part = this.parts[(first + i) % this.parts.length]!;
      this.#held.add(part);
      told.push(`${part.name} (member ${(first + i) % this.parts.length}): ${await part.hold((pick * 10) % 1)}`);
    }
    return told.join(", ");
  }

  async release(): Promise<void> {
    for (const part of this.#held) await part.release();
    this.#held.clear();
  }

  /** Of its parts, one by one. */
  async *arrived(): AsyncIterable<unknown> {
    for (const part of this.parts) yield* part.arrived();
  }

  async close(): Promise<void> {
    for (const part of this.parts) await part.close();
  }
}
