/**
 * Keeps a log readable through an outage: of each cause one line a minute, which says how many it stands for.
 */
import type { Clock } from "../clock.js";

const QUIET_MS = 60_000;

/** Causes remembered. Beyond that the oldest is forgotten, and may speak again. */
const MOST_CAUSES = 256;

export interface Repeats {
  /** How many like it were kept quiet since the last one that was logged. */
  readonly unlogged: number;
}

export class Quiet {
  readonly #clock: Clock;
  readonly #causes = new Map<string, { loggedAtMs: number; unlogged: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Undefined when this cause has been logged less than a minute ago. */
  mayLog(cause: string): Repeats | undefined {
    const nowMs = this.#clock.elapsedMs();
    const last = this.#causes.get(cause);
    if (last !== undefined && nowMs - last.loggedAtMs < QUIET_MS) {
      last.unlogged++;
      return undefined;
    }
    this.#causes.delete(cause);
    if (this.#causes.size >= MOST_CAUSES) this.#causes.delete(this.#causes.keys().next().value!);
    this.#causes.set(cause, { loggedAtMs: nowMs, unlogged: 0 });
    return { unlogged: last?.unlogged ?? 0 };
  }
}
