/**
 * How much may leave, and when: the size of a batch, how many at one time, bytes per second, and the rest that a target
 * asks for. The rules of each are files of their own; here they meet.
 */
import type { Clock } from "../clock.js";
import { bytesOf, type LogRecord } from "../record.js";
import type { TargetTraits } from "../targets/target.js";
import { backoffMs } from "./backoff.js";
import type { Random } from "./backoff.js";
import { BatchSize } from "./batch-size.js";
import { Concurrency } from "./concurrency.js";
import { Pace } from "./pace.js";
import type { DeliverySettings } from "./settings.js";
import type { TakeLimits } from "../record-source.js";

export class FlowControl {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #traits: TargetTraits;
  #settings: DeliverySettings;
  readonly #size = new BatchSize();
  readonly #concurrency = new Concurrency();
  readonly #pace: Pace;
  #underWay = 0;
  /** The target wants to be left alone until then. */
  #restUntilMs = 0;
  #throttles = 0;

  constructor(clock: Clock, random: Random, traits: TargetTraits, settings: DeliverySettings) {
    this.#clock = clock;
    this.#random = random;
    this.#traits = traits;
    this.#settings = settings;
    this.#pace = new Pace(settings.bytesPerSecond, clock.elapsedMs());
  }

  configure(settings: DeliverySettings): void {
    this.#settings = settings;
    this.#pace.limit(settings.bytesPerSecond, this.#clock.elapsedMs());
  }

  /** One batch in flight, nothing overtakes. */
  get isOrdered(): boolean {
    return this.#traits.ordered || this.#settings.strictOrder;
  }

  /** The most that user and target allow for one batch. */
  get most(): TakeLimits {
    return {
      records: Math.min(this.#settings.batchRecords, this.#traits.maxBatchRecords),
      bytes: Math.min(this.#settings.batchBytes, this.#traits.maxBatchBytes),
    };
  }

  /** What the next batch should hold. */
  get batch(): TakeLimits {
    return this.#size.within(this.most);
  }

  /** The size of a batch is not about to grow. */
  get isSettled(): boolean {
    return this.#size.isSettled;
  }

  get mostAtOnce(): number {
    return this.isOrdered ? 1 : Math.min(this.#concurrency.limit, this.#settings.concurrency);
  }

  /** How long a batch must wait before it may leave: 0 for now, Infinity for one under way to come back first. */
  get waitMs(): number {
    if (this.#underWay >= this.mostAtOnce) return Infinity;
    const nowMs = this.#clock.elapsedMs();
    return Math.max(0, this.#restUntilMs - nowMs, this.#pace.waitMs(nowMs));
  }

  /** The target has asked for less, and has taken nothing without complaint since. */
  get isThrottled(): boolean {
    return this.#throttles > 0;
  }

  leaves(bytes: number): void {
    this.#underWay++;
    this.#pace.spend(bytes);
  }

  isBack(): void {
    this.#underWay--;
  }

  /**
   * The target took a batch without complaint.
   * @param moreWaits there was something that could have been sent beside it
   */
  accepted(piece: readonly LogRecord[], tookMs: number, moreWaits: boolean): void {
    this.#throttles = 0;
    const bytes = bytesOf(piece);
    const { batch } = this;
    const wasFull = piece.length >= batch.records / 2 || bytes >= batch.bytes / 2;
    if (wasFull && (!this.#size.isSettled || this.mostAtOnce === 1)) this.#size.onAnswer(bytes, tookMs);
    // One knob at a time, or both hunt for each other: size while that can grow, then the number of batches.
    if (this.isOrdered || (wasFull && !this.#size.isSettled)) return;
    const wasReached = moreWaits && this.#underWay + 1 >= this.mostAtOnce;
    this.#concurrency.onAnswer(bytes, tookMs, this.#clock.elapsedMs(), wasReached, this.#settings.concurrency);
  }

  /** The target asks for less. Returns how long it is left alone. */
  throttled(retryAfterMs: number | undefined): number {
    const waitMs = Math.max(retryAfterMs ?? 0, backoffMs(this.#throttles++, this.#settings, this.#random));
    this.#restUntilMs = Math.max(this.#restUntilMs, this.#clock.elapsedMs() + waitMs);
    this.#size.halve();
    this.#concurrency.halve();
    return waitMs;
  }

  /** The target refused a batch for its size. */
  wasTooLarge(piece: readonly LogRecord[]): void {
    if (piece.length > 1) this.#size.refuseBytes(bytesOf(piece));
  }

  /** The target went away. */
  restart(): void {
    this.#size.restart();
    this.#concurrency.restart();
  }
}
