/**
 * How many batches may be under way at one time: adaptive concurrency after Vector's
 * `src/sinks/util/adaptive_concurrency/controller.rs`. One more per round trip while the limit is reached and answers are
 * not slower than they used to be; a tenth fewer when they are clearly slower. Different from Vector: latency counts per
 * byte, because our batches differ in size, and what waits for a retry stays counted (see `loop.ts`).
 */

/** Weight of the newest round trip in the mean (Vector's `ewma_alpha`). */
const ALPHA = 0.4;

/** Answers slower than the mean by this many deviations mean that the target is strained (Vector's `rtt_deviation_scale`). */
const DEVIATIONS = 2.5;

/** Small batches cost a round trip, whatever they hold: below this size latency per byte says nothing. */
const LEAST_BYTES = 4_096;

/** One that is made while the other is answered. After an outage it is one alone, to be kind to a target that comes back. */
const AT_FIRST = 2;

export class Concurrency {
  #limit = AT_FIRST;
  #meanMs = 0;
  #meanCost = 0;
  #varianceCost = 0;
  #roundStartedMs = 0;
  #roundCost = 0;
  #roundAnswers = 0;
  #wasReached = false;

  get limit(): number {
    return this.#limit;
  }

  /**
   * A batch was answered.
   * @param wasReached as many batches as allowed were under way
   * @param most the user's limit
   */
  onAnswer(bytes: number, tookMs: number, nowMs: number, wasReached: boolean, most: number): void {
    this.#roundCost += tookMs / Math.max(bytes, LEAST_BYTES);
    this.#roundAnswers++;
    this.#wasReached ||= wasReached;
    this.#meanMs = this.#meanMs === 0 ? tookMs : this.#meanMs * (1 - ALPHA) + tookMs * ALPHA;
    if (nowMs - this.#roundStartedMs < this.#meanMs) return;

    const cost = this.#roundCost / this.#roundAnswers;
    const deviation = cost - this.#meanCost;
    if (this.#meanCost === 0) {
      this.#meanCost = cost;
    } else {
      if (deviation > DEVIATIONS * Math.sqrt(this.#varianceCost) && deviation > this.#meanCost * 0.1) {
        this.#limit = Math.max(1, Math.floor(this.#limit * 0.9));
      } else if (this.#wasReached && deviation <= 0) {
        this.#limit = Math.min(most, this.#limit + 1);
      }
      this.#meanCost += ALPHA * deviation;
      this.#varianceCost = (1 - ALPHA) * (this.#varianceCost + ALPHA * deviation * deviation);
    }
    this.#startRound(nowMs);
  }

  /** The target failed, or asked for less. */
  halve(): void {
    this.#limit = Math.max(1, Math.floor(this.#limit / 2));
  }

  /** After an outage: one at a time again, and nothing that was measured before counts. */
  restart(): void {
    this.#limit = 1;
    this.#meanMs = 0;
    this.#meanCost = 0;
    this.#varianceCost = 0;
  }

  #startRound(nowMs: number): void {
    this.#roundStartedMs = nowMs;
    this.#roundCost = 0;
    this.#roundAnswers = 0;
    this.#wasReached = false;
  }
}
