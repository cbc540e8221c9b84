/**
 * Moves logs to the disk: one flusher for all logs of a runtime, one fdatasync at a time, so that a slow card never
 * takes all four threads of libuv from everyone else. What a round does is `log.ts`; this decides when.
 */
import type { Clock, Timer } from "../clock.js";
import type { Log } from "./log.js";

/** At most a tenth of the time is spent in fdatasync: the next one waits nine times as long as the last one took. */
const DUTY = 9;
/** After a failed round, the first and the longest wait before the next, in ms. */
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 30_000;

export interface FlushPolicy {
  /** Longest an unconfirmed record stays in memory only, in ms. [10, 600_000], default 1_000. */
  readonly writeIntervalMs: number;
  /** Longest a written record goes without fdatasync, in ms. [100, 3_600_000], default 5_000. */
  readonly syncIntervalMs: number;
  /** Unwritten bytes above which a log is written at once, and twice that of unsynced ones synced. */
  readonly memoryShareBytes: number;
}

/** A log as the flusher keeps it. */
export class Flushed {
  readonly log: Log;
  readonly policy: FlushPolicy;
  readonly #onTrouble: (trouble: Error | undefined) => void;
  #failures = 0;
  #notBeforeMs = 0;
  /** Someone waits for a sync of everything accepted until now. */
  wanted = false;
  /** It will be looked at no later than a record that comes now may be due. */
  isAwaited = false;
  #waiting: { readonly offset: number; readonly done: () => void }[] = [];

  constructor(log: Log, policy: FlushPolicy, onTrouble: (trouble: Error | undefined) => void) {
    this.log = log;
    this.policy = policy;
    this.#onTrouble = onTrouble;
  }

  /** When the log wants a round, in the clock's elapsed ms, and which. */
  due(nowMs: number, syncAllowedMs: number): { readonly atMs: number; readonly sync: boolean } | undefined {
    const { log, policy } = this;
    let writeAtMs = log.writeDueMs(policy.writeIntervalMs);
    if (log.unwrittenBytes > policy.memoryShareBytes) writeAtMs = nowMs;
    let syncAtMs = log.syncDueMs(policy.syncIntervalMs);
    if (log.unsyncedBytes > 2 * policy.memoryShareBytes) syncAtMs = nowMs;
    if (syncAtMs !== undefined) syncAtMs = Math.max(syncAtMs, syncAllowedMs);
    if (this.wanted) syncAtMs = nowMs;
    const sync = syncAtMs !== undefined && (writeAtMs === undefined || syncAtMs <= Math.max(writeAtMs, nowMs));
    const atMs = sync ? syncAtMs! : writeAtMs;
    return atMs === undefined ? undefined : { atMs: Math.max(atMs, this.#notBeforeMs), sync };
  }

  /** Calls back once everything up to `offset` is synced, or confirmed by everyone. */
  whenSynced(offset: number, done: () => void): void {
    this.#waiting.push({ offset, done });
    this.wanted = true;
  }

  async round(clock: Clock, sync: boolean): Promise<void> {
    const upTo = this.log.nextOffset;
    const settles = sync && this.#hasOnlyToSettle(clock.elapsedMs());
    if (sync) this.wanted = false;
    try {
      await (settles ? this.log.settle() : sync ? this.log.sync() : this.log.write());
      this.#failures = 0;
      this.#notBeforeMs = 0;
      this.#onTrouble(undefined);
    } catch (error) {
      this.#failures++;
      const waitMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** (this.#failures - 1));
      this.#notBeforeMs = clock.elapsedMs() + waitMs;
      if (sync && this.#waiting.length > 0) this.wanted = true;
      this.#onTrouble(error instanceof Error ? error : new Error(String(error)));
      return;
    }
    if (!sync || this.#waiting.length === 0) return;
    const synced = this.#waiting.filter(({ offset }) => offset < upTo);
    this.#waiting = this.#waiting.filter(({ offset }) => offset >= upTo);
    for (const { done } of synced) done();
    if (this.#waiting.length > 0) this.wanted = true;
  }

  /** Nothing is on disk and nothing is old enough to go there: what the target is about to confirm must not be written. */
  #hasOnlyToSettle(nowMs: number): boolean {
    const { log, policy } = this;
    if (this.wanted || log.segmentCount > 0 || log.unwrittenBytes > policy.memoryShareBytes) return false;
    const writeAtMs = log.writeDueMs(policy.writeIntervalMs);
    return writeAtMs === undefined || writeAtMs > nowMs;
  }

  /** Tells whoever still waits, after the last round. */
  release(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { done } of waiting) done();
  }
}

export class Flusher {
  readonly #clock: Clock;
  readonly #logs = new Set<Flushed>();
  #timer: Timer | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #running: Promise<void> | undefined;
  /** Before this no interval may sync: the duty limit. */
  #syncAllowedMs = 0;
  #isClosed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param onTrouble hears the error of each failed round, and undefined after each good one */
  add(log: Log, policy: FlushPolicy, onTrouble: (trouble: Error | undefined) => void): Flushed {
    const flushed = new Flushed(log, policy, onTrouble);
    this.#logs.add(flushed);
    this.poke(flushed);
    return flushed;
  }

  /** A record was appended, or something confirmed. Cheap: called for each. */
  poke(flushed: Flushed): void {
    if (this.#running !== undefined) return; // it looks again before it rests
    const { policy, log } = flushed;
    if (flushed.wanted || log.unwrittenBytes > policy.memoryShareBytes) return this.#run();
    // A timer alone does not suffice: it may wait for a sync that is due later, or for another log with longer intervals.
    if (flushed.isAwaited) return;
    flushed.isAwaited = true;
    this.#wakeAt(this.#clock.elapsedMs() + Math.min(policy.writeIntervalMs, policy.syncIntervalMs));
  }

  /** Stops looking after a log: its last round is its own `close`. Waits for a round under way. */
  async remove(flushed: Flushed): Promise<void> {
    this.#logs.delete(flushed);
    await this.#running;
  }

  #wakeAt(atMs: number): void {
    if (this.#isClosed || this.#timerAtMs <= atMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    this.#timer = this.#clock.after(Math.max(0, atMs - this.#clock.elapsedMs()), () => this.#run());
  }

  #run(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    this.#running ??= this.#pass().finally(() => {
      this.#running = undefined;
      this.#rest();
    });
  }

  async #pass(): Promise<void> {
    // Records that arrive in this turn of the event loop share the round.
    await Promise.resolve();
    for (const flushed of this.#logs) {
      const due = flushed.due(this.#clock.elapsedMs(), this.#syncAllowedMs);
      if (due === undefined || due.atMs > this.#clock.elapsedMs()) continue;
      const startedMs = this.#clock.elapsedMs();
      await flushed.round(this.#clock, due.sync);
      if (!due.sync) continue;
      const endedMs = this.#clock.elapsedMs();
      this.#syncAllowedMs = endedMs + DUTY * (endedMs - startedMs);
    }
  }

  #rest(): void {
    let nextMs = Number.POSITIVE_INFINITY;
    const nowMs = this.#clock.elapsedMs();
    for (const flushed of this.#logs) {
      flushed.isAwaited = false;
      nextMs = Math.min(nextMs, flushed.due(nowMs, this.#syncAllowedMs)?.atMs ?? Number.POSITIVE_INFINITY);
    }
    if (this.#isClosed) return;
    if (nextMs <= nowMs) this.#run();
    else if (nextMs < Number.POSITIVE_INFINITY) this.#wakeAt(nextMs);
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    return this.#running ?? Promise.resolve();
  }
}
