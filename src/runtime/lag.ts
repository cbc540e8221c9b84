/**
 * How far one member of a pool may be behind: its own limits of backlog, which act on its place alone. The others, and
 * the entry of the pool, do not notice. What all of the pool may hold is `limits.ts`.
 */
import type { Clock } from "../clock.js";
import type { LogConsumer } from "../log/consumer/consumer.js";
import type { Log } from "../log/log.js";
import { ageMs } from "./limits.js";
import type { FlushSettings } from "./settings.js";

/** Sizes are looked at again after so many accepted bytes. */
const LOOK_BYTES = 16 * 1024;

export class LagBudget {
  readonly #log: Log;
  readonly #consumer: LogConsumer;
  readonly #flush: FlushSettings;
  readonly #clock: Clock;
  readonly #onDropped: () => void;
  #lookAt = 0;

  /** @param onDropped called when something was dropped; the consumer counts it */
  constructor(log: Log, consumer: LogConsumer, flush: FlushSettings, clock: Clock, onDropped: () => void) {
    this.#log = log;
    this.#consumer = consumer;
    this.#flush = flush;
    this.#clock = clock;
    this.#onDropped = onDropped;
  }

  /** To be called after records were accepted. Cheap without limits. */
  keep(): void {
    const { backlogRecords, backlogBytes } = this.#flush;
    if (backlogRecords > 0) this.#keepRecords(backlogRecords);
    if (backlogBytes === 0 || this.#log.acceptedBytes < this.#lookAt) return;
    this.#lookAt = this.#log.acceptedBytes + LOOK_BYTES;
    this.#keepBytes(backlogBytes);
  }

  #keepRecords(limit: number): void {
    const over = this.#consumer.waiting - limit;
    if (over <= 0) return;
    const { nextOffset } = this.#log;
    const { offset } = this.#consumer;
    // Who prefers older records, or would rather refuse: at the entry of a pool nobody is refused for one member's sake.
    if (this.#flush.overflow === "dropOldest") this.#drop(offset, offset + over);
    else this.#drop(nextOffset - over, nextOffset);
  }

  #keepBytes(limit: number): void {
    while (this.#consumer.backlog().bytes > limit) {
      const { offset } = this.#consumer;
      const { nextOffset } = this.#log;
      if (this.#flush.overflow !== "dropOldest") {
        // All that came since sizes were looked at last: what waits grows by no more than that.
        if (!this.#drop(this.#sizeKeptTo, nextOffset)) break;
        return;
      }
      const end = this.#log.endOfPiece(offset);
      if (end === undefined || !this.#drop(offset, end)) break;
    }
    this.#sizeKeptTo = this.#log.nextOffset;
  }

  /** Records below were within the limit of size. */
  #sizeKeptTo = 0;

  #drop(from: number, to: number): boolean {
    if (this.#consumer.drop(from, to) === 0) return false;
    this.#onDropped();
    return true;
  }

  /** Drops what has waited too long. Called now and then. */
  async check(): Promise<void> {
    const { backlogAgeMs } = this.#flush;
    this.keep();
    if (backlogAgeMs === 0) return;
    const isOld = (block: Parameters<typeof ageMs>[1], elapsedMs: number): boolean =>
      ageMs(this.#clock, block, elapsedMs) > backlogAgeMs;
    if ((await this.#log.dropOld(isOld, this.#consumer)) > 0) this.#onDropped();
  }
}
