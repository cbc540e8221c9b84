/**
 * The MongoDB target: one command per batch, repeatable without harm because each document carries its record's id.
 * Errors are judged in `errors.ts`, replies read in `reply.ts`, documents made in `documents.ts`; the client and its
 * deadlines are `connection.ts`.
 *
 * `db.command` rather than `insertMany`: it keeps `keyPattern` in its errors and the class of what it throws. Time
 * series take `insertMany`, since they have no unique `_id` and the driver's own single retry is all their protection.
 */
import type { BulkWriteOptions, Collection, Document, MongoBulkWriteError } from "mongodb";
import { type Clock, systemClock } from "../../clock.js";
import type { LogRecord } from "../../record.js";
import { type Answer, DUPLICATE, type Target, type TargetTraits, TargetUnavailableError } from "../target.js";
import { type Lease, leaseClient } from "./connection.js";
import {
  documentBytes,
  isSameDocument,
  MAX_DOCUMENT_BYTES,
  MAX_TIME_SERIES_DOCUMENT_BYTES,
  prepareChange,
  prepareDocument,
  type Refused,
} from "./documents.js";
import { classesOf, judgeCode, judgeThrown, type Judgement } from "./errors.js";
import { failureOf } from "./failure.js";
import { collectionNameFault, databaseNameFault, type MongoOptions } from "./options.js";
import { AnswerSheet, errorOf, indexOf, readReply, type WriteError, type WriteReply } from "./reply.js";

/** Below the server's 16 MiB for one document and 48 MB for one message, with room for what surrounds the documents. */
const MAX_COMMAND_BYTES = 12 * 1024 * 1024;
const MAX_COMMAND_RECORDS = 10_000;
/** BSON may be so many times the size of the JSON text (an array of digits: 2 bytes become 13). */
const JSON_GROWTH = 8;
/** For `_id`, added fields and the frame of a statement. */
const FRAME_BYTES = 512;
/** So often may a batch end with a broken connection, while the server answers pings, before it is suspected itself. */
const SUSPECT_DEATHS = 2;
/** More batches than are ever in flight at once. */
const MAX_DEATHS = 64;

const WRITE_CONCERNS = {
  // A confirmed record is deleted here, so it must survive there.
  majority: { w: "majority", j: true, wtimeout: 30_000 },
  w1: { w: 1 },
  server: undefined,
} as const;

interface Destination {
  readonly database: string;
  readonly collection: string;
}

interface Item {
  /** In the batch. */
  readonly index: number;
  /** What is sent: a document, or a statement of an update. */
  readonly document: Document;
  readonly hasOurId: boolean;
  readonly added: readonly string[];
  /** Size on the link: about the payload's until it is measured. */
  bytes: number;
  /** No more than this as BSON. */
  readonly mostBytes: number;
}

export class MongoTarget implements Target {
  readonly traits: TargetTraits;
  readonly #options: MongoOptions;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  #lease: Lease | undefined;
  #closed: Promise<void> | undefined;
  readonly #listeners = new Set<() => void>();
  /** Time series known to exist. */
  readonly #created = new Set<string>();
  /** First records of batches that ended with a broken connection, and how often in a row. */
  readonly #deaths = new Map<string, number>();

  constructor(options: MongoOptions, clock: Clock = systemClock) {
    this.#options = options;
    this.#clock = clock;
    this.traits = {
      // A later replace or update must not be overtaken by an earlier one that is sent again.
      ordered: options.mode !== "insert",
      maxBatchRecords: MAX_COMMAND_RECORDS,
      maxBatchBytes: MAX_COMMAND_BYTES,
      resumes: false,
    };
  }

  destinationOf(record: LogRecord): string {
    const { database, collection } = this.#destinationOf(record);
    return `${database}.${collection}`;
  }

