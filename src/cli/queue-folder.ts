/**
 * A runtime's folder looked at from outside, without taking it: which queues it has, and each of them opened as the next
 * life would see it. Nothing here writes.
 */
import { randomBytes } from "node:crypto";
import { basename, join, resolve } from "node:path";
import { systemClock } from "../clock.js";
import { isErrno, systemFiles } from "../files.js";
import { deflateCompression } from "../log/format/compression.js";
import { isFolderInUse } from "../log/lock.js";
import { parseSegmentName } from "../log/format/frame.js";
import { Log } from "../log/log.js";
import type { Loss } from "../log/segments/recovery.js";
import { DEAD, idOf, logIdOf, LOGS, QUARANTINE, readIdentity } from "../runtime/folder.js";

/** What the user gave cannot be worked with: nothing was done. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** One queue: what waits for targets, or what these have rejected. */
export interface QueuePlace {
  readonly kind: typeof LOGS | typeof DEAD;
  /** Of the node or program it belongs to; of dead letters in a pool: of the pool, "/" and the member. */
  readonly id: string;
  readonly folder: string;
}

/** Only matters to a log that writes. */
const SEGMENT_BYTES = 1024 * 1024;
/** How often a queue is opened anew because a file was deleted while it was read: the records in it had been delivered. */
const ATTEMPTS = 5;

export class QueueFolder {
  readonly path: string;
  readonly #identity: Buffer | undefined;
  /** A running process has it: what that holds in memory is not seen, and what is seen may be out of date. */
  readonly isInUse: boolean;

  private constructor(path: string, identity: Buffer | undefined, isInUse: boolean) {
    this.path = path;
    this.#identity = identity;
    this.isInUse = isInUse;
  }

  /** @throws {UsageError} when it is no queue folder */
  static async open(given: string): Promise<QueueFolder> {
    const path = resolve(given);
    await mustBeFolder(path);
    if (!(await isQueueFolder(path))) throw new UsageError(await notAQueueFolder(path));
    return new QueueFolder(path, await readIdentity(path, systemFiles), await isFolderInUse(path));
  }

  places(): Promise<QueuePlace[]> {
    return placesIn(this.path);
  }

  /** Copies of what could not be read, and their bytes. */
  async quarantined(): Promise<{ readonly files: number; readonly bytes: number }> {
    let files = 0;
    let bytes = 0;
    const parent = join(this.path, QUARANTINE);
    for (const queue of await systemFiles.list(parent)) {
      for (const name of await systemFiles.list(join(parent, queue))) {
        files++;
        bytes += (await systemFiles.size(join(parent, queue, name))) ?? 0;
      }
    }
    return { files, bytes };
  }

  /**
   * Opens a queue, has it looked at, and lets go of it; once more when its process has deleted a file meanwhile.
   * @param onLoss told of damage to what somebody waits for, as far as that is read
   * @throws {NewerFormatError} and errors of the disk
   */
  async look<T>(place: QueuePlace, look: (log: Log) => Promise<T>, onLoss: (loss: Loss) => void = ignore): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        const log = await this.#open(place, onLoss);
        try {
          return await look(log);
        } finally {
          await log.abandon();
        }
      } catch (error) {
        if (!this.isInUse || !isErrno(error, "ENOENT") || attempt === ATTEMPTS) throw error;
      }
    }
  }

  #open({ kind, id, folder }: QueuePlace, onLoss: (loss: Loss) => void): Promise<Log> {
    // Without the folder's identity a log has the one that its own files agree on.
    const logId = logIdOf(this.#identity ?? Buffer.alloc(0), kind, id);
    return Log.open({
      folder,
      logId,
      files: systemFiles,
      clock: systemClock,
      random: randomBytes,
      compression: deflateCompression,
      consumers: [],
      segmentBytes: SEGMENT_BYTES,
      persistent: true,
      onLoss: async (loss) => onLoss(loss),
    });
  }
}

/** How people name it: `logs/<id>`. */
export function nameOf({ kind, id }: QueuePlace): string {
  return `${kind}/${id}`;
}

function ignore(): void {
  // Whoever only counts or exports gets what is intact; `check` is the one that reports damage.
}

async function placesIn(path: string): Promise<QueuePlace[]> {
  const places: QueuePlace[] = [];
  for (const kind of [LOGS, DEAD] as const) {
    const parent = join(path, kind);
    for (const name of (await namesIn(parent)).sort()) {
      const folder = join(parent, name);
      if ((await namesIn(folder)).some(isSegment)) places.push({ kind, id: idOf(name), folder });
    }
  }
  return places;
}

function isSegment(name: string): boolean {
  return parseSegmentName(name) !== undefined;
}

/** None of a file, or of what is not there. */
async function namesIn(path: string): Promise<string[]> {
  try {
    return await systemFiles.list(path);
  } catch (error) {
    if (isErrno(error, "ENOTDIR")) return [];
    throw error;
  }
}

async function mustBeFolder(path: string): Promise<void> {
  try {
    // An empty list may also mean that there is no such folder.
    if ((await systemFiles.list(path)).length === 0) await systemFiles.size(path);
  } catch (error) {
    if (isErrno(error, "ENOENT")) throw new UsageError(`There is no folder ${path}.`);
    if (isErrno(error, "ENOTDIR")) throw new UsageError(`${path} is not a folder.`);
    throw error;
  }
}

/** Without the file of its identity it still is one: that may have been left behind when it was copied. */
async function isQueueFolder(path: string): Promise<boolean> {
  return (await readIdentity(path, systemFiles)) !== undefined || (await placesIn(path)).length > 0;
}

/** Suggested at most: a folder of temporary files may hold many. */
const MOST_SUGGESTED = 3;

/** A Node-RED user directory, and the folder of all its runtimes, hold queue folders: say where. */
async function notAQueueFolder(path: string): Promise<string> {
  const parent = basename(path) === RUNTIMES ? path : join(path, RUNTIMES);
  const below: string[] = [];
  for (const name of await namesIn(parent)) {
    const folder = join(parent, name);
    if (below.length === MOST_SUGGESTED) break;
    if ((await namesIn(folder)).length > 0 && (await isQueueFolder(folder))) below.push(folder);
  }
  const hint = below.length > 0 ? ` Perhaps you mean ${below.join(" or ")}.` : "";
  return `${path} is no queue folder: it has neither ${LOGS}/ nor ${DEAD}/ with queues in it.${hint}`;
}

/** Where a Node-RED keeps the folders of its runtimes, unless told otherwise. */
const RUNTIMES = "resilient-exporters";
