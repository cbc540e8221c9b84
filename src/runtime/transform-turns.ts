/**
 * What a transform gives later. The messages keep the order in which they came, so one that takes long holds those behind
 * it in memory; both that and a close have an end here.
 */
import type { Clock } from "../clock.js";
import { NotAcceptedError } from "./limits.js";

/** The payloads that a transform makes of a message: at once, or later. */
export type Results = unknown[] | Promise<unknown[]>;

/** How long a close waits for transforms under way; Node-RED gives a node 15 s for everything. */
const CLOSE_WAITS_MS = 3_000;
/** One that has taken this long may never end, ... */
const STUCK_MS = 30_000;
/** ... and then no more than so many wait behind it. A loop that sends thousands at once is done long before. */
const MOST_BEHIND_STUCK = 1_000;

export class TransformTurns {
  readonly #clock: Clock;
  #last: Promise<void> = Promise.resolve();
  #count = 0;
  /** Since when the first of them has its turn. */
  #sinceMs = 0;
  /** Waits no longer for the one whose turn it is. */
  #giveUp: () => void = () => undefined;
  #isTooLate = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** No more should come: one seems never to end, and many wait behind it. */
  get isStuck(): boolean {
    return this.#count >= MOST_BEHIND_STUCK && this.#clock.elapsedMs() - this.#sinceMs >= STUCK_MS;
  }

  /** Calls back with the results when those that came before have had their turn. */
  add(results: Results, use: (result: PromiseSettledResult<unknown[]>) => void): void {
    if (this.#count++ === 0) this.#sinceMs = this.#clock.elapsedMs();
    // Heard here, in its turn: until then a failure is not "unhandled".
    const settled = Promise.allSettled([results]);
    this.#last = this.#last.then(async () => {
      const [result] = await this.#unlessTooLate(settled);
      this.#count--;
      this.#sinceMs = this.#clock.elapsedMs();
      use(result);
    });
  }

  /** Resolves when all have had their turn. After 3 s those that have not ended fail with the code `closed`. */
  async end(): Promise<void> {
    const timer = this.#clock.after(CLOSE_WAITS_MS, () => {
      this.#isTooLate = true;
      this.#giveUp();
    });
    await this.#last;
    timer.cancel();
  }

  #unlessTooLate(settled: Promise<[PromiseSettledResult<unknown[]>]>): typeof settled {
    return new Promise((resolve) => {
      this.#giveUp = () => resolve([{ status: "rejected", reason: lateError() }]);
      void settled.then(resolve);
      if (this.#isTooLate) void Promise.resolve().then(this.#giveUp); // after those that have their result
    });
  }
}

function lateError(): NotAcceptedError {
  return new NotAcceptedError("closed", "The transform has not ended before the close.");
}
