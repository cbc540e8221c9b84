/**
 * One entry into the engine: what is sent here is encoded, kept within its limits, and appended to a log of its own,
 * from which one member (an exporter) or many (a pool) deliver.
 */
import { decode, encode, plainJson } from "../codec.js";
import type { DeadLetter } from "../delivery/dead-letters.js";
import type { LogConsumer } from "../log/consumer/consumer.js";
import type { Flushed, Synced } from "../log/flush.js";
import { SettleError } from "../log/errors.js";
import type { Log } from "../log/log.js";
import type { Encoded, LogRecord, Routing } from "../record.js";
import { LOGS } from "./folder.js";
import { type Dropped, type HeldMessages, type Limits, NotAcceptedError } from "./limits.js";
import type { Rejection } from "../targets/target.js";
import type { Transform, TransformContext } from "../transform.js";
import type { LogStore } from "./log-store.js";
import type { FlushSettings } from "./settings.js";
import { type Results, TransformTurns } from "./transform-turns.js";

export type Done = (error?: Error) => void;

export interface QueueParts {
  /** Names the log: the same id finds the same records again. */
  readonly id: string;
  /** Who reads; one that the folder does not know starts at the present. */
  readonly consumers: readonly string[];
  readonly flush: FlushSettings;
  /** Applied once to each payload, before it is encoded. */
  readonly transform?: Transform | undefined;
  /** Keeps what can never be accepted: the transform failed, or the payload cannot be encoded. */
  readonly setAside: (payload: unknown, routing: Routing, rejection: Rejection) => Promise<void>;
  readonly onChange: () => void;
  /** Called for each message that was taken: at once, or when its transform has given what it is. */
  readonly onAccepted?: () => void;
}

export class Queue {
  readonly id: string;
  readonly log: Log;
  readonly #store: LogStore;
  readonly #flush: FlushSettings;
  readonly #parts: QueueParts;
  readonly #turns: TransformTurns;
  #filtered = 0;
  readonly #flushed: Flushed;
  readonly #limits: Limits;
  /** Senders who wait for the targets, by offset. */
  #undelivered: { readonly offset: number; readonly done: Done }[] = [];
  /** What the messages take whose senders wait: for a sync, or for the targets. */
  #heldBytes = 0;
  #storage: Error | undefined;
  #closing: Promise<void> | undefined;

  private constructor(store: LogStore, log: Log, parts: QueueParts) {
    const { id, flush } = parts;
    this.id = id;
    this.log = log;
    this.#store = store;
    this.#flush = flush;
    this.#parts = parts;
    this.#turns = new TransformTurns(store.clock);
    this.#flushed = store.flushed(log, flush, (trouble) => this.#onStorage(trouble));
    const queue = this;
    const isHeld = flush.durability === "everyMessage" || flush.durability === "delivered";
    const held: HeldMessages = {
      costBytes: isHeld ? MESSAGE_COST_BYTES : 0,
      get bytes() {
        return queue.#heldBytes;
      },
      giveUpOldest: () => this.#giveUpOldestHeld(),
    };
    this.#limits = store.limit(id, log, flush, held, () => this.#onDropped());
    log.onConfirmed(() => this.#onConfirmed());
  }

  static async open(store: LogStore, parts: QueueParts): Promise<Queue> {
    return new Queue(store, await store.openLog(LOGS, parts.id, parts.consumers, parts.flush), parts);
  }

  /**
   * Takes one payload; an array is many records. `done` is called once, when all of it is accepted at the durability the
   * user chose, or with the error when it is not: then nothing of it was taken. Never throws, never blocks.
   */
  send(payload: unknown, routing: Routing, done: Done, context?: TransformContext): void {
    if (this.#closing !== undefined) return done(new NotAcceptedError("closed", "The exporter is closed."));
    const { transform } = this.#parts;
    if (transform === undefined) return this.#accept(payload, routing, done);
    if (this.#turns.isStuck) return done(stuckError());
    try {
      const results = runOnEach(transform, payload, context);
      if (results instanceof Promise || !this.#turns.isEmpty) this.#acceptLater(results, payload, routing, done);
      else this.#acceptTransformed(results, routing, done);
    } catch (error) {
      this.#refuse(error as Error, payload, routing, done);
    }
  }

  #acceptLater(results: Results, payload: unknown, routing: Routing, done: Done): void {
    this.#turns.add(results, (result) => {
      if (result.status === "fulfilled") this.#acceptTransformed(result.value, routing, done);
      else this.#refuse(result.reason as Error, payload, routing, done);
    });
  }

  #acceptTransformed(results: unknown[], routing: Routing, done: Done): void {
    if (results.length === 0) this.#filtered++;
    this.#accept(results, routing, done);
  }

