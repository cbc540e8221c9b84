/**
 * One who delivers from a queue: its place in the log, its target, its own pace, circuit and dead letters. A standalone
 * exporter is the one member of its queue; a pool has many.
 */
import type { Timer } from "../clock.js";
import { decode } from "../codec.js";
import type { DeadLetters, LetterFilter } from "../delivery/dead-letters.js";
import type { DeliveryCounters, DeliveryEvent, DeliveryStatus, FlushReport } from "../delivery/events.js";
import { Delivery } from "../delivery/loop.js";
import type { DeliverySettings } from "../delivery/settings.js";
import type { LogConsumer } from "../log/consumer/consumer.js";
import type { Cursor } from "../log/format/cursor.js";
import { SettleError } from "../log/errors.js";
import { patiently } from "../log/consumer/settling.js";
import type { LogRecord, Routing } from "../record.js";
import type { Rejection, Target } from "../targets/target.js";
import type { Queue } from "./queue.js";
import type { LogStore } from "./log-store.js";
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
  /** Why records wait at the moment. `configuration`: only the user can mend it. */
  readonly problem: { readonly message: string; readonly code: string; readonly configuration: boolean } | undefined;
  /**
   * Trouble with the queue folder: records are kept in memory meanwhile. `ofTarget`: with the disk of a target of this
   * queue, which cannot make durable what it has; the queue is well, and a power cut has it sent again.
   */
  readonly storage: { readonly message: string; readonly code: string; readonly ofTarget?: true } | undefined;
  readonly deadLetters: number;
  /** In this life. */
  readonly delivered: number;
  readonly dropped: number;
  /** Messages of this life that the transform gave nothing for. */
  readonly filtered: number;
  /** Records wait on disk, not only in memory. */
  readonly onDisk: boolean;
}

export interface Rejected {
  /** What the sender had sent. */
  readonly payload: unknown;
  readonly rejection: Rejection;
  readonly routing: Routing;
}

export interface MemberOptions {
  /** The same id finds the same place in the log again. */
  readonly id: string;
  /** A function makes one each time that the target is taken up: after `letGo` a new one. */
  readonly target: Target | (() => Target);
  /** What of it concerns delivery; the rest is the queue's. */
  readonly flush: FlushSettings;
  /** Called when something changed, at most once a second. */
  readonly onStatus?: ((status: ExporterStatus) => void) | undefined;
  /** A record is in the dead letters. */
  readonly onRejected?: ((rejected: Rejected) => void) | undefined;
  /** What delivery tells, as it happens. */
  readonly onEvent?: ((event: DeliveryEvent) => void) | undefined;
}

const STATUS_INTERVAL_MS = 1_000;
const NOTHING: DeliveryCounters = { delivered: 0, duplicates: 0, rejected: 0, retried: 0, dropped: 0, batches: 0 };

/** A target that has its own deadlines has failed long before; a file has none: the system call ends when it does. */
const SILENCE_MS = 60_000;
const LOCAL_SILENCE_MS = 10_000;
const NO_ANSWER: NonNullable<ExporterStatus["problem"]> = {
  message: "The target does not answer, as a network disk does whose server is gone; what comes waits.",
  code: "no-answer",
  configuration: false,
};

const CLOCK_PROBLEM: ExporterStatus["problem"] = {
  message:
    "What waits is sent once the clock of this machine can be trusted, as the settings ask: when a time server has set it, or it has run evenly for ten minutes.",
  code: "clock",
  configuration: false,
};

export class Member {
  readonly id: string;
  readonly #store: LogStore;
  readonly #options: MemberOptions;
  readonly #queue: Queue;
  readonly #consumer: LogConsumer;
  readonly #deadLetters: DeadLetters;
  #delivery: Delivery;
  /** What the deliveries before this one came to. */
  #before = NOTHING;
  /** `letGo` and `takeUp` go one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  /** Beyond it a question without an answer is told of. */
  #silenceMs = SILENCE_MS;
  #isSilent = false;
  #statusTimer: Timer | undefined;
  #statusDueMs = 0;
  #stopped: Promise<void> | undefined;

  private constructor(store: LogStore, queue: Queue, deadLetters: DeadLetters, options: MemberOptions) {
    this.id = options.id;
    this.#store = store;
    this.#options = options;
    this.#queue = queue;
    this.#consumer = queue.consumer(options.id);
    this.#deadLetters = deadLetters;
    this.#delivery = this.#deliver();
    this.changed();
  }

