/**
 * Keeps commands and documents below the server's limits, since a server that gets more just closes the connection.
 */
import type { LogRecord } from "../../record.js";
import { documentBytes } from "./documents.js";
import { judgeThrown } from "./judge.js";
import type { MongoOptions } from "./options.js";
import type { AnswerSheet } from "./reply.js";
import type { Item } from "./write.js";

/** Below the server's 48 MB for one message, with room for what surrounds the documents, and kind to small devices. */
export const MAX_COMMAND_BYTES = 12 * 1024 * 1024;
export const MAX_COMMAND_RECORDS = 10_000;
/** The server's limit for one document (`maxBsonObjectSize`). */
const MAX_DOCUMENT_BYTES = 16 * 1024 * 1024;
/** MongoDB manual, "Time series collection limitations". */
const MAX_TIME_SERIES_DOCUMENT_BYTES = 4 * 1024 * 1024;
/** BSON may be so many times the size of the JSON text (an array of digits: 2 bytes become 13). */
const JSON_GROWTH = 8;
/** What `_id`, added fields and the frame of a statement may come to, and what they usually do. */
const MOST_FRAME_BYTES = 512;
const FRAME_BYTES = 48;

export function estimate(record: LogRecord): { readonly bytes: number; readonly mostBytes: number } {
  const bytes = record.size;
  return { bytes: bytes + FRAME_BYTES, mostBytes: bytes * (record.codec === 0 ? JSON_GROWTH : 1) + MOST_FRAME_BYTES };
}

/** Cuts into commands. Sizes are measured only when the estimate leaves a doubt: measuring costs as much as sending. */
export function* cut(items: readonly Item[], options: MongoOptions, sheet: AnswerSheet): Generator<readonly Item[]> {
  const mostBytes = items.reduce((sum, item) => sum + item.mostBytes, 0);
  if (mostBytes <= MAX_COMMAND_BYTES && options.timeSeries === undefined) return yield items;
  let chunk: Item[] = [];
  let chunkBytes = 0;
  for (const item of sendable(items, options, sheet)) {
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

/** The items that BSON and the server's limit allow, measured; the others are rejected. */
export function sendable(items: readonly Item[], options: MongoOptions, sheet: AnswerSheet): Item[] {
  const most = options.timeSeries === undefined ? MAX_DOCUMENT_BYTES : MAX_TIME_SERIES_DOCUMENT_BYTES;
  return items.flatMap((item) => {
    let bytes: number;
    try {
      bytes = documentBytes(item.document).length;
    } catch (error) {
      sheet.judge(item.index, { ...judgeThrown(error), verdict: "rejected" }, error as Error);
      return [];
    }
    if (bytes <= most) return [{ ...item, bytes }];
    const message = `MongoDB: the document has ${bytes} bytes, ${most} are allowed`;
    sheet.set(item.index, { kind: "rejected", cause: { code: "too-large", message } });
    return [];
  });
}
