/**
 * One entry into the engine: what is sent here is encoded, kept within its limits, and appended to a log of its own,
 * from which one member (an exporter) or many (a pool) deliver.
 */
import { encode, plainJson } from "../codec.js";
import type { LogConsumer } from "../log/consumer.js";
import type { Flushed } from "../log/flush.js";
import type { Log } from "../log/log.js";
import type { Encoded, LogRecord, Routing } from "../record.js";
import { LOGS } from "./folder.js";
import { type Dropped, type Limits, NotAcceptedError } from "./limits.js";
import type { Runtime } from "./runtime.js";
import type { FlushSettings } from "./settings.js";

export type Done = (error?: Error) => void;

export class Queue {
  readonly id: string;
  readonly log: Log;
  readonly #runtime: Runtime;
  readonly #flush: FlushSettings;
  readonly #flushed: Flushed;
  readonly #limits: Limits;
  readonly #onChange: () => void;
  /** Senders who wait for the targets, by offset. */
  #undelivered: { readonly offset: number; readonly done: Done }[] = [];
  #storage: Error | undefined;
  #closed: Promise<void> | undefined;

  private constructor(runtime: Runtime, id: string, log: Log, flush: FlushSettings, onChange: () => void) {
    this.id = id;
    this.log = log;
    this.#runtime = runtime;
    this.#flush = flush;
    this.#onChange = onChange;
    this.#flushed = runtime.flushed(log, flush, (trouble) => this.#onStorage(trouble));
    this.#limits = runtime.limit(id, log, flush, () => this.#onDropped());
    log.onConfirmed(() => this.#onConfirmed());
  }

  /** @param consumers who reads; one that the folder does not know starts at the present */
  static async open(
    runtime: Runtime,
    id: string,
    consumers: readonly string[],
    flush: FlushSettings,
    onChange: () => void,
  ): Promise<Queue> {
    return new Queue(runtime, id, await runtime.openLog(LOGS, id, consumers, flush), flush, onChange);
  }

  /**
   * Takes one payload; an array is many records. `done` is called once, when all of it is accepted at the durability the
   * user chose, or with the error when it is not: then nothing of it was taken. Never throws, never blocks.
   */
  send(payload: unknown, routing: Routing, done: Done): void {
    let offset: number;
    try {
      if (this.#closed !== undefined) throw new NotAcceptedError("closed", "The exporter is closed.");
      offset = Array.isArray(payload) ? this.#appendAll(payload, routing) : this.#append(encoded(payload), routing);
    } catch (error) {
      done(error as Error);
      return;
    }
    this.#promise(offset, done);
    this.#runtime.flusher.poke(this.#flushed);
  }

  /** Takes a record back, with the id it has, for one member alone or for all. Resolves when it is synced. */
  requeue(record: LogRecord, member?: string): Promise<void> {
    const offset = this.log.appendAs(record, member);
    return new Promise((resolve) => {
      this.#flushed.whenSynced(offset, resolve);
      this.poke();
    });
  }

  #promise(offset: number, done: Done): void {
    const { durability } = this.#flush;
    if (offset < 0 || durability === "memory" || durability === "interval") done();
    else if (durability === "everyMessage") this.#flushed.whenSynced(offset, done);
    else this.#undelivered.push({ offset, done });
  }

  /** The offset of the record; -1 when it was dropped because the user prefers older ones. */
  #append(item: string | Encoded, routing: Routing): number {
    return this.#limits.admit(1) ? this.log.append(item, routing) : -1;
  }

  /** The offset of the last record. All are encoded before the first is appended: a bad one leaves no half behind. */
  #appendAll(payload: readonly unknown[], routing: Routing): number {
    const items = payload.map(encoded);
    if (!this.#limits.admit(items.length)) return -1;
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
    this.#runtime.flusher.poke(this.#flushed);
  }

  consumer(id: string): LogConsumer {
    return this.log.addConsumer(id);
  }

  #onStorage(trouble: Error | undefined): void {
    if (trouble === this.#storage) return;
    this.#storage = trouble;
    this.#onChange();
  }

  #onDropped(): void {
    this.#flushed.wanted = true; // what they took is given back with the next sync
    this.poke();
    this.#onChange();
  }

  /** Consumers who left their place behind, with the records that wait for each. */
  get orphans(): ReadonlyMap<string, number> {
    const next = this.log.nextOffset;
    return new Map([...this.log.orphans].map(([id, { offset }]) => [id, next - offset]));
  }

  #onConfirmed(): void {
    this.poke();
    if (this.#undelivered.length === 0) return;
    const done = this.#undelivered.filter(({ offset }) => this.log.isDone(offset));
    if (done.length === 0) return;
    this.#undelivered = this.#undelivered.filter(({ offset }) => !this.log.isDone(offset));
    for (const sender of done) sender.done();
  }

  /** Writes and syncs what waits. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#runtime.unlimit(this.#limits);
    try {
      await this.#runtime.flusher.remove(this.#flushed);
      await this.log.close();
    } finally {
      this.#flushed.release();
      for (const { done } of this.#undelivered.splice(0)) done(); // they are in the log, and will be delivered
    }
  }
}

function encoded(payload: unknown): string | Encoded {
  return plainJson(payload) ?? encode(payload);
}
