/**
 * Queues whose node is gone: deleted, or pasted anew under another id. They are listed with their size and age, counted
 * in the disk budget, and kept until the user adopts, exports or discards them. Never deleted by themselves.
 */
import { join } from "node:path";
import { extendedJson } from "../codec.js";
import { type Files, isErrno } from "../files.js";
import type { Log } from "../log/log.js";
import { parseSegmentName } from "../log/format/frame.js";
import { type LogRecord, uuidText } from "../record.js";
import { waitingIn } from "./waiting.js";

export interface OrphanQueue {
  /** Id of the node it belonged to. */
  readonly id: string;
  readonly bytes: number;
  /** When the oldest record that still waits was accepted; undefined when none does. */
  readonly oldestAcceptedAtMs: number | undefined;
  readonly records: number;
  /** Why it cannot be read: a newer format, say. It is kept as it is. */
  readonly problem?: string;
}

/** How a queue without its node is opened: as its consumers left it. */
export type OpenOrphan = (id: string) => Promise<Log>;

/** Bytes of the queue files in a folder. */
export async function bytesIn(folder: string, files: Files): Promise<number> {
  let bytes = 0;
  for (const name of await files.list(folder)) {
    if (parseSegmentName(name) === undefined) continue;
    try {
      bytes += (await files.size(join(folder, name))) ?? 0;
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error; // deleted while we looked
    }
  }
  return bytes;
}

/** Looks into a queue that nobody has open. */
export async function inspectOrphan(id: string, folder: string, files: Files, open: OpenOrphan): Promise<OrphanQueue> {
  let log: Log;
  try {
    log = await open(id);
  } catch (error) {
    const problem = (error as Error).message;
    return { id, bytes: await bytesIn(folder, files), oldestAcceptedAtMs: undefined, records: 0, problem };
  }
  try {
    let oldest: number | undefined;
    for await (const { acceptedAtMs } of waitingIn(log)) {
      oldest = acceptedAtMs;
      break;
    }
    const records = oldest === undefined ? 0 : log.backlogRecords;
    return { id, bytes: log.diskBytes, oldestAcceptedAtMs: oldest, records };
  } finally {
    await log.abandon();
  }
}

/** What anyone still waits for, oldest first, as lines of JSON with the payload as canonical MongoDB Extended JSON. */
export async function* exportOrphan(id: string, open: OpenOrphan): AsyncGenerator<string> {
  const log = await open(id);
  try {
    for await (const record of waitingIn(log)) yield `${exportedRecord(record)}\n`;
  } finally {
    await log.abandon();
  }
}

/** A record for people and other programs, as one line of JSON. */
export function exportedRecord(record: LogRecord): string {
  const { acceptedAtMs, routing } = record;
  const head = { id: uuidText(record.id), acceptedAt: new Date(acceptedAtMs).toISOString(), routing };
  return `${JSON.stringify(head).slice(0, -1)},"payload":${extendedJson(record)}}`;
}

/** Records moved together before the old queue lets go of them. */
const MOVED_AT_ONCE = 500;

/**
 * Moves what waits in an orphan to a queue that has a node, with the ids the records have; a crash in the middle repeats
 * some, which targets that hold ids recognise.
 * @param accept resolves when the record is synced in its new queue
 * @returns how many were moved, and whether nothing is left that anybody could want
 */
export async function adoptOrphan(
  id: string,
  open: OpenOrphan,
  accept: (record: LogRecord) => Promise<void>,
): Promise<{ readonly count: number; readonly isEmpty: boolean }> {
  const log = await open(id);
  let count = 0;
  try {
    let moving: Promise<void>[] = [];
    let end = 0;
    const moved = async (): Promise<void> => {
      await Promise.all(moving);
      count += moving.length;
      moving = [];
      log.dropBelow(end);
    };
    for await (const record of waitingIn(log)) {
      const accepted = accept(record);
      accepted.catch(() => undefined); // heard by `moved`: until then a failure is not "unhandled"
      moving.push(accepted);
      end = record.offset + 1;
      if (moving.length >= MOVED_AT_ONCE) await moved();
    }
    await moved();
    // Files of another queue, which somebody has put there, have not been moved.
    return { count, isEmpty: log.found.foreign.length === 0 };
  } finally {
    await log.close();
  }
}
