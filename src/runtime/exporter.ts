/**
 * One exporter: what is sent to it is encoded, queued in its log, and delivered to its target.
 */
import { decode, encode, plainJson } from "../codec.js";
import type { Timer } from "../clock.js";
import { DeadLetters, KEEPER } from "../delivery/dead-letters.js";
import type { DeliveryEvent, FlushReport } from "../delivery/events.js";
import { Delivery } from "../delivery/loop.js";
import type { DeliverySettings } from "../delivery/settings.js";
import type { LogConsumer } from "../log/consumer.js";
import type { Flushed } from "../log/flush.js";
import type { Log } from "../log/log.js";
import type { LogRecord, Routing } from "../record.js";
import type { Rejection, Target } from "../targets/target.js";
import type { Runtime } from "./runtime.js";
import type { FlushSettings } from "./settings.js";

/** How an exporter stands, for people. */
export interface ExporterStatus {
  /** Records accepted and not yet confirmed, and the bytes they take. */
  readonly waiting: number;
  readonly waitingBytes: number;
  /** Since when the oldest of them waits, in ms; undefined when nothing waits. */
  readonly oldestAgeMs: number | undefined;
  readonly circuit: "closed" | "open" | "halfOpen";
  readonly paused: boolean;
  /** Why nothing is delivered at the moment. `configuration`: only the user can mend it. */
  readonly problem: { readonly message: string; readonly code: string; readonly configuration: boolean } | undefined;
  /** Trouble with the queue folder: records are kept in memory meanwhile. */
  readonly storage: { readonly message: string; readonly code: string } | undefined;
  readonly deadLetters: number;
  readonly delivered: number;
  readonly dropped: number;
  /** Records wait on disk, not only in memory. */
  readonly onDisk: boolean;
}

export interface Rejected {
  readonly payload: unknown;
  readonly rejection: Rejection;
  readonly routing: Routing;
}

export interface ExporterOptions {
  /** Names the log: the same id finds the same records again. */
  readonly id: string;
  readonly target: Target;
  readonly flush: FlushSettings;
  /** Called when something changed, at most once a second. */
  readonly onStatus?: (status: ExporterStatus) => void;
  /** A record is in the dead letters. */
  readonly onRejected?: (rejected: Rejected) => void;
  /** What delivery tells, as it happens. */
  readonly onEvent?: (event: DeliveryEvent) => void;
}

/** The record was not taken; the sender still has it. */
export class NotAcceptedError extends Error {
  override readonly name = "NotAcceptedError";
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

type Done = (error?: Error) => void;

const STATUS_INTERVAL_MS = 1_000;
/** The one consumer of an exporter's own log. */
const CONSUMER = "exporter";

export class Exporter {
  readonly id: string;
  readonly #runtime: Runtime;
  readonly #options: ExporterOptions;
  readonly #log: Log;
  readonly #consumer: LogConsumer;
  readonly #flushed: Flushed;
  readonly #deadLetters: DeadLetters;
  readonly #delivery: Delivery;
  readonly #onClosed: (() => void)[] = [];
  /** Senders who wait for the target, by offset. */
  #undelivered: { readonly offset: number; readonly done: Done }[] = [];
  #storage: Error | undefined;
  #statusTimer: Timer | undefined;
  #statusDueMs = 0;
  #closed: Promise<void> | undefined;

