/** What all who read a log have confirmed together: only that may be left out, forgotten or deleted. */
import type { LogConsumer } from "./consumer/consumer.js";
import { type Cursors, isConfirmedBy } from "./format/cursor.js";
import type { Done } from "./tail.js";

/** Confirmed by every consumer, and below the place of each orphan. */
export class DoneByAll implements Done {
  readonly #consumers: ReadonlyMap<string, LogConsumer>;
  readonly #orphans: Cursors;
  readonly #next: () => number;

  constructor(consumers: ReadonlyMap<string, LogConsumer>, orphans: Cursors, next: () => number) {
    this.#consumers = consumers;
    this.#orphans = orphans;
    this.#next = next;
  }

  get below(): number {
    let below = this.#next();
    for (const { offset } of this.#consumers.values()) below = Math.min(below, offset);
    for (const { offset } of this.#orphans.values()) below = Math.min(below, offset);
    return below;
  }

  has(offset: number): boolean {
    for (const consumer of this.#consumers.values()) if (!consumer.isConfirmed(offset)) return false;
    for (const cursor of this.#orphans.values()) if (!isConfirmedBy(cursor, offset)) return false;
    return true;
  }

  mayHave(from: number, to: number): boolean {
    for (const consumer of this.#consumers.values()) if (!consumer.hasConfirmedIn(from, to)) return false;
    for (const { offset, ranges } of this.#orphans.values()) if (offset <= from && ranges.length === 0) return false;
    return true;
  }
}

/** The same, counting of each consumer only what its target has made durable. */
export class SettledByAll extends DoneByAll {
  readonly #consumers: ReadonlyMap<string, LogConsumer>;

  constructor(consumers: ReadonlyMap<string, LogConsumer>, orphans: Cursors, next: () => number) {
    super(consumers, orphans, next);
    this.#consumers = consumers;
  }

  override get below(): number {
    let below = super.below;
    for (const consumer of this.#consumers.values()) {
      if (consumer.settle !== undefined) below = Math.min(below, consumer.settled.offset);
    }
    return below;
  }

  override has(offset: number): boolean {
    if (!super.has(offset)) return false;
    for (const consumer of this.#consumers.values()) {
      if (consumer.settle !== undefined && !isConfirmedBy(consumer.settled, offset)) return false;
    }
    return true;
  }
}