  async open(signal: AbortSignal): Promise<void> {
    this.#created.clear();
    if (this.#lease === undefined) {
      const lease = await leaseClient(this.#options.connection, this.#clock);
      if (this.#closed !== undefined) {
        await lease.release();
        throw new TargetUnavailableError("MongoDB: the target has been closed", { code: "closed" });
      }
      lease.onReachable(() => {
        for (const listener of this.#listeners) listener();
      });
      this.#lease = lease;
    }
    await this.probe(signal);
  }

  async probe(signal: AbortSignal): Promise<void> {
    const lease = this.#opened();
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
    const lease = this.#opened();
    const sheet = new AnswerSheet(batch, lease.secrets);
    const items = this.#prepare(batch, sheet);
    if (items.length === 0) return sheet.answer();
    const destination = this.#destinationOf(batch[0]!);
    const call = new AbortController();
    const abort = (): void => call.abort(signal.aborted ? signal.reason : this.#closing.signal.reason);
    if (signal.aborted || this.#closing.signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    this.#closing.signal.addEventListener("abort", abort, { once: true });
    try {
      for (const chunk of this.#chunks(items, sheet)) {
        await this.#send(lease, destination, chunk, batch, sheet, call.signal);
        if (sheet.isFatal) break;
      }
    } finally {
      signal.removeEventListener("abort", abort);
      this.#closing.signal.removeEventListener("abort", abort);
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
    this.#closing.abort(new TargetUnavailableError("MongoDB: the target is being closed", { code: "closed" }));
    this.#listeners.clear();
    await this.#lease?.release();
  }

  #opened(): Lease {
    if (this.#lease === undefined || this.#closed !== undefined) {
      throw new TargetUnavailableError("MongoDB: the target is not open", { code: "closed" });
    }
    return this.#lease;
  }

  #destinationOf(record: LogRecord): Destination {
    return {
      database: record.routing["database"] ?? this.#options.database,
      collection: record.routing["collection"] ?? this.#options.collection,
    };
  }

  #prepare(batch: readonly LogRecord[], sheet: AnswerSheet): Item[] {
    const items: Item[] = [];
    const { database, collection } = this.#destinationOf(batch[0]!);
    const nameFault = databaseNameFault(database) ?? collectionNameFault(collection, database);
    for (const [index, record] of batch.entries()) {
      if (nameFault !== undefined) {
        sheet.set(index, { kind: "rejected", cause: { code: "bad-name", message: `MongoDB: ${nameFault}` } });
        continue;
      }
      const bytes = record.bytes.length + FRAME_BYTES;
      const mostBytes = record.bytes.length * (record.codec === 0 ? JSON_GROWTH : 1) + FRAME_BYTES;
      const prepared = this.#prepareOne(record);
      if (prepared.kind === "rejected") sheet.set(index, prepared);
      else items.push({ index, bytes, mostBytes, ...prepared });
    }
    return items;
  }

  #prepareOne(
    record: LogRecord,
  ): Refused | { kind: "item"; document: Document; hasOurId: boolean; added: readonly string[] } {
    if (this.#options.mode === "insert") {
      const prepared = prepareDocument(record, this.#options);
      return prepared.kind === "rejected" ? prepared : { ...prepared, kind: "item" };
    }
    const prepared = prepareChange(record, this.#options);
    if (prepared.kind === "rejected") return prepared;
    return { kind: "item", document: prepared.statement, hasOurId: false, added: [] };
  }

  /** Cuts by size. Sizes are measured only when the estimate leaves a doubt: measuring costs as much as sending. */
  *#chunks(items: readonly Item[], sheet: AnswerSheet): Generator<Item[]> {
    const estimate = items.reduce((sum, item) => sum + item.mostBytes, 0);
    if (estimate <= MAX_COMMAND_BYTES && this.#options.timeSeries === undefined) return yield [...items];
    let chunk: Item[] = [];
    let chunkBytes = 0;
    for (const item of this.#measured(items, sheet)) {
      if (chunk.length > 0 && chunkBytes + item.bytes > MAX_COMMAND_BYTES) {
        yield chunk;
        chunk = [];
        chunkBytes = 0;
      }
      chunk.push(item);
      chunkBytes += item.bytes;
    }
    if (chunk.length > 0) yield chunk;
  }

  /** The items that BSON and the server's size limit allow; the others are rejected. */
  #measured(items: readonly Item[], sheet: AnswerSheet): Item[] {
    const most = this.#options.timeSeries === undefined ? MAX_DOCUMENT_BYTES : MAX_TIME_SERIES_DOCUMENT_BYTES;
    return items.filter((item) => {
      try {
        item.bytes = documentBytes(item.document).length;
      } catch (error) {
        sheet.judge(item.index, { ...judgeThrown(error), verdict: "rejected" }, error as Error);
        return false;
      }
      if (item.bytes <= most) return true;
      const message = `MongoDB: the document has ${item.bytes} bytes, ${most} are allowed`;
      sheet.set(item.index, { kind: "rejected", cause: { code: "too-large", message, statusCode: 10334 } });
      return false;
    });
  }

  async #send(
    lease: Lease,
    destination: Destination,
    items: Item[],
    batch: readonly LogRecord[],
    sheet: AnswerSheet,
    signal: AbortSignal,
  ): Promise<void> {
    const firstId = batch[items[0]!.index]!.id.toString("hex");
    try {
      await this.#write(lease, destination, items, sheet, signal);
      this.#deaths.delete(firstId);
    } catch (error) {
      if (signal.aborted) return this.#onAbort(items, sheet, signal.reason);
      const judgement = judgeThrown(error);
      if (judgement.verdict === "rejected")
        return this.#withoutCulprits(lease, destination, items, batch, sheet, signal, error);
      if (await this.#isSuspect(lease, error, firstId, signal)) {
        // A server that gets more than it takes, or a value it stumbles over, just closes the connection.
        const verdict = items.length > 1 || batch.length > 1 ? "split" : "retryAlone";
        return judgeAll(items, sheet, { ...judgement, verdict }, error);
      }
      judgeAll(items, sheet, judgement, error);
    }
  }

  /** One bad document fails the whole call before anything is sent: that one is rejected, the rest goes on. */
  async #withoutCulprits(
    lease: Lease,
    destination: Destination,
    items: Item[],
    batch: readonly LogRecord[],
    sheet: AnswerSheet,
    signal: AbortSignal,
    error: unknown,
  ): Promise<void> {
    const good = this.#measured(items, sheet);
    // Nobody is to blame: what was thrown is unknown after all.
    if (good.length === items.length)
      return judgeAll(items, sheet, { ...judgeThrown(error), verdict: "retryAlone" }, error);
    if (good.length > 0) await this.#send(lease, destination, good, batch, sheet, signal);
  }