  #deliver(): Delivery {
    const { flush } = this.#options;
    const target = typeof this.#options.target === "function" ? this.#options.target() : this.#options.target;
    this.#consumer.settle =
      target.settle === undefined ? undefined : patiently(() => target.settle!(), this.#store.clock);
    this.#silenceMs = target.traits.isLocal === true ? LOCAL_SILENCE_MS : SILENCE_MS;
    return new Delivery({
      source: this.#consumer,
      target,
      clock: this.#store.clock,
      readShare: this.#store.readShare,
      deadLetters: this.#deadLetters,
      // That a file can be written says nothing of the network.
      ...(target.traits.isLocal === true ? {} : { monitor: this.#store.monitor }),
      settings: { ...deliverySettings(flush), ...(target.traits.isLocal === true ? LOCAL : {}) },
      onEvent: (event) => this.#onDelivery(event),
    });
  }

  /** @param deadLetters where its rejected records go; the member closes it */
  static open(store: LogStore, queue: Queue, deadLetters: DeadLetters, options: MemberOptions): Member {
    return new Member(store, queue, deadLetters, options);
  }

  /** A record came in: a target that is away may be looked at earlier. Cheap. */
  nudge(): void {
    this.#delivery.nudge();
    this.changed();
  }

  status(): ExporterStatus {
    const backlog = this.#consumer.backlog();
    const { circuit, isPaused, isClosed, waitsForClock, unansweredMs, isThrottled, lastError, held } =
      this.#delivery.status;
    const { counters } = this;
    const oldest = backlog.oldestAcceptedAtMs;
    const isDown = circuit.kind === "open" || circuit.kind === "halfOpen";
    const waits = isDown || (held.length > 0 && backlog.records > 0);
    const { storage, isShared, dropped, filtered } = this.#queue;
    return {
      waiting: backlog.records,
      waitingBytes: backlog.bytes,
      oldestAgeMs: oldest === undefined ? undefined : Math.max(0, Math.round(this.#store.clock.wallMs() - oldest)),
      circuit: isDown ? circuit.kind : "closed",
      paused: isPaused || isClosed,
      problem:
        waits && lastError !== undefined
          ? {
              message: lastError.message,
              code: lastError.code,
              configuration: circuit.kind === "open" && circuit.cause.name === "TargetConfigError",
            }
          : waitsForClock && backlog.records > 0
            ? CLOCK_PROBLEM
            : unansweredMs > this.#silenceMs
              ? NO_ANSWER
              : isThrottled && backlog.records > 0 && lastError !== undefined
                ? { message: lastError.message, code: "throttled", configuration: false }
                : undefined,
      storage: storage === undefined ? undefined : storageTrouble(storage),
      deadLetters: this.#deadLetters.count,
      delivered: counters.delivered + counters.duplicates,
      // What the entry of a pool did not take is no member's loss alone: the pool shows it.
      dropped: counters.dropped + this.#consumer.dropped + (isShared ? 0 : dropped.newest),
      filtered: isShared ? 0 : filtered,
      onDisk: this.#queue.log.segmentCount > 0,
    };
  }

  /** Sends what waits now. Resolves when all of it was tried, or as soon as the target cannot be used. */
  flush(): Promise<FlushReport> {
    return this.#delivery.flush();
  }

  pause(): void {
    this.#delivery.pause();
    this.changed();
  }

  resume(): void {
    this.#delivery.resume();
    this.changed();
  }

  /**
   * Lets go of the target, its file or connection, until `takeUp`; what comes meanwhile waits. Resolves when it has, at
   * the latest in 3 s.
   */
  letGo(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#stopped !== undefined || this.#delivery.status.isClosed) return;
      await this.#delivery.close();
      this.changed();
    });
  }

  /** Undoes `letGo`: takes the target up again and goes on. */
  takeUp(): Promise<void> {
    return this.#inTurn(() => {
      if (this.#stopped !== undefined || !this.#delivery.status.isClosed) return;
      this.#before = this.counters;
      this.#delivery = this.#deliver();
      this.changed();
    });
  }

  /** Delivers also what waits at an orphan's place below `below`. Resolves to how many records that is. */
  async takeOver(place: Cursor, below: number): Promise<number> {
    const wasLetGo = this.#delivery.status.isClosed;
    let taken = 0;
    await this.letGo();
    try {
      await this.#inTurn(async () => {
        // What is confirmed and not settled could not be told from what is taken over.
        await this.#consumer.settleNow();
        taken = this.#consumer.takeOver(place, below);
        await this.#consumer.findOldest();
      });
    } finally {
      if (!wasLetGo) await this.takeUp();
    }
    return taken;
  }

  #inTurn(change: () => void | Promise<void>): Promise<void> {
    const changing = this.#turn.then(change);
    this.#turn = changing.catch(() => undefined); // the caller hears of it
    return changing;
  }

  /** What was delivered, and what was not, in this life. */
  get counters(): DeliveryCounters {
    const sum = { ...this.#before };
    for (const [name, count] of Object.entries(this.#delivery.status.counters))
      sum[name as keyof DeliveryCounters] += count;
    return sum;
  }

  /** How the delivery stands, in detail. */
  get delivery(): DeliveryStatus {
    return this.#delivery.status;
  }

  /** The records that were rejected. */
  get deadLetters(): DeadLetters {
    return this.#deadLetters;
  }

  /** Sends rejected records to this member once more, with the ids they have. Resolves to how many. */
  async requeue(filter: LetterFilter): Promise<number> {
    const count = await this.#deadLetters.requeue(filter, (letter) => this.#queue.requeue(letter, this.id));
    this.changed();
    return count;
  }

  /** Gives up everything that waits for this member. Returns how many records that was. */
  discard(): number {
    const dropped = this.#consumer.skip(this.#consumer.offset, this.#queue.log.nextOffset);
    this.#queue.poke();
    this.changed();
    return dropped;
  }

  /** Stops delivering; what was not confirmed keeps its place. Safe to call twice. */
  stop(): Promise<void> {
    return (this.#stopped ??= this.#stop());
  }

  async #stop(): Promise<void> {
    this.#statusTimer?.cancel();
    await this.#turn;
    await this.#delivery.close();
  }

  /** The same, and closes its dead letters. A queue that is to be closed as well is closed between the two. */
  async close(): Promise<void> {
    const results = [await settled(this.stop()), await settled(this.#deadLetters.close())];
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  #onDelivery(event: DeliveryEvent): void {
    this.#options.onEvent?.(event);
    // Told for each batch: too much for those who want to hear what happens.
    if (event.kind !== "answered") {
      this.#store.tell({ kind: "delivery", log: this.#queue.id, member: this.id, event });
    }
    if (event.kind === "rejected") this.#tellRejected(event.record, event.rejection);
    this.changed();
  }

  #tellRejected(record: LogRecord, rejection: Rejection): void {
    this.#options.onRejected?.({ payload: payloadOf(record), rejection, routing: record.routing });
  }

  #tellSilence(isSilent: boolean): void {
    if (isSilent === this.#isSilent) return;
    this.#isSilent = isSilent;
    const cause = isSilent ? Object.assign(new Error(NO_ANSWER.message), { code: NO_ANSWER.code }) : undefined;
    this.#onDelivery({ kind: "silent", cause });
  }

  /** Tells the status: at once after a quiet second, else at the end of it. */
  changed(): void {
    const { onStatus } = this.#options;
    if (this.#statusTimer !== undefined || onStatus === undefined || this.#stopped !== undefined) return;
    const waitMs = Math.max(0, this.#statusDueMs - this.#store.clock.elapsedMs());
    this.#statusTimer = this.#store.clock.after(waitMs, () => {
      this.#statusTimer = undefined;
      this.#statusDueMs = this.#store.clock.elapsedMs() + STATUS_INTERVAL_MS;
      const status = this.status();
      this.#tellSilence(status.problem === NO_ANSWER);
      onStatus(status);
      // The age of the oldest grows by itself.
      if (status.waiting > 0) this.changed();
    });
  }
}

function storageTrouble(trouble: Error): NonNullable<ExporterStatus["storage"]> {
  const { message } = trouble;
  const code = (trouble as NodeJS.ErrnoException).code ?? "storage";
  return trouble instanceof SettleError ? { message, code, ofTarget: true } : { message, code };
}

/** The result of a step whose failure must not keep the next from running. */
export async function settled(step: Promise<void>): Promise<PromiseSettledResult<void>> {
  const [result] = await Promise.allSettled([step]);
  return result;
}

/** What the sender had sent; a word about it where the bytes cannot be read. */
function payloadOf(record: LogRecord): unknown {
  try {
    return decode(record);
  } catch (error) {
    return `(unreadable: ${(error as Error).message})`;
  }
}

/** A file costs nothing to look at: it is looked at soon after whatever was wrong with it has been mended. */
const LOCAL: Partial<DeliverySettings> = { backoffMinMs: 500, backoffMaxMs: 10_000 };

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
    waitForClock: flush.waitForClock,
    sending: flush.sending,
    keepUnsent: flush.keepUnsent,
  };
}
