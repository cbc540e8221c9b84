/**
 * The delivery of one exporter: takes records from its log, sends them in batches, waits while the target is away, and
 * sees to it that every record reaches one end. What happens to a batch once it is sent is `batch.ts`; the rules for
 * size, number, pace, circuit, holds and suspicion are files of their own. This one decides who is next.
 */
import type { Clock } from "../clock.js";
import type { LogRecord } from "../record.js";
import type { Answer, Consequence, Rejection, ResumePoint, Target } from "../targets/target.js";
import { backoffMs } from "./backoff.js";
import type { Random } from "./backoff.js";
import { BatchSize } from "./batch-size.js";
import { asTargetError, Batch, bytesOf, givenUp } from "./batch.js";
import type { BatchHost, TargetError } from "./batch.js";
import { Circuit } from "./circuit.js";
import { Concurrency } from "./concurrency.js";
import type { DeadLetterSink } from "./dead-letter-sink.js";
import { codeOf } from "./events.js";
import type { DeliveryCounters, DeliveryEvent, DeliveryListener, DeliveryStatus, FlushReport } from "./events.js";
import { Holds } from "./holds.js";
import { Pace } from "./pace.js";
import { Quiet } from "./quiet.js";
import { RejectGuard } from "./reject-guard.js";
import { DEFAULT_DELIVERY_SETTINGS } from "./settings.js";
import type { DeliverySettings } from "./settings.js";
import type { RecordSource, TakeLimits } from "./source.js";
import { Throughput } from "./throughput.js";
import { Wakeup } from "./wakeup.js";

/** What the delivery tells a monitor of the network, and hears from it. `connectivity/monitor.ts` is one. */
export interface Connectivity {
  /** `who` has reached its target. */
  up(who: object): void;
  /** `who` cannot reach its target. */
  down(who: object, cause: Error): void;
  /** `who` is gone. */
  forget(who: object): void;
  /** Calls back when the network has returned; returns the way to stop that. */
  onOnline(listener: () => void): () => void;
}

export interface DeliveryParts {
  readonly source: RecordSource;
  readonly target: Target;
  readonly clock: Clock;
  readonly deadLetters: DeadLetterSink;
  readonly settings?: Partial<DeliverySettings>;
  readonly random?: Random;
  readonly onEvent?: DeliveryListener;
  readonly monitor?: Connectivity;
}

/** Within this `close` ends, whatever the target does: Node-RED waits 15 s for all nodes together. */
const CLOSE_MS = 3_000;

/** Batches that may wait for their next attempt beside those under way: part of the bound on memory. */
const MOST_RESTING = 4;

/** Records of the batch that tries a target, or a destination, after it was away. */
const TRY_RECORDS = 32;

/** With live first, one batch in so many comes from the backlog. */
const BACKLOG_SHARE = 4;

/** Records that are looked at in one go when the target is away and old ones are given up, or all are dropped. */
const SWEEP: TakeLimits = { records: 1_000, bytes: 1024 * 1024 };

/** A flush does not wait for destinations that are held: after this long without a record it has tried all it can. */
const FLUSH_PATIENCE_MS = 50;

interface Flush {
  /** Records yet to be offered. */
  left: number;
  readonly before: DeliveryCounters;
  readonly resolve: (report: FlushReport) => void;
}

/** Records of one destination, taken and not sent yet. */
interface Staged {
  readonly destination: string;
  readonly records: LogRecord[];
}

interface Counters {
  delivered: number;
  duplicates: number;
  rejected: number;
  retried: number;
  dropped: number;
  batches: number;
}

export class Delivery {
  readonly #source: RecordSource;
  readonly #target: Target;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #deadLetters: DeadLetterSink;
  readonly #onEvent: DeliveryListener | undefined;
  readonly #monitor: Connectivity | undefined;
  #settings: DeliverySettings;