  #onAbort(items: readonly Item[], sheet: AnswerSheet, reason: unknown): void {
    // The caller's own abort is told as it came; a close leaves the records queued.
    if (!this.#closing.signal.aborted) throw reason;
    for (const { index } of items) sheet.set(index, { kind: "retry", cause: reason as Error });
  }

  /** Whether the same batch has broken the connection again and again although the server is there. */
  async #isSuspect(lease: Lease, error: unknown, firstId: string, signal: AbortSignal): Promise<boolean> {
    const classes = classesOf(error);
    if (!classes.includes("MongoNetworkError")) return false;
    const count = (this.#deaths.get(firstId) ?? 0) + 1;
    this.#deaths.delete(firstId);
    this.#deaths.set(firstId, count);
    const [oldest] = this.#deaths.keys();
    if (this.#deaths.size > MAX_DEATHS && oldest !== undefined) this.#deaths.delete(oldest);
    if (count < SUSPECT_DEATHS) return false;
    try {
      await lease.command("admin", { ping: 1 }, signal);
      return true;
    } catch {
      // The server is not there, so the batch is not to blame; the error at hand tells enough.
      return false;
    }
  }

  #write(
    lease: Lease,
    destination: Destination,
    items: Item[],
    sheet: AnswerSheet,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#options.mode !== "insert") return this.#update(lease, destination, items, sheet, signal);
    if (this.#options.timeSeries !== undefined) return this.#insertMany(lease, destination, items, sheet, signal);
    return this.#insert(lease, destination, items, sheet, signal);
  }

  async #insert(
    lease: Lease,
    { database, collection }: Destination,
    items: readonly Item[],
    sheet: AnswerSheet,
    signal: AbortSignal,
  ): Promise<void> {
    // Unordered: one refused document must not hold back those behind it.
    const command = { insert: collection, documents: items.map((item) => item.document), ordered: false };
    const reply = await this.#command(lease, database, command, items, signal);
    if (reply === undefined || reply.n + reply.writeErrors.length !== items.length) throw notUnderstood();
    await this.#settleInsert(lease, { database, collection }, items, reply, sheet, signal);
  }

