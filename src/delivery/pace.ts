/**
 * A limit in bytes per second, for links that are paid by the byte: a bucket that may be overdrawn by one batch, since
 * a batch cannot be sent in part, and must then be paid back.
 */
export class Pace {
  #bytesPerSecond: number | undefined;
  #allowance = 0;
  #atMs: number;

  constructor(bytesPerSecond: number | undefined, nowMs: number) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#atMs = nowMs;
  }

  limit(bytesPerSecond: number | undefined, nowMs: number): void {
    this.#refill(nowMs);
    this.#bytesPerSecond = bytesPerSecond;
    this.#allowance = Math.min(this.#allowance, bytesPerSecond ?? 0);
  }

  /** How long to wait before the next batch may leave, in ms; 0 when it may leave now. */
  waitMs(nowMs: number): number {
    if (this.#bytesPerSecond === undefined) return 0;
    this.#refill(nowMs);
    // A whole ms at least: a wait that rounds to nothing would spin.
    return this.#allowance >= 0 ? 0 : Math.max(1, (-this.#allowance / this.#bytesPerSecond) * 1_000);
  }

  spend(bytes: number): void {
    if (this.#bytesPerSecond !== undefined) this.#allowance -= bytes;
  }

  #refill(nowMs: number): void {
    const rate = this.#bytesPerSecond;
    if (rate !== undefined) {
      // One second's worth at most: a quiet night must not become a burst in the morning.
      this.#allowance = Math.min(rate, this.#allowance + (rate * (nowMs - this.#atMs)) / 1_000);
    }
    this.#atMs = nowMs;
  }
}
