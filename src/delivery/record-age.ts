/**
 * How old a record is at least, whatever has become of the wall clock since it was accepted: a board without a battery
 * starts in the past, and once its clock is set, what came a minute ago would seem to be years old.
 */
import type { Clock } from "../clock.js";
import type { LogRecord } from "../record.js";

/** A larger difference between the two clocks since the last look is a jump, not drift. */
const JUMP_MS = 2_000;

export class RecordAge {
  readonly #clock: Clock;
  /** Wall time less monotonic time, as last seen, and since when it has been that. */
  #differenceMs: number;
  #evenSinceMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#evenSinceMs = clock.elapsedMs();
    this.#differenceMs = clock.wallMs() - this.#evenSinceMs;
  }

  /**
   * By the wall clock where that can be trusted and could be at acceptance. What has come in this life, or at a time
   * that is in doubt, is taken to be no older than the clocks have been seen to run beside each other.
   */
  ofMs({ acceptedAtMs, replayed, isTimeDoubtful = false }: LogRecord): number {
    const nowMs = this.#clock.elapsedMs();
    const wallMs = this.#clock.wallMs();
    if (Math.abs(wallMs - nowMs - this.#differenceMs) > JUMP_MS) this.#evenSinceMs = nowMs;
    this.#differenceMs = wallMs - nowMs;
    const byWallMs = wallMs - acceptedAtMs;
    if (replayed && !isTimeDoubtful && this.#clock.isWallTrusted) return byWallMs;
    return Math.min(byWallMs, nowMs - this.#evenSinceMs);
  }
}
