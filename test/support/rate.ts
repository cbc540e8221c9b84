/** Work that is done at a certain speed and no faster, by the clock it is given. The speed may change in the middle. */
import { type Clock, sleep } from "../../src/clock.js";

/** It works this long at the speed it has just then. */
const SLICE_MS = 10;

export class Rate {
  perSecond: number;
  /** What has been done in all, also of what is still under way. */
  done = 0;
  readonly #clock: Clock;
  #working: Promise<void> = Promise.resolve();
  #sliceEndMs = 0;
  /** Of this slice: what may still be done in it. */
  #left = 0;

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock;
    this.perSecond = perSecond;
  }

  /** Resolves when so many are done, one caller after the other. */
  do(count: number): Promise<void> {
    return (this.#working = this.#working.then(() => this.#do(count)));
  }

  async #do(count: number): Promise<void> {
    for (let rest = count; rest > 0;) {
      if (this.#left <= 0) await this.#nextSlice();
      const now = Math.min(rest, this.#left);
      this.#left -= now;
      this.done += now;
      rest -= now;
    }
  }

  /** A timer that is late takes nothing from the speed; a pause without work is not made up for. */
  async #nextSlice(): Promise<void> {
    const nowMs = this.#clock.elapsedMs();
    const isAfterPause = nowMs > this.#sliceEndMs + 5 * SLICE_MS;
    this.#sliceEndMs = (isAfterPause ? nowMs : this.#sliceEndMs) + SLICE_MS;
    if (this.#sliceEndMs > nowMs) await sleep(this.#clock, this.#sliceEndMs - nowMs);
    this.#left = (this.perSecond * SLICE_MS) / 1_000;
  }
}
