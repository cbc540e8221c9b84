/**
 * The MongoDB target: one command per batch, repeatable without harm because each document carries its record's id.
 * Documents are made in `documents.ts`, written by `insert.ts`, `update.ts` or `time-series.ts`, errors judged in
 * `judge.ts`; the client and its deadlines are `connection.ts`.
 *
 * `db.command` rather than `insertMany`: it keeps `keyPattern` in its errors and the class of what it throws.
 */
import { type Clock, systemClock } from "../../clock.js";
import type { LogRecord } from "../../record.js";
import { DestinationLimit } from "../destination-limit.js";
import { DROPPED_EACH_TIME, Suspects } from "../suspects.js";
import { type Answer, type Target, type TargetTraits, TargetUnavailableError } from "../target.js";
import { type Lease, leaseClient } from "./connection.js";
import { prepareChange, prepareDocument } from "./documents.js";
import { failureOf } from "./failure.js";
import { insert } from "./insert.js";
import { isDroppedConnection, judgeThrown } from "./judge.js";
import { collectionNameFault, databaseNameFault, type MongoOptions } from "./options.js";
import { AnswerSheet } from "./reply.js";
import { cut, estimate, MAX_COMMAND_BYTES, MAX_COMMAND_RECORDS, sendable } from "./size.js";
import { TimeSeriesWriter } from "./time-series.js";
import { update } from "./update.js";
import { type Call, type Item, judgeAll, notUnderstood } from "./write.js";

