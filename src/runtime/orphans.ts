/**
 * Queues whose node is gone: deleted, or pasted anew under another id. They are listed with their size and age, counted
 * in the disk budget, and kept until the user adopts, exports or discards them. Never deleted by themselves.
 */
import { join } from "node:path";
import { extendedJson } from "../codec.js";
import { type Files, isErrno } from "../files.js";
import type { Log } from "../log/log.js";
import { parseSegmentName } from "../log/frame.js";
import { type LogRecord, uuidText } from "../record.js";

export interface OrphanQueue {
  /** Id of the node it belonged to. */
  readonly id: string;
  readonly bytes: number;
  /** When the oldest record that still waits was accepted; undefined when none does. */
  readonly oldestAcceptedAtMs: number | undefined;
  readonly records: number;
}

/** How a queue without its node is opened: as its consumers left it. */
export type OpenOrphan = (id: string) => Promise<Log>;

/** Bytes of the queue files in a folder. */
export async function bytesIn(folder: string, files: Files): Promise<number> {
  let bytes = 0;
  for (const name of await files.list(folder)) {
    if (parseSegmentName(name) === undefined) continue;
    try {
      bytes += await files.size(join(folder, name));
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error; // deleted while we looked
    }
  }
  return bytes;
}

/** Looks into a queue that nobody has open. */
export async function inspectOrphan(id: string, open: OpenOrphan): Promise<OrphanQueue> {
  const log = await open(id);
  try {
    let oldest: number | undefined;
    for await (const { acceptedAtMs } of waitingIn(log)) {
      oldest = acceptedAtMs;
      break;
    }
    return { id, bytes: log.diskBytes, oldestAcceptedAtMs: oldest, records: log.backlogRecords };
  } finally {
    await log.abandon();
  }
}

/** What anyone still waits for, oldest first, as lines of JSON with the payload as canonical MongoDB Extended JSON. */
export async function* exportOrphan(id: string, open: OpenOrphan): AsyncGenerator<string> {
  const log = await open(id);
  try {
    for await (const record of waitingIn(log)) {
      const { acceptedAtMs, routing } = record;
      const head = { id: uuidText(record.id), acceptedAt: new Date(acceptedAtMs).toISOString(), routing };
      yield `${JSON.stringify(head).slice(0, -1)},"payload":${extendedJson(record)}}\n`;
    }
  } finally {
    await log.abandon();
  }
}

/** Records moved together before the old queue lets go of them. */
const MOVED_AT_ONCE = 500;

/**
 * Moves what waits in an orphan to a queue that has a node, with the ids the records have; a crash in the middle repeats
 * some, which targets that hold ids recognise.
 * @param accept resolves when the record is synced in its new queue
 */
export async function adoptOrphan(
  id: string,
  open: OpenOrphan,
  accept: (record: LogRecord) => Promise<void>,
): Promise<number> {
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
      moving.push(accept(record));
      end = record.offset + 1;
      if (moving.length >= MOVED_AT_ONCE) await moved();
    }
    await moved();
    return count;
  } finally {
    await log.close();
  }
}

/** Everything that at least one consumer has not confirmed. */
async function* waitingIn(log: Log): AsyncGenerator<LogRecord> {
  // Read through the eyes of the one who is furthest behind: in a pool the others have less.
  let furthest: { id: string; offset: number } | undefined;
  for (const [id, { offset }] of log.orphans) {
    if (furthest === undefined || offset < furthest.offset) furthest = { id, offset };
  }
  if (furthest !== undefined) yield* log.addConsumer(furthest.id).unconfirmed();
}
