/**
 * A bell that everyone who waits hears. Whoever waits looks at the state again afterwards: a ring says that something
 * has changed, not what.
 */
import type { Clock, Timer } from "../clock.js";

interface Waiter {
  readonly go: () => void;
  readonly timer: Timer | undefined;
}

export class Wakeup {
  readonly #clock: Clock;
  #waiters = new Set<Waiter>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves at the next ring, or after `ms` when that is finite. */
  wait(ms = Infinity): Promise<void> {
    return new Promise((resolve) => {
      // At least 1 ms, as timers have it: what is left of a difference of two times may be too small to move a clock.
      const timer = Number.isFinite(ms)
        ? this.#clock.after(Math.max(1, ms), () => {
            this.#waiters.delete(waiter);
            resolve();
          })
        : undefined;
      const waiter: Waiter = { go: resolve, timer };
      this.#waiters.add(waiter);
    });
  }

  ring(): void {
    if (this.#waiters.size === 0) return;
    const waiters = this.#waiters;
    this.#waiters = new Set();
    for (const waiter of waiters) {
      waiter.timer?.cancel();
      waiter.go();
    }
  }
}
