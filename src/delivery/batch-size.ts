/**
 * How large the next batch should be, as a share of the user's limits. After an outage it starts small and doubles, as
 * TCP's slow start does, up to what held before; from there it grows by equal steps while that brings more confirmed
 * bytes per second, and rests on the plateau. It shrinks on error, on throttling, and when answers become slow.
 */
import type { TakeLimits } from "../record-source.js";

/** Step of the additive growth, and the least share. */
const STEP = 1 / 16;
const LEAST_SHARE = 1 / 64;

/** Share of the first batches: 64 KiB and 313 records of the default limits. */
const START_SHARE = 1 / 16;

/** Answers that are averaged before a step is judged. */
const WINDOW = 4;

/** Gain in bytes per second that makes a step worth its memory. */
const WORTH = 1.03;

/** On the plateau another step is tried after this many full batches: links and servers change. */
const RETRY_AFTER = 64;

/** A window this much slower than the one before says that the target is strained. */
const STRAINED = 0.5;

/** What a batch counts as when its answer took no time a clock can see, in ms. */
const LEAST_MS = 0.05;

export class BatchSize {
  #share = START_SHARE;
  /** Up to here the share doubles. */
  #slowStartUntil = 1;
  /** No batch above this has been accepted: learnt from the target's refusals. */
  #ceilingBytes = Infinity;
  #windowBytes = 0;
  #windowMs = 0;
  #windowAnswers = 0;
  #lastRate = 0;
  #answersOnPlateau = 0;
  #isOnPlateau = false;
  /** A full batch was answered since the last outage, if there was one. */
  #hasComeThrough = true;

  /** What to take, given the most that user and target allow. */
  within(most: TakeLimits): { records: number; bytes: number } {
    return {
      records: Math.max(1, Math.ceil(most.records * this.#share)),
      bytes: Math.max(1, Math.min(Math.ceil(most.bytes * this.#share), this.#ceilingBytes)),
    };
  }

  /** It no longer helps to make batches larger: more of them at a time may. */
  get isSettled(): boolean {
    return this.#share >= 1 || this.#isOnPlateau;
  }

  /** A full batch was answered without complaint. Only asked while one batch is in flight at a time. */
  onAnswer(bytes: number, tookMs: number): void {
    this.#windowBytes += bytes;
    this.#windowMs += Math.max(tookMs, LEAST_MS);
    this.#windowAnswers++;
    this.#hasComeThrough = true;
    const isSlowStart = this.#share < this.#slowStartUntil;
    if (this.#windowAnswers < (isSlowStart ? 1 : WINDOW)) return;

    const rate = this.#windowBytes / this.#windowMs;
    const before = this.#lastRate;
    this.#lastRate = rate;
    this.#clearWindow();
    if (isSlowStart) {
      this.#grow(Math.min(this.#share * 2, this.#slowStartUntil));
    } else if (rate < before * STRAINED) {
      this.#shrink(this.#share * 0.75);
    } else if (this.#isOnPlateau) {
      this.#answersOnPlateau += WINDOW;
      if (this.#answersOnPlateau >= RETRY_AFTER) this.#grow(this.#share + STEP);
    } else if (before === 0 || rate >= before * WORTH) {
      this.#grow(this.#share + STEP);
    } else {
      this.#isOnPlateau = true;
      this.#answersOnPlateau = 0;
    }
  }

  /** The target failed, or asked for less. */
  halve(): void {
    this.#shrink(this.#share / 2);
  }

  /**
   * After an outage: small first, then quickly back to half of what held before it. Where none came through since the
   * outage before, half as many: on a link of 1 KB/s the small ones may be what no deadline is long enough for.
   */
  restart(): void {
    const held = this.#share;
    this.#shrink(Math.min(held, START_SHARE) / (this.#hasComeThrough ? 1 : 2));
    this.#slowStartUntil = Math.max(held / 2, START_SHARE);
    this.#hasComeThrough = false;
  }

  /** A batch of this many bytes was refused for its size. */
  refuseBytes(bytes: number): void {
    this.#ceilingBytes = Math.max(1, Math.min(this.#ceilingBytes, Math.floor(bytes / 2)));
  }

  #grow(share: number): void {
    this.#share = Math.min(1, share);
    this.#isOnPlateau = false;
  }

  #shrink(share: number): void {
    this.#share = Math.max(LEAST_SHARE, share);
    this.#slowStartUntil = this.#share;
    this.#isOnPlateau = false;
    this.#lastRate = 0;
    this.#clearWindow();
  }

  #clearWindow(): void {
    this.#windowBytes = 0;
    this.#windowMs = 0;
    this.#windowAnswers = 0;
  }
}