  readonly #circuit: Circuit;
  readonly #size = new BatchSize();
  readonly #concurrency = new Concurrency();
  readonly #pace: Pace;
  readonly #holds: Holds;
  readonly #guard = new RejectGuard();
  readonly #quiet: Quiet;
  readonly #throughput = new Throughput();
  readonly #counters: Counters = { delivered: 0, duplicates: 0, rejected: 0, retried: 0, dropped: 0, batches: 0 };

  readonly #wakeup: Wakeup;
  readonly #batches = new Set<Batch>();
  #sending = 0;
  #staged: Staged[] = [];
  #flushes: Flush[] = [];
  #isPaused = false;
  #isClosing = false;
  #closed: Promise<void> | undefined;
  /** Aborts a `take` that waits; made anew after each use. */
  #taking = new AbortController();
  #opening: AbortController | undefined;
  #hasOpened = false;
  /** Since when records wait for company. */
  #waitingSinceMs: number | undefined;
  /** The target has asked to be left alone until then. */
  #quietUntilMs = 0;
  #throttles = 0;
  #sourceFailures = 0;
  #takes = 0;
  #lastError: DeliveryStatus["lastError"];
  readonly #stopListening: (() => void)[] = [];
  readonly #host: BatchHost;
  readonly #running: Promise<void>;