  #accept(payload: unknown, routing: Routing, done: Done): void {
    let offset: number;
    const before = this.log.acceptedBytes;
    try {
      offset = Array.isArray(payload) ? this.#appendAll(payload, routing) : this.#append(encoded(payload), routing);
    } catch (error) {
      this.#refuse(error as Error, payload, routing, done);
      return;
    }
    this.#promise(offset, this.log.acceptedBytes - before, done);
    this.#store.flusher.poke(this.#flushed);
    this.#parts.onAccepted?.();
  }

  /** A sender who was told that there is no room still has the message; what can never be taken is set aside. */
  #refuse(error: Error, payload: unknown, routing: Routing, done: Done): void {
    if (error instanceof NotAcceptedError) return done(error);
    const code = (error as { code?: unknown }).code;
    const rejection = { code: typeof code === "string" ? code : "not-accepted", message: error.message };
    const told = (): void => done(error);
    this.#parts.setAside(payload, routing, rejection).then(told, told);
  }

  /** The queue of a pool: it has members that come and go. */
  get isShared(): boolean {
    return this.#parts.consumers.length === 0;
  }

  /** How many messages the transform gave nothing for. */
  get filtered(): number {
    return this.#filtered;
  }

  /**
   * Takes a letter back: for one member alone, with the id it has; one that had never been accepted, for all, as if it
   * were sent anew. Resolves when it is synced.
   */
  requeue({ record, wasAccepted }: Pick<DeadLetter, "record" | "wasAccepted">, member?: string): Promise<void> {
    if (wasAccepted) return this.take(record, member);
    return new Promise((resolve, reject) => {
      this.send(decode(record), record.routing, (error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  /** Takes a record of another log, with the id it has, for one member or for all. Resolves when it is synced. */
  take(record: LogRecord, member?: string): Promise<void> {
    const offset = this.log.appendAs(record, member);
    return new Promise((resolve, reject) => {
      const synced: Synced = (error) => (error === undefined ? resolve() : reject(error));
      this.#store.flusher.whenSynced(this.#flushed, offset, synced);
    });
  }

  #promise(offset: number, bytes: number, done: Done): void {
    const { durability } = this.#flush;
    if (offset < 0 || durability === "memory" || durability === "interval") return done();
    const heldBytes = bytes + MESSAGE_COST_BYTES;
    this.#heldBytes += heldBytes;
    const told: Done = (error) => {
      this.#heldBytes -= heldBytes;
      done(error);
    };
    if (durability === "everyMessage") this.#store.flusher.whenSynced(this.#flushed, offset, told);
    else this.#undelivered.push({ offset, done: told });
  }

  /** Its record is on disk, but the message is still in memory, since the targets have not confirmed it. */
  #giveUpOldestHeld(): boolean {
    const oldest = this.#undelivered[0];
    if (oldest === undefined) return false;
    this.#limits.giveUpBelow(oldest.offset + 1);
    return true;
  }

  /** The offset of the record; -1 when it was dropped because the user prefers older ones. */
  #append(item: string | Encoded, routing: Routing): number {
    return this.#limits.admit(1, sizeOf(item)) ? this.log.append(item, routing) : -1;
  }

  /** The offset of the last record. All are encoded before the first is appended: a bad one leaves no half behind. */
  #appendAll(payload: readonly unknown[], routing: Routing): number {
    const items = Array.from(payload, encoded); // A hole is an item, too.
    const bytes = items.reduce((sum, item) => sum + sizeOf(item), 0);
    if (!this.#limits.admit(items.length, bytes)) return -1;
    let last = -1;
    for (const item of items) last = this.log.append(item, routing);
    return last;
  }

  get dropped(): Dropped {
    return this.#limits.dropped;
  }

  /** Trouble with the folder: records are kept in memory meanwhile. */
  get storage(): Error | undefined {
    return this.#storage;
  }

  get memoryBytes(): number {
    return this.log.memoryBytes;
  }

  /** Something changed that the flusher may have to write down. */
  poke(): void {
    this.#store.flusher.poke(this.#flushed);
  }

  consumer(id: string): LogConsumer {
    return this.log.addConsumer(id);
  }

  #onStorage(trouble: Error | undefined): void {
    this.#limits.lookAgain();
    if (trouble === this.#storage) return;
    const isNews =
      (trouble === undefined) !== (this.#storage === undefined) || trouble?.message !== this.#storage?.message;
    this.#storage = trouble;
    if (isNews) this.#store.tell({ kind: "storage", log: this.id, trouble });
    this.#parts.onChange();
  }

  #onDropped(): void {
    // A file that nobody needs any more goes with the next sync. Not for each drop: a full queue drops with every message.
    if (this.log.freeableDiskBytes > 0) this.#store.flusher.syncSoon(this.#flushed);
    this.#parts.onChange();
  }

  /** Consumers who left their place behind, with the records that wait for each. */
  get orphans(): ReadonlyMap<string, number> {
    const next = this.log.nextOffset;
    return new Map([...this.log.orphans].map(([id, { offset }]) => [id, next - offset]));
  }

  #onConfirmed(): void {
    this.poke();
    const error = this.log.isDropping ? droppedError() : undefined;
    const isOver = (offset: number): boolean =>
      error === undefined ? this.log.isDelivered(offset) : this.log.isDone(offset);
    if (error !== undefined) this.#flushed.giveUp(isOver, error);
    if (this.#undelivered.length === 0) return;
    const done = this.#undelivered.filter(({ offset }) => isOver(offset));
    if (done.length === 0) return;
    this.#undelivered = this.#undelivered.filter(({ offset }) => !isOver(offset));
    for (const sender of done) sender.done(error);
  }

  /** Writes and syncs what waits. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    await this.#turns.end();
    let failure: Error | undefined;
    try {
      await this.#store.flusher.remove(this.#flushed);
      this.#limits.forget();
      await this.log.close();
    } catch (error) {
      failure = error as Error;
      throw error;
    } finally {
      // Not before: a process that ends in the middle of a close writes what is still in memory.
      this.#store.unlimit(this.#limits);
      // Without a failure they are in the log, and will be delivered. Of a target that could not settle it is the cursor
      // alone that is not there.
      const lost = failure instanceof SettleError ? undefined : failure;
      this.#flushed.release(lost);
      for (const { done } of this.#undelivered.splice(0)) done(lost);
    }
  }
}

/** An array is many records, so each of its elements is transformed by itself. */
function runOnEach(transform: Transform, payload: unknown, context: TransformContext | undefined): Results {
  if (!Array.isArray(payload)) return transform.run(payload, context);
  const results: Results[] = [];
  try {
    for (const item of payload as unknown[]) results.push(transform.run(item, context));
  } catch (error) {
    // Nobody waits for those before it any more; one that fails later must not end the process.
    for (const result of results) if (result instanceof Promise) result.catch(() => undefined);
    throw error;
  }
  if (!results.some((result) => result instanceof Promise)) return results.flat(1);
  return Promise.all(results.map(async (result) => result)).then((all) => all.flat(1));
}

/** What a message takes in memory beside its data: the object that came, and whoever waits to be told of it. */
const MESSAGE_COST_BYTES = 1024;
/** Up to this the characters of a text are counted instead of its bytes: near enough, and it costs nothing. */
const SHORT_TEXT = 4_096;

function stuckError(): NotAcceptedError {
  const message = "The transform does not end, and many messages wait for it: a time limit would end it.";
  return new NotAcceptedError("transform-stuck", message);
}

function droppedError(): NotAcceptedError {
  return new NotAcceptedError("dropped", "The message was given up to make room, before it was as safe as asked for.");
}

function sizeOf(item: string | Encoded): number {
  if (typeof item !== "string") return item.bytes.length;
  return item.length < SHORT_TEXT ? item.length : Buffer.byteLength(item);
}

function encoded(payload: unknown): string | Encoded {
  return plainJson(payload) ?? encode(payload);
}
