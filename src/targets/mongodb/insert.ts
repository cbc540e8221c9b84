/**
 * Inserts, and the one question they raise: whether a document that is "already there" is ours from an earlier attempt.
 */
import type { Document } from "mongodb";
import { DUPLICATE } from "../target.js";
import { documentBytes, isSameDocument } from "./documents.js";
import { judgeCode, judgeThrown } from "./judge.js";
import { errorOf, indexOf, type WriteError, type WriteReply } from "./reply.js";
import { type Call, type Item, judgeAll, notUnderstood, sendWrites, uniqueIndex } from "./write.js";

interface Doubt {
  readonly item: Item;
  readonly error: WriteError;
  /** The server says that it is the index on `_id`; else it says nothing. */
  readonly isOnId: boolean;
}

export async function insert(call: Call, items: readonly Item[]): Promise<void> {
  // Unordered: one refused document must not hold back those behind it.
  const command = { insert: call.collection, documents: items.map((item) => item.document), ordered: false };
  const reply = await sendWrites(call, command, items);
  if (reply === undefined || reply.n + reply.writeErrors.length !== items.length) throw notUnderstood();
  await settleInsert(call, items, reply);
}

/** Gives each record its outcome by the server's reply. */
export async function settleInsert(call: Call, items: readonly Item[], reply: WriteReply): Promise<void> {
  const { sheet, options, database, collection } = call;
  const failed = new Map(reply.writeErrors.map((error) => [error.index, error]));
  const doubts: Doubt[] = [];
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
    else if (index.kind === "id" && (item.hasOurId || options.existingIdIsDelivered)) sheet.set(item.index, DUPLICATE);
    else doubts.push({ item, error, isOnId: index.kind === "id" });
  }
  if (doubts.length > 0) await settleDoubts(call, doubts);
}

/** Looks the ids up: with our id, or with the very same content, the document there is what an earlier attempt left. */
async function settleDoubts(call: Call, doubts: readonly Doubt[]): Promise<void> {
  const { sheet, options } = call;
  const stored = await lookUp(call, doubts);
  if (stored === undefined) return;
  for (const { item, error, isOnId } of doubts) {
    const judgement = judgeCode(error.code, "document");
    const found = stored.get(idKey(item.document));
    if (found !== undefined) {
      const isOurs = item.hasOurId || options.existingIdIsDelivered || isSameDocument(found, item.document, item.added);
      if (isOurs) sheet.set(item.index, DUPLICATE);
      else sheet.judge(item.index, uniqueIndex(judgement, "_id_"), errorOf(error));
    } else if (isOnId) {
      // Deleted since, or stored under an equal number of another type.
      sheet.judge(item.index, { ...judgement, verdict: "retryAlone" }, errorOf(error));
    } else sheet.judge(item.index, uniqueIndex(judgement, "on another field"), errorOf(error));
  }
}

/** What is stored under the ids in doubt; undefined when it could not be read, and the records wait. */
async function lookUp(call: Call, doubts: readonly Doubt[]): Promise<Map<string, Document> | undefined> {
  const { lease, database, collection, signal, options } = call;
  const ids = doubts.map(({ item }) => item.document["_id"] as unknown);
  const onlyIds = doubts.every(({ item }) => item.hasOurId || options.existingIdIsDelivered);
  const deadline = lease.deadline(signal);
  try {
    const cursor = lease.client
      .db(database)
      .collection(collection)
      .find(
        { _id: { $in: ids } } as Document,
        // Every value in the type it is stored with, so that the comparison is exact.
        { signal: deadline.signal, promoteValues: false, bsonRegExp: true, ...(onlyIds && { projection: { _id: 1 } }) },
      );
    const found = await deadline.limit(cursor.toArray());
    return new Map(found.map((document) => [idKey(document), document]));
  } catch (error) {
    if (signal.aborted) throw error;
    judgeAll(
      doubts.map(({ item }) => item),
      call.sheet,
      judgeThrown(error),
      error,
    );
    return undefined;
  }
}

function idKey(document: Document): string {
  return documentBytes({ _id: document["_id"] as unknown }).toString("latin1");
}
