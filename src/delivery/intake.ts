/**
 * Takes records from the log and makes batches of them: gives a few a moment to become a decent batch, passes over
 * destinations that are held, keeps one destination to a batch. What is taken here and not sent goes back.
 */
import type { Clock } from "../clock.js";
import { type LogRecord, replayedBytesOf } from "../record.js";
import type { Target } from "../targets/target.js";
import { backoffMs } from "./backoff.js";
import type { Random } from "./backoff.js";
import type { FlowControl } from "./flow-control.js";
import type { Flushes } from "./flushes.js";
import type { Holds } from "./holds.js";
import type { ReadShare } from "./read-share.js";
import { asError } from "./report.js";
import type { Report } from "./report.js";
import type { DeliverySettings } from "./settings.js";
import type { RecordSource, TakeLimits } from "../record-source.js";
import type { Wakeup } from "./wakeup.js";

/** Records of the batch that tries a target, or a destination, after it was away. */
export const TRY_RECORDS = 32;

/** Destinations for which a full batch each is taken ahead. */
const MOST_DESTINATIONS_AHEAD = 16;

/** With live first, one batch in so many comes from the backlog. */
const BACKLOG_SHARE = 4;

/**
 * A flush does not wait for destinations that are held: after this long without a record, and with nothing under way, it
 * has tried all it can. Long enough for a slow card to read a block.
 */
const FLUSH_PATIENCE_MS = 2_000;

/** Records of one destination. */
interface Group {
  readonly destination: string;
  readonly records: LogRecord[];
}

/** Taken and not sent yet. */
export interface Staged extends Group {
  /** Payload bytes of what was read back from disk for it. */
  readonly readBytes: number;
}

export interface IntakeParts {
  readonly source: RecordSource;
  readonly target: Target;
  readonly clock: Clock;
  readonly random: Random;
  readonly settings: () => DeliverySettings;
  readonly flow: FlowControl;
  readonly holds: Holds;
  readonly flushes: Flushes;
  readonly report: Report;
  readonly wakeup: Wakeup;
  readonly readShare: ReadShare;
}

