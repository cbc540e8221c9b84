/**
 * The delivery of one exporter: takes records from its log, sends them in batches, waits while the target is away, and
 * sees to it that every record reaches one end. This file decides what is next. Making batches is `intake.ts`, the life
 * of one is `batch.ts`, the time without a target `outage.ts`, how much and when `flow-control.ts`.
 */
import type { Clock } from "../clock.js";
import { bytesOf } from "../record.js";
import type { Consequence, Rejection, Target } from "../targets/target.js";
import { backoffMs } from "./backoff.js";
import type { Random } from "./backoff.js";
import { Batch } from "./batch.js";
import type { BatchHost, TargetError } from "./batch.js";
import { Circuit } from "./circuit.js";
import type { Connectivity } from "./connectivity.js";
import type { DeadLetterSink } from "./dead-letter-sink.js";
import type { DeliveryListener, DeliveryStatus, FlushReport } from "./events.js";
import { FlowControl } from "./flow-control.js";
import { Flushes, reportOf } from "./flushes.js";
import { Holds } from "./holds.js";
import { Intake, TRY_RECORDS } from "./intake.js";
import type { Staged } from "./intake.js";
import { Outage } from "./outage.js";
import { ReadShare } from "./read-share.js";
import { RecordAge } from "./record-age.js";
import { RejectGuard } from "./reject-guard.js";
import { asError, Report } from "./report.js";
import { DEFAULT_DELIVERY_SETTINGS } from "./settings.js";
import type { DeliverySettings } from "./settings.js";
import type { RecordSource } from "../record-source.js";
import { Wakeup } from "./wakeup.js";

export interface DeliveryParts {
  readonly source: RecordSource;
  readonly target: Target;
  readonly clock: Clock;
  readonly deadLetters: DeadLetterSink;
  /** What is left out is as in `DEFAULT_DELIVERY_SETTINGS`. */
  readonly settings?: Partial<DeliverySettings>;
  readonly random?: Random;
  readonly onEvent?: DeliveryListener;
  /** For targets that are reached over the network. */
  readonly monitor?: Connectivity;
  /** Shared by all deliveries of a runtime. Without one, only the sizes of batches bound what is read. */
  readonly readShare?: ReadShare;
}

/** Within this `close` ends, whatever the target does: Node-RED waits 15 s for all nodes together. */
const CLOSE_MS = 3_000;

/** Of that, how long batches under way have to let go before they are abandoned. */
const LET_GO_MS = 2_000;

/** How often it is looked whether others have given back memory for what is read. */
const SHARE_LOOK_MS = 250;

/** How often it is looked whether the wall clock can be trusted, by those who wait for that. */
const CLOCK_LOOK_MS = 1_000;

/** Batches that may wait for their next attempt beside those under way: part of the bound on memory. */
const MOST_RESTING = 4;

export class Delivery {
  readonly #source: RecordSource;
  readonly #target: Target;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #monitor: Connectivity | undefined;
  readonly #readShare: ReadShare;
  #settings: DeliverySettings;

  readonly #report: Report;
  readonly #circuit: Circuit;
  readonly #flow: FlowControl;
  readonly #holds: Holds;
  readonly #guard = new RejectGuard();
  readonly #flushes = new Flushes();
  readonly #wakeup: Wakeup;
  readonly #intake: Intake;
  readonly #outage: Outage;
  readonly #host: BatchHost;

  readonly #batches = new Set<Batch>();
  #isPaused = false;
  #isClosing = false;
  #closed: Promise<void> | undefined;
  readonly #stopListening: (() => void)[] = [];
  readonly #running: Promise<void>;

