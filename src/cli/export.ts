/** `export`: what waits in a folder, or what was rejected, as lines of JSON. The folder stays as it is. */
import { KEEPER, exportedLetter, readLetter } from "../delivery/dead-letters.js";
import type { Log } from "../log/log.js";
import type { LogRecord } from "../record.js";
import { DEAD, LOGS } from "../runtime/folder.js";
import { viewOf } from "../runtime/member-routing.js";
import { exportedRecord } from "../runtime/orphans.js";
import { waitersIn, waitingIn } from "../runtime/waiting.js";
import { type QueueFolder, type QueuePlace, UsageError, nameOf } from "./queue-folder.js";
import { type Output, count } from "./text.js";

export interface ExportOptions {
  /** Id of one queue. Default: all. */
  readonly log: string | undefined;
  /** What this member of a pool still waits for. Default: what anyone waits for. */
  readonly consumer: string | undefined;
  /** The rejected records instead. */
  readonly dead: boolean;
}

/** Resolves to the exit code: 1 when something could not be read. */
export async function exportRecords(folder: QueueFolder, options: ExportOptions, output: Output): Promise<number> {
  const kind = options.dead ? DEAD : LOGS;
  const places = (await folder.places()).filter((place) => place.kind === kind && isWanted(place, options.log));
  if (places.length === 0 && options.log !== undefined) {
    throw new UsageError(`There is no ${kind}/${options.log} in ${folder.path}.`);
  }
  const total = { records: 0, unreadable: 0, failed: 0 };
  let isKnown = options.consumer === undefined;
  for (const place of places) {
    try {
      // A queue that is opened anew goes on behind what it has given.
      let next = 0;
      await folder.look(place, async (log) => {
        if (options.consumer !== undefined && !waitersIn(log).includes(options.consumer)) return;
        isKnown = true;
        for await (const record of recordsOf(log, place, options.consumer)) {
          if (record.offset < next) continue;
          const line = lineOf(place, record);
          if (line === undefined) total.unreadable++;
          else await output.line(line);
          total.records += line === undefined ? 0 : 1;
          next = record.offset + 1;
        }
      });
    } catch (error) {
      if ((error as { code?: unknown }).code === "EPIPE") throw error;
      total.failed++;
      output.note(`${nameOf(place)} cannot be read: ${(error as Error).message}`);
    }
  }
  if (!isKnown && total.failed === 0) throw new UsageError(`Nobody named ${options.consumer} waits there.`);
  if (total.unreadable > 0) output.note(`${count(total.unreadable, "record")} could not be decoded, and left out`);
  output.note(`${count(total.records, "record")} exported`);
  return total.failed + total.unreadable > 0 ? 1 : 0;
}

/** The dead letters of a pool's members belong to it. */
function isWanted({ kind, id }: QueuePlace, log: string | undefined): boolean {
  return log === undefined || id === log || (kind === DEAD && id.startsWith(`${log}/`));
}

function recordsOf(log: Log, place: QueuePlace, consumer: string | undefined): AsyncIterable<LogRecord> {
  if (place.kind === DEAD) return log.addConsumer(KEEPER).unconfirmed();
  if (consumer === undefined) return waitingIn(log);
  const opened = log.addConsumer(consumer);
  opened.view = viewOf(consumer);
  return opened.unconfirmed();
}

function lineOf(place: QueuePlace, record: LogRecord): string | undefined {
  try {
    if (place.kind === LOGS) return withLog(place, exportedRecord(record));
    const letter = readLetter(record);
    return letter === undefined ? undefined : withLog(place, exportedLetter(letter));
  } catch {
    // The checksum was right and the payload is not: written by a version with a mistake. The others are readable.
    return undefined;
  }
}

function withLog({ id }: QueuePlace, line: string): string {
  return `{"log":${JSON.stringify(id)},${line.slice(1)}`;
}