export class Intake {
  readonly #parts: IntakeParts;
  #staged: Staged[] = [];
  /** Aborts the `take` that is under way. */
  #taking: AbortController | undefined;
  /** Since when records wait for company. */
  #waitingSinceMs: number | undefined;
  /** How often a destination was let go, and how many of these are known to have nothing passed over any more. */
  #letGos = 0;
  #letGosDone = 0;
  #failures = 0;
  #takes = 0;
  /** How often a batch gave records back. */
  #returns = 0;
  /** Destinations that the last take found. */
  #destinations = 1;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  get isEmpty(): boolean {
    return this.#staged.length === 0;
  }

  get stagedRecords(): number {
    return this.#staged.reduce((sum, { records }) => sum + records.length, 0);
  }

  /** Payload bytes of what was read back from disk for it. */
  get stagedReadBytes(): number {
    return this.#staged.reduce((sum, { readBytes }) => sum + readBytes, 0);
  }

  /** The next batch that is ready. */
  next(): Staged | undefined {
    return this.#staged.shift();
  }

  /** Gives back what a batch has not brought to its end. What was taken behind it must not overtake it. */
  giveBack(records: readonly LogRecord[]): void {
    this.#returns++;
    this.#parts.source.release(records);
    if (this.#parts.flow.isOrdered) this.release();
  }

  /** What is staged goes back to the log. */
  release(): void {
    for (const { records } of this.#staged.splice(0)) this.#parts.source.release(records);
  }

  /**
   * Makes batches ready, or waits for what could change that there are none.
   * @param isTrying one small batch, at once: it finds out whether the target can be used
   * @param underWay of the backlog, what has been taken already
   */
  async fill(isTrying: boolean, underWay: { readonly records: number; readonly bytes: number }): Promise<void> {
    const { source, clock, flushes, holds, wakeup } = this.#parts;
    const nowMs = clock.elapsedMs();
    const nextTryMs = holds.nextTryAtMs(nowMs) - nowMs;
    // What a source has passed over does not count as untaken: it is asked for when its destination may be tried.
    if (source.untaken === 0 && !holds.hasDue(nowMs) && !this.#wantsPassedOver(underWay.records)) {
      this.#waitingSinceMs = undefined;
      return wakeup.wait(nextTryMs);
    }
    const isFlush = !flushes.isEmpty;
    const limits = this.#limits(isTrying);
    const waitMs = isTrying || isFlush ? 0 : this.#waitForCompanyMs(limits, underWay.bytes);
    if (waitMs > 0) return wakeup.wait(waitMs);

    const letGos = this.#letGos;
    const returns = this.#returns;
    const isForOne = isTrying || this.#destinations === 1;
    const records = await this.take(limits, isFlush ? Math.min(nextTryMs, FLUSH_PATIENCE_MS) : nextTryMs);
    this.#waitingSinceMs = source.untaken > 0 ? clock.elapsedMs() : undefined;
    if (records === undefined) {
      // It had to wait, so nothing was left of those let go before it.
      this.#letGosDone = letGos;
      const hasRunOut = isFlush && underWay.records === 0 && clock.elapsedMs() - nowMs >= FLUSH_PATIENCE_MS;
      if (hasRunOut) flushes.exhaust();
      return;
    }
    if (this.#parts.flow.isOrdered && returns !== this.#returns) return source.release(records);
    const groups = this.#group(records);
    this.#destinations = Math.min(Math.max(1, groups.length), MOST_DESTINATIONS_AHEAD);
    const batches = isForOne ? groups : groups.flatMap((group) => this.#inBatches(group));
    this.#staged = batches.map((batch) => ({ ...batch, readBytes: replayedBytesOf(batch.records) }));
    // A source that cannot pass over records gave only held ones: they come first again, so there is nothing to do.
    if (this.isEmpty) await wakeup.wait(nextTryMs);
  }

  /**
   * Undefined when it was called off, or had to wait longer than `patienceMs`: the state is to be looked at again.
   * `untaken` may count what is confirmed or cannot be reached, so any take may have to wait.
   */
  async take(limits: TakeLimits, patienceMs: number): Promise<LogRecord[] | undefined> {
    const { source, clock, random, settings, report, wakeup } = this.#parts;
    const taking = (this.#taking = new AbortController());
    const { signal } = taking;
    const timer = Number.isFinite(patienceMs) ? clock.after(Math.max(1, patienceMs), () => this.callOff()) : undefined;
    try {
      const records = await source.take(limits, signal);
      this.#takes++;
      this.#failures = 0;
      return records;
    } catch (error) {
      if (signal.aborted) return undefined;
      report.failed(error);
      report.tell({ kind: "sourceFailed", cause: asError(error) });
      await wakeup.wait(backoffMs(this.#failures++, settings(), random));
      return undefined;
    } finally {
      timer?.cancel();
      this.#taking = undefined;
    }
  }

  /** A `take` that waits is to look at the state again. Called at each change, so it costs nothing while none is. */
  callOff(): void {
    this.#taking?.abort(new Error("taking was called off"));
    this.#taking = undefined;
  }

  /** A destination is an ordinary one again: what was passed over of it is wanted. */
  letGo(): void {
    this.#letGos++;
  }

  isHeld(destination: string): boolean {
    return this.#parts.holds.isHeld(destination, this.#parts.clock.elapsedMs());
  }

  #wantsPassedOver(recordsUnderWay: number): boolean {
    // A batch counts all its records until its end, so only without any is the backlog known to be what waits.
    const isKnown = recordsUnderWay === 0 && this.#letGos !== this.#letGosDone;
    if (isKnown && this.#parts.source.backlog().records === 0) this.#letGosDone = this.#letGos;
    return this.#letGos !== this.#letGosDone;
  }

  /** How much longer to wait before a batch is taken; 0 when it is large enough or old enough. */
  #waitForCompanyMs(limits: TakeLimits, bytesUnderWay: number): number {
    const { source, clock, settings } = this.#parts;
    const { batchWaitMs } = settings();
    if (source.untaken >= limits.records || batchWaitMs === 0) return 0;
    const nowMs = clock.elapsedMs();
    this.#waitingSinceMs ??= nowMs;
    const leftMs = this.#waitingSinceMs + batchWaitMs - nowMs;
    if (leftMs <= 0 || source.backlog().bytes - bytesUnderWay >= limits.bytes) return 0;
    // In quarters, to see a batch that is full before its time.
    return Math.min(leftMs, Math.max(1, batchWaitMs / 4));
  }

  #limits(isTrying: boolean): TakeLimits {
    const { source, target, settings, flow, holds, readShare } = this.#parts;
    const { batch, most } = flow;
    const isLive =
      settings().liveFirst &&
      !flow.isOrdered &&
      (source.untakenLive ?? 0) > 0 &&
      this.#takes % BACKLOG_SHARE !== BACKLOG_SHARE - 1;
    return {
      // A batch for each destination, as the last take had them; the bytes of one batch bound what is taken ahead.
      records: isTrying ? Math.min(batch.records, TRY_RECORDS) : batch.records * this.#destinations,
      bytes: readShare.within(isTrying ? batch.bytes : Math.min(most.bytes, batch.bytes * this.#destinations)),
      ...(isLive && { live: true }),
      ...(holds.size > 0 && { skip: (record: LogRecord) => this.isHeld(target.destinationOf(record)) }),
    };
  }

  #group(records: readonly LogRecord[]): Group[] {
    const { source, target, holds } = this.#parts;
    const groups = new Map<string, Group>();
    const heldBack: LogRecord[] = [];
    // Neighbours often share their destination.
    let last: Group | undefined;
    for (const record of records) {
      const destination = target.destinationOf(record);
      if (last?.destination !== destination) {
        if (holds.size > 0 && this.isHeld(destination)) {
          heldBack.push(record);
          continue;
        }
        last = groups.get(destination);
        if (last === undefined) groups.set(destination, (last = { destination, records: [] }));
      }
      last.records.push(record);
    }
    if (heldBack.length > 0) source.release(heldBack);
    return [...groups.values()];
  }

  /** Cuts what came for one destination into batches of the present size. */
  #inBatches(group: Group): Group[] {
    const { batch } = this.#parts.flow;
    const batches: Group[] = [];
    let records: LogRecord[] = [];
    let bytes = 0;
    for (const record of group.records) {
      if (records.length >= batch.records || (records.length > 0 && bytes + record.size > batch.bytes)) {
        batches.push({ destination: group.destination, records });
        records = [];
        bytes = 0;
      }
      records.push(record);
      bytes += record.size;
    }
    batches.push({ destination: group.destination, records });
    return batches;
  }
}
