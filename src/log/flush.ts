/**
 * Moves logs to the disk: one flusher for all logs of a runtime. Writes go one after the other, and syncs go one after
 * the other beside them, so that a slow card takes no more than two of libuv's four threads from everyone else, and the
 * sync of one log does not hold back the writes of the others. What a round does is `store.ts`; this decides when.
 */
import type { Clock, Timer } from "../clock.js";
import { isErrno } from "../files.js";
import { SettleError } from "./errors.js";
import type { Log } from "./log.js";

/** At most a tenth of the time is spent in fdatasync: the next one waits nine times as long as the last one took. */
const DUTY = 9;
/** After a failed round, the first and the longest wait before the next, in ms. */
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 30_000;
/**
 * The longest where each attempt writes everything once more, to a new file: a disk that fails that way seldom mends
 * itself, and is not to be worn out or filled by trying.
 */
const REWRITE_MAX_MS = 600_000;

const NEVER = Number.POSITIVE_INFINITY;

export interface FlushPolicy {
  /** Longest an unconfirmed record stays in memory only, in ms. [10, 600_000], default 1_000. */
  readonly writeIntervalMs: number;
  /** Longest a written record goes without fdatasync, in ms. [100, 3_600_000], default 5_000. */
  readonly syncIntervalMs: number;
  /** Unwritten bytes above which a log is written at once, and twice that of unsynced ones synced. */
  readonly memoryShareBytes: number;
}

/** Told once: what was waited for is safe, or the reason why it never will be. */
export type Synced = (error?: Error) => void;

/** How the rounds of one kind went. */
interface Lane {
  failures: number;
  notBeforeMs: number;
}

/** A log as the flusher keeps it. */
export class Flushed {
  readonly log: Log;
  readonly policy: FlushPolicy;
  readonly #onTrouble: (trouble: Error | undefined) => void;
  readonly #writes: Lane = { failures: 0, notBeforeMs: 0 };
  readonly #syncs: Lane = { failures: 0, notBeforeMs: 0 };
  #syncTrouble: Error | undefined;
  /** Since when someone wants a sync of everything accepted until then, whatever it costs. */
  #wantedSinceMs: number | undefined;
  #waiting: { readonly offset: number; readonly done: Synced }[] = [];
  /** The round under way. */
  running: Promise<void> | undefined;
  /** It will be looked at no later than a record that comes now may be due. */
  isAwaited = false;

  constructor(log: Log, policy: FlushPolicy, onTrouble: (trouble: Error | undefined) => void) {
    this.log = log;
    this.policy = policy;
    this.#onTrouble = onTrouble;
  }

  /** Has the next sync come without regard to intervals and to how slow the disk is. */
  want(nowMs: number): void {
    this.#wantedSinceMs ??= nowMs;
  }

  get isWanted(): boolean {
    return this.#wantedSinceMs !== undefined;
  }

  get isOverShare(): boolean {
    return this.log.unwrittenBytes > this.policy.memoryShareBytes;
  }

