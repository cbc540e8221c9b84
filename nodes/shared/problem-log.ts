/**
 * Keeps the log readable during an outage: the same cause is written once a minute at most, with a count of what was
 * left out.
 */
import type { Clock } from "../../src/clock.js";

/** A target that flaps every second would otherwise fill the log of a device within days. */
const QUIET_MS = 60_000;
/** Causes remembered at once; codes are few, but a third-party target may put anything there. */
const MAX_CAUSES = 100;

export class ProblemLog {
  readonly #clock: Clock;
  readonly #write: (message: string) => void;
  readonly #causes = new Map<string, { loggedAtMs: number; leftOut: number }>();

  constructor(clock: Clock, write: (message: string) => void) {
    this.#clock = clock;
    this.#write = write;
  }

  add(cause: string, message: string): void {
    const now = this.#clock.elapsedMs();
    const known = this.#causes.get(cause);
    if (known !== undefined && now - known.loggedAtMs < QUIET_MS) {
      known.leftOut += 1;
      return;
    }
    const leftOut = known?.leftOut ?? 0;
    this.#causes.delete(cause);
    this.#causes.set(cause, { loggedAtMs: now, leftOut: 0 });
    if (this.#causes.size > MAX_CAUSES) this.#causes.delete(this.#causes.keys().next().value!);
    this.#write(leftOut === 0 ? message : `${message} (and ${leftOut} times more since the last line)`);
  }
}