  async #settleInsert(
    lease: Lease,
    { database, collection }: Destination,
    items: readonly Item[],
    reply: WriteReply,
    sheet: AnswerSheet,
    signal: AbortSignal,
  ): Promise<void> {
    const failed = new Map(reply.writeErrors.map((error) => [error.index, error]));
    const toLookUp: { item: Item; error: WriteError; isOnId: boolean }[] = [];
    for (const [position, item] of items.entries()) {
      const error = failed.get(position);
      if (error === undefined) {
        sheet.settle(item.index, reply);
        continue;
      }
      const judgement = judgeCode(error.code, "document");
      if (judgement.verdict !== "duplicateKey") {
        sheet.judge(item.index, judgement, errorOf(error));
        continue;
      }
      const index = indexOf(error, `${database}.${collection}`);
      if (index.kind === "other") sheet.judge(item.index, uniqueIndex(judgement, index.name), errorOf(error));
      // With a failed write concern the earlier attempt may be as unconfirmed as this one.
      else if (reply.writeConcernError !== undefined) sheet.settle(item.index, reply);
      else if (index.kind === "id" && (item.hasOurId || this.#options.existingIdIsDelivered))
        sheet.set(item.index, DUPLICATE);
      else toLookUp.push({ item, error, isOnId: index.kind === "id" });
    }
    if (toLookUp.length === 0) return;
    const { client } = lease;
    const stored = await this.#lookUp(client.db(database).collection(collection), toLookUp, lease, signal, sheet);
    if (stored === undefined) return;
    for (const { item, error, isOnId } of toLookUp) {
      const found = stored.get(idKey(item.document));
      const isOurs =
        found !== undefined &&
        (item.hasOurId || this.#options.existingIdIsDelivered || isSameDocument(found, item.document, item.added));
      if (isOurs) sheet.set(item.index, DUPLICATE);
      else if (found === undefined && isOnId) {
        // Deleted since, or stored under an equal number of another type.
        sheet.judge(item.index, { ...judgeCode(error.code, "document"), verdict: "retryAlone" }, errorOf(error));
      } else {
        const name = found === undefined ? "on another field" : "_id_";
        sheet.judge(item.index, uniqueIndex(judgeCode(error.code, "document"), name), errorOf(error));
      }
    }
  }

  /** What is stored under the ids in doubt; undefined when it could not be read, and the records wait. */
  async #lookUp(
    collection: Collection,
    doubtful: readonly { item: Item; error: WriteError }[],
    lease: Lease,
    signal: AbortSignal,
    sheet: AnswerSheet,
  ): Promise<Map<string, Document> | undefined> {
    const ids = doubtful.map(({ item }) => item.document["_id"] as unknown);
    const onlyIds = doubtful.every(({ item }) => item.hasOurId || this.#options.existingIdIsDelivered);
    const deadline = lease.deadline(signal);
    try {
      const cursor = collection.find(
        { _id: { $in: ids } } as Document,
        // Every value in the type it is stored with, so that the comparison is exact.
        { signal: deadline.signal, promoteValues: false, bsonRegExp: true, ...(onlyIds && { projection: { _id: 1 } }) },
      );
      const found = await deadline.limit(cursor.toArray());
      return new Map(found.map((document) => [idKey(document), document]));
    } catch (error) {
      if (signal.aborted) throw error;
      const judgement = judgeThrown(error);
      for (const { item } of doubtful) sheet.judge(item.index, judgement, error as Error);
      return undefined;
    }
  }

  /** Replace and update: in order, so the first error ends the command; what can be settled is, and the rest follows. */
  async #update(
    lease: Lease,
    { database, collection }: Destination,
    items: readonly Item[],
    sheet: AnswerSheet,
    signal: AbortSignal,
  ): Promise<void> {
    let rest = items;
    let triedTwice: Item | undefined;
    while (rest.length > 0) {
      const command = { update: collection, updates: rest.map((item) => item.document), ordered: true };
      const reply = await this.#command(lease, database, command, rest, signal);
      const [error] = reply?.writeErrors ?? [];
      const done = error?.index ?? rest.length;
      if (reply === undefined || reply.n !== done || done > rest.length) throw notUnderstood();
      for (const item of rest.slice(0, done)) sheet.settle(item.index, reply);
      const culprit = rest[done];
      if (error === undefined || culprit === undefined) return;
      const judgement = judgeCode(error.code, "document");
      if (judgement.verdict === "duplicateKey" && culprit !== triedTwice) {
        // Two upserts of one key at once: the other one has won, so this one now finds its document.
        triedTwice = culprit;
        rest = rest.slice(done);
        continue;
      }
      const index = indexOf(error, `${database}.${collection}`);
      const name = index.kind === "other" ? index.name : "_id";
      sheet.judge(
        culprit.index,
        judgement.verdict === "duplicateKey" ? uniqueIndex(judgement, name) : judgement,
        errorOf(error),
      );
      // Behind a record that comes again nothing may be applied, or an older state would overwrite a newer one.
      if (sheet.outcomeOf(culprit.index)?.kind === "retry") return;
      rest = rest.slice(done + 1);
    }
  }

  async #insertMany(
    lease: Lease,
    destination: Destination,
    items: readonly Item[],
    sheet: AnswerSheet,
    signal: AbortSignal,
  ): Promise<void> {
    const { database, collection } = destination;
    await this.#createTimeSeries(lease, destination, signal);
    const deadline = lease.deadline(signal, bytesOf(items));
    const writeConcern = WRITE_CONCERNS[this.#options.writeConcern];
    const options = {
      ordered: false,
      signal: deadline.signal,
      ...(writeConcern !== undefined && { writeConcern }),
    } as BulkWriteOptions;
    const documents = items.map((item) => item.document);
    let reply: WriteReply = { n: items.length, writeErrors: [] };
    try {
      await deadline.limit(lease.client.db(database).collection(collection).insertMany(documents, options));
    } catch (error) {
      reply = bulkReply(error);
    }
    if (reply.n + reply.writeErrors.length !== items.length) throw notUnderstood();
    await this.#settleInsert(lease, destination, items, reply, sheet, signal);
  }

  async #createTimeSeries(lease: Lease, { database, collection }: Destination, signal: AbortSignal): Promise<void> {
    const name = `${database}.${collection}`;
    const { timeSeries } = this.#options;
    if (timeSeries === undefined || this.#created.has(name)) return;
    // Asked first, since whoever may write need not have the right to create.
    const listing = { listCollections: 1, filter: { name: collection }, nameOnly: true, authorizedCollections: true };
    const { cursor } = (await lease.command(database, listing, signal)) as { cursor?: { firstBatch?: unknown[] } };
    if ((cursor?.firstBatch?.length ?? 0) === 0) {
      const { expireAfterSeconds, ...timeseries } = timeSeries;
      const create = {
        create: collection,
        timeseries,
        ...(expireAfterSeconds !== undefined && { expireAfterSeconds }),
      };
      try {
        await lease.command(database, create, signal);
      } catch (error) {
        // NamespaceExists: another client was faster.
        if ((error as { code?: unknown }).code !== 48) throw error;
      }
    }
    this.#created.add(name);
  }

  async #command(
    lease: Lease,
    database: string,
    command: Document,
    items: readonly Item[],
    signal: AbortSignal,
  ): Promise<WriteReply | undefined> {
    const writeConcern = WRITE_CONCERNS[this.#options.writeConcern];
    const whole = writeConcern === undefined ? command : { ...command, writeConcern };
    try {
      return readReply(await lease.command(database, whole, signal, bytesOf(items)));
    } catch (error) {
      const { result } = error as { result?: { ok?: unknown } };
      // The reply with all its parts; only when the command itself went through.
      if (classesOf(error).includes("MongoWriteConcernError") && result?.ok === 1) return readReply(result);
      throw error;
    }
  }
}

/** Whatever `insertMany` throws is a MongoBulkWriteError; the real error is inside. */
function bulkReply(error: unknown): WriteReply {
  if (!classesOf(error).includes("MongoBulkWriteError")) throw error;
  const { result, errorResponse } = error as MongoBulkWriteError;
  if ((errorResponse as unknown) instanceof Error) throw errorResponse;
  const concern = result.getWriteConcernError();
  return {
    n: result.insertedCount,
    // Their fields are getters: copied one by one.
    writeErrors: result.getWriteErrors().map(({ index, code, errmsg, errInfo }) => ({
      index,
      code: Number(code),
      errmsg: errmsg ?? "",
      errInfo,
    })),
    ...(concern !== undefined && { writeConcernError: { code: concern.code ?? 64, errmsg: concern.errmsg ?? "" } }),
  };
}

function judgeAll(items: readonly Item[], sheet: AnswerSheet, judgement: Judgement, error: unknown): void {
  const shown = error instanceof Error ? error : new Error(String(error));
  for (const { index } of items) sheet.judge(index, judgement, shown);
}

function uniqueIndex(judgement: Judgement, name: string): Judgement {
  return { ...judgement, what: `the unique index ${name} has this value already, in another document` };
}

function notUnderstood(): TargetUnavailableError {
  return new TargetUnavailableError("MongoDB: the answer does not fit the batch that was sent", { code: "bad-reply" });
}

function bytesOf(items: readonly Item[]): number {
  return items.reduce((sum, item) => sum + item.bytes, 0);
}

function idKey(document: Document): string {
  return documentBytes({ _id: document["_id"] as unknown }).toString("latin1");
}