  constructor(parts: DeliveryParts) {
    this.#source = parts.source;
    this.#target = parts.target;
    this.#clock = parts.clock;
    this.#random = parts.random ?? Math.random;
    this.#deadLetters = parts.deadLetters;
    this.#onEvent = parts.onEvent;
    this.#monitor = parts.monitor;
    this.#settings = { ...DEFAULT_DELIVERY_SETTINGS, ...parts.settings };
    this.#circuit = new Circuit(this.#random);
    this.#holds = new Holds(this.#random);
    this.#quiet = new Quiet(this.#clock);
    this.#wakeup = new Wakeup(this.#clock);
    this.#pace = new Pace(this.#settings.bytesPerSecond, this.#clock.elapsedMs());
    this.#host = this.#makeHost();
    this.#stopListening.push(this.#source.onAvailable(() => this.#wakeup.ring()));
    if (this.#monitor !== undefined) this.#stopListening.push(this.#monitor.onOnline(() => this.#hurry()));
    this.#running = this.#run().catch((error: unknown) => this.#stop(error));
  }

  get status(): DeliveryStatus {
    let records = 0;
    let bytes = 0;
    for (const batch of this.#batches) {
      records += batch.records.length;
      bytes += batch.bytes;
    }
    const nowMs = this.#clock.elapsedMs();
    return {
      circuit: this.#circuit.state,
      isPaused: this.#isPaused,
      isClosed: this.#isClosing,
      lastError: this.#lastError,
      held: this.#holds.list(),
      inFlight: { batches: this.#batches.size, records, bytes },
      batch: this.#size.within(this.#most()),
      concurrency: this.#mostAtOnce(),
      rates: this.#throughput.rates(nowMs),
      counters: { ...this.#counters },
    };
  }

  /** Changes settings while it runs. What is under way keeps the ones it started with where that matters. */
  configure(settings: Partial<DeliverySettings>): void {
    this.#settings = { ...this.#settings, ...settings };
    const nowMs = this.#clock.elapsedMs();
    this.#pace.limit(this.#settings.bytesPerSecond, nowMs);
    if (this.#settings.rejectGuard === undefined) this.#guard.clear();
    this.#holds.tryAllNow(nowMs);
    this.#changed();
  }

  /** Sends nothing more until `resume`. What is under way may still be answered; what waits for a retry goes back. */
  pause(): void {
    this.#isPaused = true;
    this.#endFlushes("stopped");
    this.#changed();
  }

  resume(): void {
    this.#isPaused = false;
    this.#circuit.tryNow(this.#clock.elapsedMs());
    this.#changed();
  }

  /** Tells that a record came in: a target that is away may be looked at earlier. Cheap, and safe to call for each. */
  nudge(): void {
    if (this.#circuit.nudge(this.#clock.elapsedMs())) this.#wakeup.ring();
  }

  /**
   * Sends what waits, now: without waiting for company, and although sending is on request. Resolves when all of it has
   * been offered to the target once, or at once when the target cannot be used.
   */
  flush(): Promise<FlushReport> {
    return new Promise((resolve) => {
      const flush: Flush = { left: this.#untried(), before: { ...this.#counters }, resolve };
      if (this.#isClosing || this.#isPaused) return resolve(this.#report(flush, "stopped"));
      this.#flushes.push(flush);
      this.#circuit.tryNow(this.#clock.elapsedMs());
      this.#changed();
    });
  }

  /**
   * Takes no more records, tells the target to let go of what is under way, and closes it. What was not confirmed stays
   * in the log. Ends within 3 s, whatever the target does; safe to call many times.
   */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#isClosing = true;
    const reason = new Error("the delivery is being closed");
    for (const stop of this.#stopListening) stop();
    this.#monitor?.forget(this);
    this.#endFlushes("stopped");
    this.#opening?.abort(reason);
    for (const batch of this.#batches) batch.abort(reason);
    this.#changed();
    const startedMs = this.#clock.elapsedMs();
    await this.#within(CLOSE_MS * (2 / 3), this.#untilIdle());
    for (const batch of this.#batches) batch.abandon();
    this.#releaseStaged();
    await this.#within(
      CLOSE_MS - (this.#clock.elapsedMs() - startedMs),
      this.#target.close().catch((error: unknown) => {
        // It is going away: nothing is left to do about it but to say so.
        this.#noteError(error);
      }),
    );
  }

  async #untilIdle(): Promise<void> {
    await this.#running;
    while (this.#batches.size > 0) await this.#wakeup.wait();
  }

  #within(ms: number, ends: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(Math.max(0, ms), resolve);
      ends.then(resolve, reject).finally(() => timer.cancel());
    });
  }

  async #run(): Promise<void> {
    while (!this.#isClosing) {
      if (!this.#maySend()) {
        this.#releaseStaged();
        await this.#wakeup.wait();
      } else if (!this.#circuit.isUsable) {
        this.#releaseStaged();
        if (this.#batches.size > 0) await this.#wakeup.wait();
        else await this.#reopen();
      } else if (!this.#hasRoom()) {
        await this.#wakeup.wait();
      } else if (this.#staged.length > 0) {
        this.#launch(this.#staged.shift()!);
      } else if (!this.#endFlushesThatAreDone()) {
        await this.#stage();
      }
    }
    this.#releaseStaged();
  }

  /** Waits until the target may be tried, and tries to open it. Returns whenever the state may have changed. */
  async #reopen(): Promise<void> {
    const state = this.#circuit.state;
    if (state.kind === "open") {
      const waitMs = state.retryAtMs - this.#clock.elapsedMs();
      if (waitMs > 0) {
        if (await this.#sweep(state.cause)) return;
        await this.#wakeup.wait(waitMs);
        return;
      }
    }
    const opening = (this.#opening = new AbortController());
    const resume = new Resume(this.#source);
    try {
      if (this.#hasOpened) await this.#target.probe(opening.signal);
      await this.#target.open(opening.signal, this.#target.traits.resumes ? resume : undefined);
    } catch (error) {
      if (!this.#isClosing) this.#trip(asTargetError(error));
      return;
    } finally {
      this.#opening = undefined;
    }
    if (this.#isClosing) return;
    await this.#confirmFound(resume);
    if (!this.#hasOpened) this.#emit({ kind: "opened" });
    this.#hasOpened = true;
    this.#circuit.letOneThrough(this.#clock.elapsedMs());
    // Nothing to try it with: the next record will tell.
    if (this.#source.untaken === 0) this.#closeCircuit();
    else if (this.#circuit.state.kind === "closed") this.#monitor?.up(this);
  }

  /** Confirms what a target that resumes has found in itself. */
  async #confirmFound(resume: Resume): Promise<void> {
    const { found } = resume;
    if (found === undefined) return;
    while (this.#source.untaken > 0 && !this.#isClosing) {
      const records = await this.#take(SWEEP);
      if (records === undefined) continue;
      const there = records.filter((record) => record.offset <= found.upTo.offset);
      if (there.length > 0) {
        this.#source.confirm(there, found.state);
        this.#counters.duplicates += there.length;
      }
      if (there.length === records.length) continue;
      this.#source.release(records.slice(there.length));
      return;
    }
  }

  /**
   * The target is away: drops what is not to be kept, gives up what is too old. True when it had to wait for that, so
   * that the state must be looked at again.
   */
  async #sweep(cause: Error): Promise<boolean> {
    const { keepUnsent, giveUpAfterMs } = this.#settings;
    if (this.#source.untaken === 0) return false;
    if (keepUnsent) {
      const oldestMs = this.#source.backlog().oldestAcceptedAtMs;
      if (giveUpAfterMs === undefined || oldestMs === undefined) return false;
      if (oldestMs > this.#clock.wallMs() - giveUpAfterMs) return false;
    }
    const records = await this.#take(SWEEP);
    if (records === undefined) return true;
    if (!keepUnsent) {
      this.#source.confirm(records);
      this.#onDropped(records, cause);
      return true;
    }
    const bornBeforeMs = this.#clock.wallMs() - giveUpAfterMs!;
    const old = records.filter((record) => record.acceptedAtMs <= bornBeforeMs);
    this.#source.release(records.filter((record) => record.acceptedAtMs > bornBeforeMs));
    let hasFailed = false;
    const kept: LogRecord[] = [];
    const setAside = old.map(async (record) => {
      const rejection = givenUp(cause);
      try {
        await this.#deadLetters.setAside(record, rejection);
        kept.push(record);
        this.#onRejected(record, rejection);
      } catch (error) {
        hasFailed = true;
        this.#onSetAsideFailed(error);
      }
    });
    await Promise.all(setAside);
    this.#source.confirm(kept);
    this.#source.release(old.filter((record) => !kept.includes(record)));
    return !hasFailed && old.length > 0;
  }

  /** Takes records and groups them by destination, after giving them a moment to become a decent batch. */
  async #stage(): Promise<void> {
    const source = this.#source;
    if (source.untaken === 0) {
      this.#waitingSinceMs = undefined;
      await this.#wakeup.wait();
      return;
    }
    const isTrying = this.#circuit.state.kind === "halfOpen";
    const limits = this.#limits(isTrying);
    const waitMs = isTrying || this.#flushes.length > 0 ? 0 : this.#waitForCompanyMs(limits);
    if (waitMs > 0) {
      await this.#wakeup.wait(waitMs);
      return;
    }
    const records = await this.#take(limits);
    this.#waitingSinceMs = source.untaken > 0 ? this.#clock.elapsedMs() : undefined;
    if (records === undefined) return;
    this.#staged = this.#group(records);
    if (this.#staged.length === 0) await this.#wakeup.wait(this.#holds.nextTryAtMs() - this.#clock.elapsedMs());
  }

  /** How much longer to wait before this batch is taken; 0 when it is large enough or old enough. */
  #waitForCompanyMs(limits: TakeLimits): number {
    if (this.#source.untaken >= limits.records || this.#settings.batchWaitMs === 0) return 0;
    const nowMs = this.#clock.elapsedMs();
    this.#waitingSinceMs ??= nowMs;
    const leftMs = this.#waitingSinceMs + this.#settings.batchWaitMs - nowMs;
    if (leftMs <= 0) return 0;
    let underWay = 0;
    for (const batch of this.#batches) underWay += batch.bytes;
    if (this.#source.backlog().bytes - underWay >= limits.bytes) return 0;
    // In quarters, to see a batch that is full before its time.
    return Math.min(leftMs, Math.max(1, this.#settings.batchWaitMs / 4));
  }

  #limits(isTrying: boolean): TakeLimits {
    const size = this.#size.within(this.#most());
    const records = isTrying ? Math.min(size.records, TRY_RECORDS) : size.records;
    const isLive =
      this.#settings.liveFirst &&
      !this.#isOrdered() &&
      (this.#source.untakenLive ?? 0) > 0 &&
      this.#takes % BACKLOG_SHARE !== BACKLOG_SHARE - 1;
    return {
      records,
      bytes: size.bytes,
      ...(isLive && { live: true }),
      ...(this.#holds.size > 0 && { skip: (record: LogRecord) => this.#isHeld(this.#target.destinationOf(record)) }),
    };
  }

  /** Undefined when it was called off: something has changed that may ask for another take, or none. */
  async #take(limits: TakeLimits): Promise<LogRecord[] | undefined> {
    const { signal } = this.#taking;
    const isFlush = this.#flushes.length > 0;
    const untilTryMs = limits.skip === undefined ? Infinity : this.#holds.nextTryAtMs() - this.#clock.elapsedMs();
    const waitMs = limits.skip !== undefined && isFlush ? Math.min(untilTryMs, FLUSH_PATIENCE_MS) : untilTryMs;
    const timer = Number.isFinite(waitMs) ? this.#clock.after(waitMs, () => this.#callOffTake()) : undefined;
    try {
      const records = await this.#source.take(limits, signal);
      this.#takes++;
      this.#sourceFailures = 0;
      return records;
    } catch (error) {
      if (!signal.aborted) {
        this.#noteError(error);
        this.#emit({ kind: "sourceFailed", cause: asError(error) });
        await this.#wakeup.wait(backoffMs(this.#sourceFailures++, this.#settings, this.#random));
      } else if (isFlush && this.#batches.size === 0) {
        // Only held destinations are left, and they are not waited for.
        for (const flush of this.#flushes) flush.left = 0;
      }
      return undefined;
    } finally {
      timer?.cancel();
    }
  }

  #group(records: LogRecord[]): Staged[] {
    const groups = new Map<string, Staged>();
    const heldBack: LogRecord[] = [];
    let last: Staged | undefined;
    for (const record of records) {
      const destination = this.#target.destinationOf(record);
      if (last?.destination !== destination) {
        if (this.#holds.size > 0 && this.#isHeld(destination)) {
          heldBack.push(record);
          continue;
        }
        last = groups.get(destination);
        if (last === undefined) groups.set(destination, (last = { destination, records: [] }));
      }
      last.records.push(record);
    }
    if (heldBack.length > 0) this.#source.release(heldBack);
    return [...groups.values()];
  }

  #launch({ destination, records }: Staged): void {
    if (this.#isHeld(destination)) return this.#source.release(records);
    const isTry = this.#holds.beginTry(destination);
    if (isTry && records.length > TRY_RECORDS) this.#source.release(records.splice(TRY_RECORDS));
    const batch = new Batch(this.#host, destination, records, isTry);
    this.#batches.add(batch);
    batch
      .run()
      .catch((error: unknown) => this.#stop(error))
      .finally(() => {
        this.#batches.delete(batch);
        if (isTry) this.#holds.endTry(destination, this.#clock.elapsedMs());
        this.#changed();
      });
  }

  #makeHost(): BatchHost {
    const delivery = this;
    return {
      source: this.#source,
      target: this.#target,
      clock: this.#clock,
      deadLetters: this.#deadLetters,
      get settings() {
        return delivery.#settings;
      },
      get isOrdered() {
        return delivery.#isOrdered();
      },
      admit: (bytes) => this.#admit(bytes),
      leave: () => {
        this.#sending--;
        this.#wakeup.ring();
      },
      rest: (attempt) => this.#rest(attempt),
      onAnswer: (batch, piece, answer, tookMs) => this.#onAnswer(batch, piece, answer, tookMs),
      onConsequence: (_batch, piece, consequence) => this.#onConsequence(piece, consequence),
      onConfirmed: (records, duplicates) => this.#onConfirmed(records, duplicates),
      onRejected: (record, rejection) => this.#onRejected(record, rejection),
      onSetAsideFailed: (cause) => this.#onSetAsideFailed(cause),
      onRetry: (records, cause) => {
        this.#counters.retried += records;
        this.#noteError(cause);
      },
      onDropped: (records, cause) => this.#onDropped(records, cause),
      onTried: (batch) => {
        // A try of a held destination is no part of what a flush waits for.
        if (!batch.isTry) for (const flush of this.#flushes) flush.left -= batch.records.length;
        this.#wakeup.ring();
      },
      onTargetFailed: (error) => this.#trip(error),
      suspicion: (batch, rejections, delivered, records) => this.#suspicion(batch, rejections, delivered, records),
      hold: (batch, cause, byGuard) => this.#hold(batch.destination, cause, byGuard),
      letGo: (batch) => {
        if (this.#holds.letGo(batch.destination)) this.#emit({ kind: "letGo", destination: batch.destination });
      },
    };
  }

  async #admit(bytes: number): Promise<boolean> {
    for (;;) {
      if (!this.#maySend() || !this.#circuit.isUsable) return false;
      const nowMs = this.#clock.elapsedMs();
      const waitMs = Math.max(this.#quietUntilMs - nowMs, this.#pace.waitMs(nowMs));
      if (this.#sending >= this.#mostAtOnce()) await this.#wakeup.wait();
      else if (waitMs > 0) await this.#wakeup.wait(waitMs);
      else break;
    }
    this.#sending++;
    this.#counters.batches++;
    this.#pace.spend(bytes);
    return true;
  }

  async #rest(attempt: number): Promise<boolean> {
    this.#wakeup.ring();
    const untilMs = this.#clock.elapsedMs() + backoffMs(attempt, this.#settings, this.#random);
    for (;;) {
      if (!this.#maySend() || !this.#circuit.isUsable) return false;
      const leftMs = untilMs - this.#clock.elapsedMs();
      if (leftMs <= 0) return true;
      await this.#wakeup.wait(leftMs);
    }
  }

  #onAnswer(batch: Batch, piece: readonly LogRecord[], answer: Answer, tookMs: number): void {
    const nowMs = this.#clock.elapsedMs();
    this.#closeCircuit();
    this.#emit({ kind: "answered", destination: batch.destination, records: piece, outcomes: answer.outcomes });
    if (answer.consequence !== undefined) return;
    this.#throttles = 0;
    if (this.#isOrdered()) {
      if (this.#wasFull(piece)) this.#size.onAnswer(bytesOf(piece), tookMs);
      return;
    }
    // One knob at a time, or both hunt for each other: size until it is settled, then the number of batches.
    if (this.#concurrency.limit === 1 && this.#wasFull(piece)) this.#size.onAnswer(bytesOf(piece), tookMs);
    if (!this.#size.isSettled) return;
    const wasReached = this.#sending + 1 >= this.#mostAtOnce() && this.#source.untaken > 0;
    this.#concurrency.onAnswer(bytesOf(piece), tookMs, nowMs, wasReached, this.#settings.concurrency);
  }

  #wasFull(piece: readonly LogRecord[]): boolean {
    const size = this.#size.within(this.#most());
    return piece.length >= size.records || bytesOf(piece) >= size.bytes * 0.75;
  }

  #onConsequence(piece: readonly LogRecord[], consequence: Consequence): void {
    switch (consequence.kind) {
      case "throttle": {
        const waitMs = Math.max(
          consequence.retryAfterMs ?? 0,
          backoffMs(this.#throttles++, this.#settings, this.#random),
        );
        this.#quietUntilMs = Math.max(this.#quietUntilMs, this.#clock.elapsedMs() + waitMs);
        this.#size.halve();
        this.#concurrency.halve();
        this.#noteError(consequence.cause);
        this.#emit({ kind: "throttled", cause: consequence.cause, waitMs });
        return;
      }
      case "split":
        if (piece.length > 1) this.#size.refuseBytes(bytesOf(piece));
        return;
      case "hold":
        return;
      default:
        consequence satisfies never;
    }
  }

  #suspicion(batch: Batch, rejections: readonly Rejection[], delivered: number, records: number): Error | undefined {
    const limit = this.#settings.rejectGuard;
    if (limit === undefined) return undefined;
    if (delivered > 0) {
      this.#guard.onDelivered(batch.destination);
      return undefined;
    }
    const first = rejections[0]!;
    const isOneKind = rejections.length === records && rejections.every((rejection) => rejection.code === first.code);
    if (!this.#guard.holdsBack(batch.destination, isOneKind ? first.code : undefined, records, limit)) return undefined;
    return new Error(
      `everything is rejected for one reason (${first.code}), so the setting is suspected, not the data: ${first.message}`,
    );
  }

  #hold(destination: string, cause: Error, byGuard: boolean): void {
    this.#noteError(cause);
    const isNew = this.#holds.hold(destination, cause, byGuard, this.#clock.elapsedMs(), this.#settings);
    if (isNew) this.#emit({ kind: "held", destination, cause, byGuard });
    this.#callOffTake();
  }

  #trip(error: TargetError): void {
    this.#noteError(error);
    const isNew = this.#circuit.trip(error, this.#clock.elapsedMs(), this.#settings);
    this.#endFlushes("unavailable");
    if (isNew) {
      this.#size.restart();
      this.#concurrency.restart();
      this.#monitor?.down(this, error);
      this.#emit({ kind: "circuitOpened", cause: error, isConfig: error.name === "TargetConfigError" });
    }
    this.#changed();
  }

  #closeCircuit(): void {
    const downMs = this.#circuit.close(this.#clock.elapsedMs());
    if (downMs === undefined) return;
    this.#monitor?.up(this);
    this.#emit({ kind: "circuitClosed", downMs });
  }

  #hurry(): void {
    if (this.#circuit.hurry(this.#clock.elapsedMs())) this.#wakeup.ring();
  }

  #onConfirmed(records: readonly LogRecord[], duplicates: number): void {
    this.#counters.duplicates += duplicates;
    this.#counters.delivered += records.length - duplicates;
    this.#throughput.add(records.length, bytesOf(records), this.#clock.elapsedMs());
  }

  #onRejected(record: LogRecord, rejection: Rejection): void {
    this.#counters.rejected++;
    this.#emit({ kind: "rejected", record, rejection });
  }

  #onSetAsideFailed(error: unknown): void {
    this.#noteError(error);
    this.#emit({ kind: "setAsideFailed", cause: asError(error) });
  }

  #onDropped(records: readonly LogRecord[], cause: Error): void {
    this.#counters.dropped += records.length;
    this.#emit({ kind: "dropped", records: records.length, bytes: bytesOf(records), cause });
  }

  /** Nothing more is sent: a fault of ours. The log has the records. */
  #stop(error: unknown): void {
    this.#noteError(error);
    this.#isPaused = true;
    this.#endFlushes("stopped");
    this.#emit({ kind: "stopped", cause: asError(error) });
    this.#changed();
  }

  #maySend(): boolean {
    if (this.#isClosing || this.#isPaused) return false;
    return this.#settings.sending === "automatic" || this.#flushes.length > 0;
  }

  #hasRoom(): boolean {
    if (this.#isOrdered() || this.#circuit.state.kind === "halfOpen") return this.#batches.size === 0;
    let resting = 0;
    for (const batch of this.#batches) if (batch.isResting) resting++;
    return resting <= MOST_RESTING && this.#batches.size - resting < this.#mostAtOnce();
  }

  #isOrdered(): boolean {
    return this.#target.traits.ordered || this.#settings.strictOrder;
  }

  #mostAtOnce(): number {
    return this.#isOrdered() ? 1 : Math.min(this.#concurrency.limit, this.#settings.concurrency);
  }

  #most(): TakeLimits {
    const { maxBatchRecords, maxBatchBytes } = this.#target.traits;
    return {
      records: Math.min(this.#settings.batchRecords, maxBatchRecords),
      bytes: Math.min(this.#settings.batchBytes, maxBatchBytes),
    };
  }

  #isHeld(destination: string): boolean {
    return this.#holds.isHeld(destination, this.#clock.elapsedMs());
  }

  /** Something has changed that a waiting `take` cannot know. */
  #changed(): void {
    this.#callOffTake();
    this.#wakeup.ring();
  }

  #callOffTake(): void {
    const taking = this.#taking;
    this.#taking = new AbortController();
    taking.abort(new Error("taking was called off"));
  }

  #releaseStaged(): void {
    for (const { records } of this.#staged.splice(0)) this.#source.release(records);
  }

  #untried(): number {
    let untried = this.#source.untaken;
    for (const { records } of this.#staged) untried += records.length;
    for (const batch of this.#batches) if (!batch.isTried) untried += batch.records.length;
    return untried;
  }

  /** True when that has changed what is to be done. */
  #endFlushesThatAreDone(): boolean {
    const isEmpty = this.#source.untaken === 0 && this.#batches.size === 0;
    const done = this.#flushes.filter((flush) => flush.left <= 0 || isEmpty);
    if (done.length === 0) return false;
    this.#flushes = this.#flushes.filter((flush) => !done.includes(flush));
    for (const flush of done) flush.resolve(this.#report(flush, "tried"));
    this.#wakeup.ring();
    return true;
  }

  #endFlushes(end: FlushReport["end"]): void {
    for (const flush of this.#flushes.splice(0)) flush.resolve(this.#report(flush, end));
  }

  #report({ before }: Flush, end: FlushReport["end"]): FlushReport {
    return {
      end,
      delivered: this.#counters.delivered - before.delivered,
      duplicates: this.#counters.duplicates - before.duplicates,
      rejected: this.#counters.rejected - before.rejected,
      dropped: this.#counters.dropped - before.dropped,
      waiting: this.#source.backlog().records,
    };
  }

  #noteError(error: unknown): void {
    this.#lastError = { message: asError(error).message, code: codeOf(error), atWallMs: this.#clock.wallMs() };
  }

  #emit(event: DeliveryEvent): void {
    this.#onEvent?.(event, event.kind === "answered" ? undefined : this.#quiet.mayLog(causeOf(event)));
  }
}

/** What a target that resumes gets to see of its log. */
class Resume implements ResumePoint {
  readonly #source: RecordSource;
  found: { readonly upTo: LogRecord; readonly state: Uint8Array } | undefined;

  constructor(source: RecordSource) {
    this.#source = source;
  }

  get state(): Uint8Array | undefined {
    return this.#source.state;
  }

  records(): AsyncIterable<LogRecord> {
    return this.#source.unconfirmed();
  }

  confirm(upTo: LogRecord, state: Uint8Array): void {
    this.found = { upTo, state };
  }
}

/** What counts as the same when lines are kept to one a minute. */
function causeOf(event: DeliveryEvent): string {
  if (event.kind === "rejected") return `rejected ${event.rejection.code}`;
  if (event.kind === "held") return `held ${event.destination} ${codeOf(event.cause)}`;
  if (event.kind === "letGo") return `letGo ${event.destination}`;
  return "cause" in event ? `${event.kind} ${codeOf(event.cause)}` : event.kind;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