  private constructor(runtime: Runtime, options: ExporterOptions, log: Log, deadLog: Log) {
    this.id = options.id;
    this.#runtime = runtime;
    this.#options = options;
    this.#log = log;
    this.#consumer = log.consumer(CONSUMER);
    const { target, flush } = options;
    if (target.settle !== undefined) this.#consumer.settle = () => target.settle!();
    const onTrouble = (trouble: Error | undefined): void => this.#onStorage(trouble);
    this.#flushed = runtime.flushed(log, flush, onTrouble);
    this.#deadLetters = new DeadLetters(deadLog, runtime.flusher, runtime.flushed(deadLog, flush, onTrouble));
    this.#delivery = new Delivery({
      source: this.#consumer,
      target,
      clock: runtime.clock,
      deadLetters: this.#deadLetters,
      settings: deliverySettings(flush),
      onEvent: (event) => this.#onDelivery(event),
    });
    this.#changed();
  }

  static async open(runtime: Runtime, options: ExporterOptions): Promise<Exporter> {
    const log = await runtime.openLog("logs", options.id, [CONSUMER], options.flush);
    try {
      const deadLog = await runtime.openLog("dead", options.id, [KEEPER], {
        ...options.flush,
        durability: "everyMessage",
      });
      return new Exporter(runtime, options, log, deadLog);
    } catch (error) {
      await log.close();
      throw error;
    }
  }

  onClosed(listener: () => void): void {
    this.#onClosed.push(listener);
  }

  get memoryBytes(): number {
    return this.#log.memoryBytes;
  }

  /**
   * Takes one payload; an array is many records. `done` is called once, when all of it is accepted at the durability the
   * user chose, or with the error when it is not: then nothing of it was taken. Never throws, never blocks.
   */
  send(payload: unknown, routing: Routing, done: Done): void {
    const { durability } = this.#options.flush;
    let offset: number;
    try {
      if (this.#closed !== undefined) throw new NotAcceptedError("closed", "The exporter is closed.");
      if (this.#runtime.memoryUsed > this.#runtime.memoryBytes) {
        throw new NotAcceptedError("queue-full", "The queue's memory is full: its folder takes no more at the moment.");
      }
      offset = this.#append(payload, routing);
    } catch (error) {
      done(error as Error);
      return;
    }
    if (durability === "everyMessage" && offset >= 0) this.#flushed.whenSynced(offset, done);
    else if (durability === "delivered" && offset >= 0) this.#undelivered.push({ offset, done });
    else done();
    this.#runtime.flusher.poke(this.#flushed);
    this.#delivery.nudge();
    this.#changed();
  }

  /** The offset of the last record; -1 for an empty array. */
  #append(payload: unknown, routing: Routing): number {
    if (!Array.isArray(payload)) return this.#log.append(plainJson(payload) ?? encode(payload), routing);
    // All are encoded before the first is appended: a bad one must not leave half of its message behind.
    const items = payload.map((item: unknown) => plainJson(item) ?? encode(item));
    let last = -1;
    for (const item of items) last = this.#log.append(item, routing);
    return last;
  }

  status(): ExporterStatus {
    const backlog = this.#consumer.backlog();
    const { circuit, isPaused, lastError, counters, held } = this.#delivery.status;
    const oldest = backlog.oldestAcceptedAtMs;
    const isDown = circuit.kind === "open" || circuit.kind === "halfOpen";
    const waits = isDown || (held.length > 0 && backlog.records > 0);
    return {
      waiting: backlog.records,
      waitingBytes: backlog.bytes,
      oldestAgeMs: oldest === undefined ? undefined : Math.max(0, this.#runtime.clock.wallMs() - oldest),
      circuit: isDown ? circuit.kind : "closed",
      paused: isPaused,
      problem:
        waits && lastError !== undefined
          ? {
              message: lastError.message,
              code: lastError.code,
              configuration: circuit.kind === "open" && circuit.cause.name === "TargetConfigError",
            }
          : undefined,
      storage:
        this.#storage === undefined
          ? undefined
          : { message: this.#storage.message, code: (this.#storage as NodeJS.ErrnoException).code ?? "storage" },
      deadLetters: this.#deadLetters.count,
      delivered: counters.delivered + counters.duplicates,
      dropped: counters.dropped,
      onDisk: this.#log.segmentCount > 0,
    };
  }

  /** Sends what waits now. Resolves when all of it was tried, or as soon as the target cannot be used. */
  flush(): Promise<FlushReport> {
    return this.#delivery.flush();
  }

  pause(): void {
    this.#delivery.pause();
    this.#changed();
  }

  resume(): void {
    this.#delivery.resume();
    this.#changed();
  }

  /** Stops delivering, then writes and syncs what waits. Each step runs though one failed. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#statusTimer?.cancel();
    const failures: unknown[] = [];
    const steps = [
      () => this.#delivery.close(),
      () => this.#runtime.flusher.remove(this.#flushed),
      () => this.#log.close(),
      () => this.#deadLetters.close(),
    ];
    for (const step of steps) await step().catch((error: unknown) => failures.push(error));
    this.#flushed.release();
    for (const { done } of this.#undelivered.splice(0)) done(); // they are in the log
    for (const listener of this.#onClosed) listener();
    if (failures.length > 0) throw failures[0];
  }

  #onStorage(trouble: Error | undefined): void {
    if (trouble === this.#storage) return;
    this.#storage = trouble;
    this.#changed();
  }

  #onDelivery(event: DeliveryEvent): void {
    this.#options.onEvent?.(event);
    if (event.kind === "rejected") this.#tellRejected(event.record, event.rejection);
    // What was confirmed may have to be written down.
    if (event.kind === "answered") {
      this.#runtime.flusher.poke(this.#flushed);
      if (this.#undelivered.length > 0) queueMicrotask(() => this.#tellDelivered());
    }
    this.#changed();
  }

  #tellDelivered(): void {
    const { offset: cursor } = this.#consumer;
    const isDone = (offset: number): boolean => offset < cursor || this.#consumer.isConfirmed(offset);
    const done = this.#undelivered.filter(({ offset }) => isDone(offset));
    if (done.length === 0) return;
    this.#undelivered = this.#undelivered.filter(({ offset }) => !isDone(offset));
    for (const sender of done) sender.done();
  }

  #tellRejected(record: LogRecord, rejection: Rejection): void {
    this.#options.onRejected?.({ payload: payloadOf(record), rejection, routing: record.routing });
    queueMicrotask(() => this.#tellDelivered());
  }

  /** At once after a quiet second, else at the end of it. */
  #changed(): void {
    const { onStatus } = this.#options;
    if (onStatus === undefined || this.#statusTimer !== undefined || this.#closed !== undefined) return;
    const nowMs = this.#runtime.clock.elapsedMs();
    const waitMs = Math.max(0, this.#statusDueMs - nowMs);
    this.#statusTimer = this.#runtime.clock.after(waitMs, () => {
      this.#statusTimer = undefined;
      this.#statusDueMs = this.#runtime.clock.elapsedMs() + STATUS_INTERVAL_MS;
      const status = this.status();
      onStatus(status);
      // The age of the oldest grows by itself.
      if (status.waiting > 0 || status.problem !== undefined) this.#changed();
    });
  }
}

/** What the sender had sent; the text of it where the bytes cannot be read. */
function payloadOf(record: LogRecord): unknown {
  try {
    return decode(record);
  } catch (error) {
    return `(unreadable: ${(error as Error).message})`;
  }
}

function deliverySettings(flush: FlushSettings): Partial<DeliverySettings> {
  return {
    batchRecords: flush.batchRecords,
    batchBytes: flush.batchBytes,
    batchWaitMs: flush.batchWaitMs,
    concurrency: flush.concurrency,
    strictOrder: flush.strictOrder,
    liveFirst: flush.liveFirst,
    bytesPerSecond: flush.bytesPerSecond === 0 ? undefined : flush.bytesPerSecond,
    giveUpAfterMs: flush.giveUpAfterMs === 0 ? undefined : flush.giveUpAfterMs,
    sending: flush.sending,
    keepUnsent: flush.keepUnsent,
  };
}