export class MongoTarget implements Target {
  readonly traits: TargetTraits;
  readonly #options: MongoOptions;
  readonly #clock: Clock;
  readonly #timeSeries: TimeSeriesWriter | undefined;
  readonly #limit: DestinationLimit;
  readonly #closing = new AbortController();
  readonly #listeners = new Set<() => void>();
  readonly #suspects = new Suspects();
  #lease: Lease | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: MongoOptions, clock: Clock = systemClock) {
    this.#options = options;
    this.#clock = clock;
    this.#limit = new DestinationLimit(options.maxDestinations);
    this.#timeSeries = options.timeSeries && new TimeSeriesWriter(options.timeSeries);
    this.traits = {
      // A later replace or update must not be overtaken by an earlier one that is sent again.
      ordered: options.mode !== "insert",
      maxBatchRecords: MAX_COMMAND_RECORDS,
      maxBatchBytes: MAX_COMMAND_BYTES,
      resumes: false,
    };
  }

  /** `database.collection`. */
  destinationOf(record: LogRecord): string {
    const { database, collection } = this.#placeOf(record);
    return `${database}.${collection}`;
  }

  async open(signal: AbortSignal): Promise<void> {
    this.#timeSeries?.forget();
    if (this.#lease === undefined) {
      const lease = await leaseClient(this.#options.connection, this.#clock);
      if (this.#closed !== undefined) {
        await lease.release();
        throw closedError();
      }
      lease.onReachable(() => {
        for (const listener of this.#listeners) listener();
      });
      this.#lease = lease;
    }
    await this.probe(signal);
  }

  async probe(signal: AbortSignal): Promise<void> {
    const lease = this.#openLease();
    await lease.connect(signal);
    try {
      // Needs no privilege; a new connection logs in first, so it proves the credentials too.
      await lease.command("admin", { ping: 1 }, signal);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw failureOf(error, lease.secrets);
    }
  }

  async deliver(batch: readonly LogRecord[], signal: AbortSignal): Promise<Answer> {
    const lease = this.#openLease();
    const first = batch[0]!;
    if (isNamed(first) && !this.#limit.admits(this.destinationOf(first))) {
      return this.#limit.holding(batch, this.destinationOf(first));
    }
    const sheet = new AnswerSheet(batch, lease.secrets);
    const items = this.#prepare(batch, sheet);
    const abort = new AbortController();
    const onAbort = (): void => abort.abort(signal.aborted ? signal.reason : this.#closing.signal.reason);
    const signals = [signal, this.#closing.signal];
    if (signals.some((either) => either.aborted)) onAbort();
    for (const either of signals) either.addEventListener("abort", onAbort, { once: true });
    const call = { lease, options: this.#options, ...this.#placeOf(first), sheet, signal: abort.signal };
    try {
      for (const chunk of cut(items, this.#options, sheet)) {
        await this.#send(call, chunk, batch);
        if (sheet.isFatal) break;
      }
    } finally {
      for (const either of signals) either.removeEventListener("abort", onAbort);
    }
    return sheet.answer();
  }

  /** Calls back when the driver sees the server come (back), long before a probe would; returns the way to stop that. */
  onReachable(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#closing.abort(closedError());
    this.#listeners.clear();
    await this.#lease?.release();
  }

  #openLease(): Lease {
    if (this.#lease === undefined || this.#closed !== undefined) throw closedError();
    return this.#lease;
  }

  #placeOf({ routing }: LogRecord): { database: string; collection: string } {
    return {
      database: routing["database"] ?? this.#options.database,
      collection: routing["collection"] ?? this.#options.collection,
    };
  }

  #prepare(batch: readonly LogRecord[], sheet: AnswerSheet): Item[] {
    const { database, collection } = this.#placeOf(batch[0]!);
    const nameFault = databaseNameFault(database) ?? collectionNameFault(collection, database);
    const prepare = this.#options.mode === "insert" ? prepareDocument : prepareChange;
    const items: Item[] = [];
    for (const [index, record] of batch.entries()) {
      if (nameFault !== undefined) {
        sheet.set(index, { kind: "rejected", cause: { code: "bad-name", message: `MongoDB: ${nameFault}` } });
        continue;
      }
      const prepared = prepare(record, this.#options);
      if (prepared.kind === "rejected") {
        sheet.set(index, prepared);
        continue;
      }
      const { document, hasOurId, added } = prepared;
      items.push({ index, document, hasOurId, added, ...estimate(record) });
    }
    return items;
  }

  async #send(call: Call, items: readonly Item[], batch: readonly LogRecord[]): Promise<void> {
    const { sheet, signal } = call;
    if (items.length === 0) return;
    const firstSent = batch[items[0]!.index]!;
    try {
      await this.#write(call, items);
      this.#suspects.forget(firstSent);
    } catch (error) {
      if (signal.aborted) return this.#onAbort(call, items);
      const judgement = judgeThrown(error);
      if (judgement.verdict === "rejected") {
        // One bad document fails the whole call before anything is sent: that one is rejected, the rest goes on.
        const good = sendable(items, this.#options, sheet);
        if (good.length < items.length) return this.#send(call, good, batch);
        return judgeAll(items, sheet, { ...judgement, verdict: "retryAlone" }, error);
      }
      const wasDropped = isDroppedConnection(error);
      if (wasDropped || isNotUnderstood(error)) {
        // A server that gets more than it takes, or a value it stumbles over, just closes the connection; servers that
        // are not MongoDB itself answer some mistakes as it never would.
        const ping = (): Promise<unknown> => call.lease.command("admin", { ping: 1 }, signal);
        if (await this.#suspects.isToBlame(firstSent, ping)) {
          const verdict = batch.length > 1 ? "split" : "retryAlone";
          return judgeAll(items, sheet, { ...judgement, ...(wasDropped ? DROPPED_EACH_TIME : {}), verdict }, error);
        }
      }
      judgeAll(items, sheet, judgement, error);
    }
  }

  #write(call: Call, items: readonly Item[]): Promise<void> {
    if (this.#options.mode !== "insert") return update(call, items);
    return this.#timeSeries === undefined ? insert(call, items) : this.#timeSeries.write(call, items);
  }

  #onAbort({ sheet, signal }: Call, items: readonly Item[]): void {
    // The caller's own abort is told as it came; a close leaves the records queued.
    if (!this.#closing.signal.aborted) throw signal.reason;
    for (const { index } of items) sheet.set(index, { kind: "retry", cause: signal.reason as Error });
  }
}

/** Whether the record itself says where it goes. */
function isNamed({ routing }: LogRecord): boolean {
  return routing["database"] !== undefined || routing["collection"] !== undefined;
}

function isNotUnderstood(error: unknown): boolean {
  return error instanceof TargetUnavailableError && error.code === notUnderstood().code;
}

function closedError(): TargetUnavailableError {
  return new TargetUnavailableError("MongoDB: the target is not open", { code: "closed" });
}