  /** After a failure the disk is left alone for a while; a failed sync does not keep anything from being written. */
  isHeldBack(nowMs: number, sync: boolean): boolean {
    return nowMs < (sync ? this.#syncs : this.#writes).notBeforeMs;
  }

  /** When the log wants a write round, in the clock's elapsed ms. */
  writeAtMs(nowMs: number): number {
    const atMs = this.isOverShare ? nowMs : (this.log.writeDueMs(this.policy.writeIntervalMs) ?? NEVER);
    return Math.max(atMs, this.#writes.notBeforeMs);
  }

  /**
   * When the log wants a sync round, and when it is allowed one.
   * @param allowedAtMs before which no interval may sync; those who wait for a sync do not wait for that too
   */
  syncAtMs(nowMs: number, allowedAtMs: number): { readonly wantedMs: number; readonly atMs: number } {
    const { log, policy } = this;
    let wantedMs = log.syncDueMs(policy.syncIntervalMs) ?? NEVER;
    if (log.unsyncedBytes > 2 * policy.memoryShareBytes) wantedMs = Math.min(wantedMs, nowMs);
    let atMs = Math.max(wantedMs, allowedAtMs);
    if (this.#wantedSinceMs !== undefined) wantedMs = atMs = Math.min(wantedMs, this.#wantedSinceMs);
    return { wantedMs, atMs: Math.max(atMs, this.#syncs.notBeforeMs) };
  }

  /** Calls back once everything up to `offset` is synced, or confirmed by everyone. */
  whenSynced(offset: number, clock: Clock, done: Synced): void {
    this.#waiting.push({ offset, done });
    if (!this.isWanted) this.want(clock.elapsedMs());
  }

  async round(clock: Clock, sync: boolean): Promise<void> {
    const upTo = this.log.nextOffset;
    const settles = sync && this.#hasOnlyToSettle(clock.elapsedMs());
    if (sync) this.#wantedSinceMs = undefined;
    let trouble: Error | undefined;
    try {
      await (settles ? this.log.settle() : sync ? this.log.sync() : this.log.write());
    } catch (error) {
      trouble = error instanceof Error ? error : new Error(String(error));
    }
    // A target that cannot settle does not keep the log from its disk: that has just been synced.
    const hasFailed = trouble !== undefined && !(trouble instanceof SettleError);
    const lane = sync ? this.#syncs : this.#writes;
    lane.failures = hasFailed ? lane.failures + 1 : 0;
    const mostMs = isErrno(trouble, "EIO") ? REWRITE_MAX_MS : RETRY_MAX_MS;
    const waitMs = hasFailed ? Math.min(mostMs, RETRY_MIN_MS * 2 ** (lane.failures - 1)) : 0;
    lane.notBeforeMs = hasFailed ? clock.elapsedMs() + waitMs : 0;
    if (sync) this.#syncTrouble = trouble;
    // A write that went well says nothing of a sync that failed, nor of a target that could not settle: the next sync does.
    this.#onTrouble(trouble ?? this.#syncTrouble);
    if (sync && !hasFailed) this.#tell((offset) => offset < upTo, undefined);
    if (this.#waiting.length > 0) this.want(clock.elapsedMs());
  }

  /** Nothing is on disk and nothing is old enough to go there: what the target is about to confirm must not be written. */
  #hasOnlyToSettle(nowMs: number): boolean {
    return !this.isWanted && this.log.segmentCount === 0 && this.writeAtMs(nowMs) > nowMs;
  }

  #tell(whom: (offset: number) => boolean, error: Error | undefined): void {
    const told = this.#waiting.filter(({ offset }) => whom(offset));
    if (told.length === 0) return;
    this.#waiting = this.#waiting.filter(({ offset }) => !whom(offset));
    for (const { done } of told) {
      try {
        done(error);
      } catch (thrown) {
        // A mistake of the caller's ends where that of any callback does, and keeps nobody else from being told.
        process.nextTick(() => {
          throw thrown;
        });
      }
    }
  }

  /** Tells those whose records were given up, or are needed by nobody any more. */
  giveUp(isGone: (offset: number) => boolean, error: Error): void {
    this.#tell(isGone, error);
  }

  /** Tells whoever still waits, after the last round: with the error that it ended with. */
  release(error?: Error): void {
    this.#tell(() => true, error);
  }
}

export class Flusher {
  readonly #clock: Clock;
  readonly #logs = new Set<Flushed>();
  #timer: Timer | undefined;
  #timerAtMs = NEVER;
  #writing: Flushed | undefined;
  #syncing: Flushed | undefined;
  #willLook = false;
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

  /** Calls back once everything up to `offset` is synced, at the latest with `release`. */
  whenSynced(flushed: Flushed, offset: number, done: Synced): void {
    flushed.whenSynced(offset, this.#clock, done);
    this.poke(flushed);
  }

  /** Syncs a log at once, whatever that costs: something can be freed. */
  syncSoon(flushed: Flushed): void {
    flushed.want(this.#clock.elapsedMs());
    this.poke(flushed);
  }

  /** A record was appended, or something confirmed. Cheap: called for each. */
  poke(flushed: Flushed): void {
    // It is looked at again when that has ended, or in a moment.
    if (flushed.running !== undefined || this.#willLook) return;
    const maySync = flushed.isWanted && this.#syncing === undefined;
    const mayWrite = this.#writing === undefined && flushed.isOverShare;
    if (maySync || mayWrite) {
      const nowMs = this.#clock.elapsedMs();
      if ((maySync && !flushed.isHeldBack(nowMs, true)) || (mayWrite && !flushed.isHeldBack(nowMs, false))) {
        return this.#lookSoon();
      }
    }
    // A timer alone does not suffice: it may wait for a sync that is due later, or for another log with longer intervals.
    if (flushed.isAwaited) return;
    flushed.isAwaited = true;
    const { writeIntervalMs, syncIntervalMs } = flushed.policy;
    this.#wakeAt(this.#clock.elapsedMs() + Math.min(writeIntervalMs, syncIntervalMs));
  }

  /** Stops looking after a log: its last round is its own `close`. Waits for a round under way. */
  async remove(flushed: Flushed): Promise<void> {
    this.#logs.delete(flushed);
    await flushed.running;
  }

  #wakeAt(atMs: number): void {
    if (this.#isClosed || this.#timerAtMs <= atMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    this.#timer = this.#clock.after(Math.max(0, atMs - this.#clock.elapsedMs()), () => {
      this.#timer = undefined;
      this.#timerAtMs = NEVER;
      this.#look();
    });
  }

  /** Records that arrive in this turn of the event loop share the round. */
  #lookSoon(): void {
    if (this.#willLook) return;
    this.#willLook = true;
    void Promise.resolve().then(() => {
      this.#willLook = false;
      this.#look();
    });
  }

  /** Starts what is due and has its lane free, and sets the timer for what is due next. */
  #look(): void {
    if (this.#isClosed) return;
    // Read once: what falls due between two readings would neither be started nor waited for.
    const nowMs = this.#clock.elapsedMs();
    if (this.#syncing === undefined) this.#startSync(nowMs);
    if (this.#writing === undefined) this.#startWrite(nowMs);
    let nextMs = NEVER;
    for (const flushed of this.#logs) {
      flushed.isAwaited = false;
      if (flushed.running !== undefined) continue;
      // What is due now waits for its lane, and is looked at when that is free.
      for (const atMs of [flushed.writeAtMs(nowMs), flushed.syncAtMs(nowMs, this.#syncAllowedMs).atMs]) {
        if (atMs > nowMs) nextMs = Math.min(nextMs, atMs);
      }
    }
    if (nextMs < NEVER) this.#wakeAt(nextMs);
  }

  /** The one that has waited longest: on a slow disk there is not time for each, and none may be left out for ever. */
  #startSync(nowMs: number): void {
    let longest: Flushed | undefined;
    let sinceMs = NEVER;
    for (const flushed of this.#logs) {
      if (flushed.running !== undefined) continue;
      const { wantedMs, atMs } = flushed.syncAtMs(nowMs, this.#syncAllowedMs);
      if (atMs <= nowMs && wantedMs < sinceMs) [longest, sinceMs] = [flushed, wantedMs];
    }
    if (longest === undefined) return;
    const { log, isWanted } = longest;
    const before = log.syncedForMs;
    this.#syncing = longest;
    this.#start(longest, true, () => {
      this.#syncing = undefined;
      // Who asks for a sync of every message has asked for the time too; it is not taken from the others.
      if (!isWanted) this.#syncAllowedMs = this.#clock.elapsedMs() + DUTY * (log.syncedForMs - before);
    });
  }

  #startWrite(nowMs: number): void {
    let longest: Flushed | undefined;
    let sinceMs = NEVER;
    for (const flushed of this.#logs) {
      if (flushed.running !== undefined) continue;
      const atMs = flushed.writeAtMs(nowMs);
      if (atMs <= nowMs && atMs < sinceMs) [longest, sinceMs] = [flushed, atMs];
    }
    if (longest === undefined) return;
    this.#writing = longest;
    this.#start(longest, false, () => (this.#writing = undefined));
  }

  #start(flushed: Flushed, sync: boolean, onEnd: () => void): void {
    flushed.running = flushed.round(this.#clock, sync).finally(() => {
      flushed.running = undefined;
      onEnd();
      this.#look();
    });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    await Promise.all([this.#writing?.running, this.#syncing?.running]);
  }
}