  /** Starts at once; `close` ends it. */
  constructor(parts: DeliveryParts) {
    const { source, target, clock, deadLetters } = parts;
    const random = parts.random ?? Math.random;
    this.#source = source;
    this.#target = target;
    this.#clock = clock;
    this.#random = random;
    this.#monitor = parts.monitor;
    const readShare = (this.#readShare = parts.readShare ?? new ReadShare());
    this.#settings = { ...DEFAULT_DELIVERY_SETTINGS, ...parts.settings };
    const settings = (): DeliverySettings => this.#settings;

    const report = (this.#report = new Report(clock, parts.onEvent));
    const circuit = (this.#circuit = new Circuit(random));
    const flow = (this.#flow = new FlowControl(clock, random, target.traits, this.#settings));
    const holds = (this.#holds = new Holds(random));
    const wakeup = (this.#wakeup = new Wakeup(clock));
    const common = { source, target, clock, settings, report, wakeup, readShare };
    const intake = (this.#intake = new Intake({ ...common, random, flow, holds, flushes: this.#flushes }));
    const age = new RecordAge(clock);
    this.#outage = new Outage({ ...common, age, deadLetters, circuit, intake });
    this.#host = this.#hostOf(parts, age);

    readShare.enter(this);
    this.#stopListening.push(() => readShare.leave(this));
    this.#stopListening.push(source.onAvailable(() => wakeup.ring()));
    const stopHearing = target.onReachable?.(() => this.#hurry());
    if (stopHearing !== undefined) this.#stopListening.push(stopHearing);
    if (parts.monitor !== undefined) this.#stopListening.push(parts.monitor.onOnline(() => this.#hurry()));
    this.#running = this.#run();
  }

  get status(): DeliveryStatus {
    return {
      circuit: this.#circuit.state,
      isPaused: this.#isPaused,
      isClosed: this.#isClosing,
      waitsForClock: this.#waitsForClock(),
      lastError: this.#report.lastError,
      held: this.#holds.list(),
      inFlight: this.#underWay(),
      isThrottled: this.#flow.isThrottled,
      unansweredMs: this.#unansweredMs(),
      batch: this.#flow.batch,
      concurrency: this.#flow.mostAtOnce,
      rates: this.#report.rates,
      counters: this.#report.counters,
    };
  }

  /** Bytes of records that were read back from disk and are still held: staged, or under way. */
  get readBytes(): number {
    let bytes = this.#intake.stagedReadBytes;
    for (const { readBytes } of this.#batches) bytes += readBytes;
    return bytes;
  }

  /** Changes settings while it runs; destinations that are held are tried again with the new ones. */
  configure(settings: Partial<DeliverySettings>): void {
    this.#settings = { ...this.#settings, ...settings };
    this.#flow.configure(this.#settings);
    if (this.#settings.rejectGuard === undefined) this.#guard.clear();
    this.#holds.tryAllNow(this.#clock.elapsedMs());
    this.#changed();
  }

  /** Sends nothing more until `resume`. What is under way may still be answered; what waits for a retry goes back. */
  pause(): void {
    this.#isPaused = true;
    this.#endFlushes("stopped");
    this.#changed();
  }

  /** Goes on, and looks at once at a target that was away. */
  resume(): void {
    this.#isPaused = false;
    this.#circuit.tryNow(this.#clock.elapsedMs());
    this.#holds.tryAllNow(this.#clock.elapsedMs());
    this.#changed();
  }

  /** Tells that a record came in: a target that is away may be looked at earlier. Cheap, so call it for each. */
  nudge(): void {
    if (this.#circuit.isUsable) return;
    if (this.#circuit.nudge(this.#clock.elapsedMs())) this.#wakeup.ring();
  }

  /**
   * Sends what waits, now: without waiting for company, and although sending is on request. Resolves when all of it has
   * been offered to the target once, or as soon as the target cannot be used.
   */
  flush(): Promise<FlushReport> {
    const { counters } = this.#report;
    if (this.#isClosing || this.#isPaused || this.#waitsForClock()) {
      return Promise.resolve(reportOf(counters, counters, this.#source.backlog().records, "stopped"));
    }
    let untried = this.#source.untaken + this.#intake.stagedRecords;
    for (const batch of this.#batches) if (!batch.isTried) untried += batch.records.length;
    const flushed = this.#flushes.add(untried, counters);
    this.#circuit.tryNow(this.#clock.elapsedMs());
    this.#changed();
    return flushed;
  }

  /**
   * Takes no more records, tells the target to let go of what is under way, and closes it. What was not confirmed stays
   * in the log. Ends within 3 s, whatever the target does; safe to call many times.
   */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    const startedMs = this.#clock.elapsedMs();
    const reason = new Error("the delivery is being closed");
    this.#isClosing = true;
    for (const stop of this.#stopListening) stop();
    this.#monitor?.forget(this);
    this.#endFlushes("stopped");
    this.#outage.abort(reason);
    for (const batch of this.#batches) batch.abort(reason);
    this.#changed();
    await this.#within(LET_GO_MS, this.#untilIdle());
    for (const batch of this.#batches) batch.abandon();
    this.#intake.release();
    const leftMs = CLOSE_MS - (this.#clock.elapsedMs() - startedMs);
    // It is going away: nothing is left to do about an error but to remember it.
    await this.#within(leftMs, this.#target.close()).catch((error: unknown) => this.#report.failed(error));
  }

  async #untilIdle(): Promise<void> {
    await this.#running;
    while (this.#batches.size > 0) await this.#wakeup.wait();
  }

  #within(ms: number, ends: Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(Math.max(0, ms), resolve);
      void ends.then(resolve, reject).finally(() => timer.cancel());
    });
  }

  async #run(): Promise<void> {
    while (!this.#isClosing) {
      try {
        await this.#step();
      } catch (error) {
        this.#stop(error);
      }
    }
    this.#intake.release();
  }

  async #step(): Promise<void> {
    // Asked once: what changes between two looks rings no bell.
    const waitsForClock = this.#waitsForClock();
    if (waitsForClock || !this.#isWanted()) {
      this.#intake.release();
      await this.#wakeup.wait(waitsForClock ? CLOCK_LOOK_MS : Infinity);
    } else if (!this.#circuit.isUsable) {
      this.#intake.release();
      // `open` is not called while a delivery is under way; those end within the target's own deadline.
      if (this.#batches.size > 0) await this.#wakeup.wait();
      else this.#onReached(await this.#outage.step());
    } else if (this.#endDoneFlushes()) {
      // Whether anything more may be sent is another question now.
    } else if (!this.#hasRoom()) {
      // The next batch is read while one is under way: neither the disk nor the target waits for the other.
      if (this.#mayLookAhead()) await this.#intake.fill(false, this.#underWay());
      // Others who give memory back ring no bell here.
      else await this.#wakeup.wait(this.#readShare.hasRoom ? Infinity : SHARE_LOOK_MS);
    } else if (!this.#intake.isEmpty) {
      this.#launch(this.#intake.next()!);
    } else {
      await this.#intake.fill(this.#circuit.state.kind === "halfOpen", this.#underWay());
    }
  }

  #onReached(reached: TargetError | boolean): void {
    if (reached === false) return;
    if (reached !== true) return this.#trip(reached);
    this.#circuit.letOneThrough(this.#clock.elapsedMs());
    // With nothing to try it with, the next record will tell.
    if (this.#source.untaken === 0) this.#closeCircuit();
    this.#monitor?.up(this);
  }

  #launch({ destination, records }: Staged): void {
    if (this.#intake.isHeld(destination)) return this.#source.release(records);
    const isTry = this.#holds.beginTry(destination);
    if (isTry && records.length > TRY_RECORDS) this.#source.release(records.splice(TRY_RECORDS));
    const batch = new Batch(this.#host, destination, records, isTry);
    this.#batches.add(batch);
    void batch
      .run()
      .catch((error: unknown) => this.#stop(error))
      .finally(() => {
        this.#batches.delete(batch);
        if (isTry) this.#holds.endTry(destination, this.#clock.elapsedMs());
        this.#changed();
      });
  }

  /** What a batch asks of its delivery, and tells it. */
  #hostOf({ source, target, clock, deadLetters }: DeliveryParts, age: RecordAge): BatchHost {
    const report = this.#report;
    return {
      source,
      target,
      clock,
      age,
      deadLetters,
      settings: () => this.#settings,
      isOrdered: () => this.#flow.isOrdered,
      giveBack: (records) => this.#intake.giveBack(records),
      admit: (bytes) => this.#admit(bytes),
      leave: () => {
        this.#flow.isBack();
        this.#wakeup.ring();
      },
      rest: (attempt) => this.#rest(attempt),
      onAnswer: (batch, piece, answer, tookMs) => {
        this.#closeCircuit();
        this.#monitor?.up(this);
        report.tell({ kind: "answered", destination: batch.destination, records: piece, outcomes: answer.outcomes });
        if (answer.consequence !== undefined) return;
        this.#flow.accepted(piece, tookMs, this.#source.untaken > 0 || !this.#intake.isEmpty);
      },
      onConsequence: (piece, consequence) => {
        if (consequence.kind === "split") this.#flow.wasTooLarge(piece);
        if (consequence.kind === "throttle") this.#throttle(consequence);
      },
      onConfirmed: (records, duplicates) => report.confirmed(records.length, bytesOf(records), duplicates),
      onRejected: (record, rejection) => report.rejected(record, rejection),
      onSetAsideFailed: (cause) => report.setAsideFailed(cause),
      onRetry: (records, cause) => report.retried(records, cause),
      onDropped: (records, cause) => report.dropped(records.length, bytesOf(records), cause),
      onTried: (batch) => {
        // A try of a held destination is no part of what a flush waits for.
        if (!batch.isTry) this.#flushes.tried(batch.records.length);
        this.#wakeup.ring();
      },
      onTargetFailed: (error) => this.#trip(error),
      suspicion: (batch, rejections, delivered, records) => this.#suspicion(batch, rejections, delivered, records),
      hold: (batch, cause, byGuard) => this.#hold(batch.destination, cause, byGuard),
      letGo: ({ destination }) => {
        if (!this.#holds.letGo(destination)) return;
        this.#intake.letGo();
        report.tell({ kind: "letGo", destination });
      },
    };
  }

  async #admit(bytes: number): Promise<boolean> {
    for (;;) {
      if (!this.#maySend() || !this.#circuit.isUsable) return false;
      const { waitMs } = this.#flow;
      if (waitMs <= 0) break;
      await this.#wakeup.wait(waitMs);
    }
    this.#flow.leaves(bytes);
    this.#report.sent();
    return true;
  }

  async #rest(attempt: number): Promise<boolean> {
    // There is room for another batch while this one waits.
    this.#wakeup.ring();
    const untilMs = this.#clock.elapsedMs() + backoffMs(attempt, this.#settings, this.#random);
    for (;;) {
      if (!this.#maySend() || !this.#circuit.isUsable) return false;
      const leftMs = untilMs - this.#clock.elapsedMs();
      if (leftMs <= 0) return true;
      await this.#wakeup.wait(leftMs);
    }
  }

  #throttle({ cause, retryAfterMs }: Extract<Consequence, { kind: "throttle" }>): void {
    const waitMs = this.#flow.throttled(retryAfterMs);
    this.#report.failed(cause);
    this.#report.tell({ kind: "throttled", cause, waitMs });
  }

  #suspicion(batch: Batch, rejections: readonly Rejection[], delivered: number, records: number): Error | undefined {
    const limit = this.#settings.rejectGuard;
    if (limit === undefined) return undefined;
    if (delivered > 0) {
      this.#guard.onDelivered(batch.destination);
      return undefined;
    }
    const first = rejections[0]!;
    if (first.byChoice === true) return undefined;
    const isOneKind = rejections.length === records && rejections.every((rejection) => rejection.code === first.code);
    if (!this.#guard.holdsBack(batch.destination, isOneKind ? first.code : undefined, records, limit)) return undefined;
    return Object.assign(
      new Error(
        `everything is rejected for one reason (${first.code}), so the setting is suspected, not the data: ${first.message}`,
      ),
      { code: "suspected-setting" },
    );
  }

  #hold(destination: string, cause: Error, byGuard: boolean): void {
    this.#report.failed(cause);
    const isNew = this.#holds.hold(destination, cause, byGuard, this.#clock.elapsedMs(), this.#settings);
    if (isNew) this.#report.tell({ kind: "held", destination, cause, byGuard });
    this.#intake.callOff();
  }

  #trip(error: TargetError): void {
    this.#report.failed(error);
    const isNew = this.#circuit.trip(error, this.#clock.elapsedMs(), this.#settings);
    this.#endFlushes("unavailable");
    if (isNew) {
      this.#flow.restart();
      this.#monitor?.down(this, error);
      this.#report.tell({ kind: "circuitOpened", cause: error, isConfig: error.name === "TargetConfigError" });
    }
    this.#changed();
  }

  #closeCircuit(): void {
    const downMs = this.#circuit.close(this.#clock.elapsedMs());
    if (downMs !== undefined) this.#report.tell({ kind: "circuitClosed", downMs });
  }

  #hurry(): void {
    if (this.#circuit.hurry(this.#clock.elapsedMs())) this.#wakeup.ring();
  }

  /** A fault of ours: nothing more is sent until `resume`. The log has the records. */
  #stop(error: unknown): void {
    this.#report.failed(error);
    this.#isPaused = true;
    this.#endFlushes("stopped");
    this.#report.tell({ kind: "stopped", cause: asError(error) });
    this.#changed();
  }

  #maySend(): boolean {
    return this.#isWanted() && !this.#waitsForClock();
  }

  #isWanted(): boolean {
    if (this.#isClosing || this.#isPaused) return false;
    return this.#settings.sending === "automatic" || !this.#flushes.isEmpty;
  }

  #waitsForClock(): boolean {
    return this.#settings.waitForClock && !this.#clock.isWallTrusted;
  }

  #hasRoom(): boolean {
    if (this.#flow.isOrdered || this.#circuit.state.kind === "halfOpen") return this.#batches.size === 0;
    if (this.#batches.size > 0 && !this.#readShare.hasRoom) return false;
    let resting = 0;
    for (const batch of this.#batches) if (batch.isResting) resting++;
    return resting <= MOST_RESTING && this.#batches.size - resting < this.#flow.mostAtOnce;
  }

  /** One batch at most, and only a full one of a size that rests: it would not be larger if it were taken later. */
  #mayLookAhead(): boolean {
    if (!this.#intake.isEmpty || this.#circuit.state.kind === "halfOpen" || !this.#readShare.hasRoom) return false;
    return this.#flow.isSettled && this.#source.untaken >= this.#flow.batch.records;
  }

  #unansweredMs(): number {
    const nowMs = this.#clock.elapsedMs();
    let sinceMs = this.#outage.openingMs ?? nowMs;
    for (const { sentMs } of this.#batches) sinceMs = Math.min(sinceMs, sentMs ?? nowMs);
    return nowMs - sinceMs;
  }

  #underWay(): DeliveryStatus["inFlight"] {
    let records = 0;
    let bytes = 0;
    for (const batch of this.#batches) {
      records += batch.records.length;
      bytes += batch.bytes;
    }
    return { batches: this.#batches.size, records, bytes };
  }

  /** True when that has changed what is to be done. */
  #endDoneFlushes(): boolean {
    if (this.#flushes.isEmpty) return false;
    if (this.#source.untaken === 0 && this.#intake.isEmpty && this.#batches.size === 0) this.#flushes.exhaust();
    const hasEnded = this.#flushes.endDone(this.#report.counters, this.#source.backlog().records);
    if (hasEnded) this.#wakeup.ring();
    return hasEnded;
  }

  #endFlushes(end: FlushReport["end"]): void {
    if (!this.#flushes.isEmpty) this.#flushes.endAll(end, this.#report.counters, this.#source.backlog().records);
  }

  /** Something has changed that whoever waits cannot know. */
  #changed(): void {
    this.#intake.callOff();
    this.#wakeup.ring();
  }
}
