/**
 * Inserts into time series, and their creation. `_id` is not unique in them, so a batch whose answer was lost may be
 * stored twice: `insertMany`, whose driver repeats a lost write once under the same number, makes that rarer.
 * @see https://www.mongodb.com/docs/manual/core/timeseries/timeseries-limitations/
 */
import type { BulkWriteOptions, MongoBulkWriteError } from "mongodb";
import { settleInsert } from "./insert.js";
import { classesOf } from "./judge.js";
import type { MongoTimeSeries } from "./options.js";
import type { WriteReply } from "./reply.js";
import { bytesOf, type Call, type Item, notUnderstood, writeConcernOf } from "./write.js";

const NAMESPACE_EXISTS = 48;

export class TimeSeriesWriter {
  readonly #timeSeries: MongoTimeSeries;
  /** Collections known to exist. */
  readonly #known = new Set<string>();

  constructor(timeSeries: MongoTimeSeries) {
    this.#timeSeries = timeSeries;
  }

  /** After a reconnect a collection may be gone. */
  forget(): void {
    this.#known.clear();
  }

  async write(call: Call, items: readonly Item[]): Promise<void> {
    await this.#ensure(call);
    const { lease, database, collection, options, signal } = call;
    const deadline = lease.deadline(signal, bytesOf(items));
    const settings = { ordered: false, signal: deadline.signal, ...writeConcernOf(options) } as BulkWriteOptions;
    const documents = items.map((item) => item.document);
    let reply: WriteReply = { n: items.length, writeErrors: [] };
    try {
      await deadline.limit(lease.client.db(database).collection(collection).insertMany(documents, settings));
    } catch (error) {
      reply = replyIn(error);
    }
    if (reply.n + reply.writeErrors.length !== items.length) throw notUnderstood();
    await settleInsert(call, items, reply);
  }

  async #ensure({ lease, database, collection, signal }: Call): Promise<void> {
    const name = `${database}.${collection}`;
    if (this.#known.has(name)) return;
    // Asked first, since whoever may write need not have the right to create.
    const listing = { listCollections: 1, filter: { name: collection }, nameOnly: true, authorizedCollections: true };
    const { cursor } = (await lease.command(database, listing, signal)) as { cursor?: { firstBatch?: unknown[] } };
    if ((cursor?.firstBatch?.length ?? 0) === 0) {
      const { expireAfterSeconds, ...timeseries } = this.#timeSeries;
      const expiry = expireAfterSeconds === undefined ? {} : { expireAfterSeconds };
      try {
        await lease.command(database, { create: collection, timeseries, ...expiry }, signal);
      } catch (error) {
        // Another client was faster.
        if ((error as { code?: unknown }).code !== NAMESPACE_EXISTS) throw error;
      }
    }
    this.#known.add(name);
  }
}

/** Whatever `insertMany` throws while sending is a MongoBulkWriteError; the real error, if any, is inside. */
function replyIn(error: unknown): WriteReply {
  if (!classesOf(error).includes("MongoBulkWriteError")) throw error;
  const { result } = error as MongoBulkWriteError;
  const inner: unknown = (error as MongoBulkWriteError).errorResponse;
  if (inner instanceof Error) throw inner;
  const concern = result.getWriteConcernError();
  return {
    n: result.insertedCount,
    // Getters, so they are read one by one.
    writeErrors: result.getWriteErrors().map(({ index, code, errmsg, errInfo }) => ({
      index,
      code: Number(code),
      errmsg: errmsg ?? "",
      errInfo,
    })),
    ...(concern !== undefined && { writeConcernError: { code: Number(concern.code), errmsg: concern.errmsg ?? "" } }),
  };
}
