/** `inspect`: what waits in a folder, for whom and since when, and what was rejected. */
import { KEEPER, readLetter } from "../delivery/dead-letters.js";
import { systemFiles } from "../files.js";
import type { Log } from "../log/log.js";
import { DEAD } from "../runtime/folder.js";
import { bytesIn } from "../runtime/orphans.js";
import { hasLostPlaces, waitersIn, waitingIn } from "../runtime/waiting.js";
import { type QueueFolder, type QueuePlace, nameOf } from "./queue-folder.js";
import { type Output, ageText, bytesText, count, timeText } from "./text.js";

interface Waiting {
  /** Who waits: the exporter itself, or a member of a pool. */
  readonly consumer: string;
  readonly records: number;
  /** Of the payloads. */
  readonly bytes: number;
  readonly oldestAcceptedAt: string | undefined;
}

interface QueueReport {
  readonly queue: string;
  readonly files: number;
  /** On disk. */
  readonly bytes: number;
  readonly waiting: readonly Waiting[];
  /** Of dead letters: how many of each code. */
  readonly rejected?: Readonly<Record<string, number>>;
  /** Files of another queue, or copies, which somebody has put there. */
  readonly foreign?: readonly string[];
  /** Why it cannot be read. */
  readonly problem?: string;
}

/** Resolves to the exit code: 1 when a queue cannot be read. */
export async function inspect(folder: QueueFolder, output: Output, asJson: boolean): Promise<number> {
  const queues: QueueReport[] = [];
  for (const place of await folder.places()) queues.push(await reportOn(folder, place));
  const quarantine = await folder.quarantined();
  if (asJson) {
    const { path, isInUse } = folder;
    await output.line(JSON.stringify({ folder: path, isInUse, queues, quarantine }, undefined, 2));
  } else {
    const lines = [folder.path, ...queues.flatMap(linesOf)];
    if (queues.length === 0) lines.push("nothing waits");
    const { files, bytes } = quarantine;
    if (files > 0) lines.push("", `quarantine: ${count(files, "copy", "copies")}, ${bytesText(bytes)}`);
    for (const line of lines) await output.line(line);
  }
  return queues.some(({ problem }) => problem !== undefined) ? 1 : 0;
}

async function reportOn(folder: QueueFolder, place: QueuePlace): Promise<QueueReport> {
  const queue = nameOf(place);
  try {
    return await folder.look(place, async (log) => {
      const { foreign } = log.found;
      const rejected = place.kind === DEAD ? await codesIn(log) : undefined;
      return {
        queue,
        files: log.segmentCount,
        bytes: log.diskBytes,
        waiting: place.kind === DEAD ? [] : await waitersOf(log),
        ...(rejected !== undefined && { rejected }),
        ...(foreign.length > 0 && { foreign }),
      };
    });
  } catch (error) {
    const problem = (error as Error).message;
    return { queue, files: 0, bytes: await bytesIn(place.folder, systemFiles), waiting: [], problem };
  }
}

async function waitersOf(log: Log): Promise<Waiting[]> {
  const found: Waiting[] = [];
  for (const consumer of waitersIn(log)) found.push(await tally(consumer, log.addConsumer(consumer).unconfirmed()));
  // All are open by now: what is left is for those whose names are lost.
  if (hasLostPlaces(log)) found.push(await tally("whoever had a place that was lost", waitingIn(log)));
  return found;
}

async function tally(
  consumer: string,
  records: AsyncIterable<{ readonly bytes: Buffer; readonly acceptedAtMs: number }>,
): Promise<Waiting> {
  let number = 0;
  let bytes = 0;
  let oldest: number | undefined;
  for await (const record of records) {
    number++;
    bytes += record.bytes.length;
    oldest ??= record.acceptedAtMs;
  }
  return { consumer, records: number, bytes, oldestAcceptedAt: oldest === undefined ? undefined : timeText(oldest) };
}

async function codesIn(log: Log): Promise<Record<string, number>> {
  const codes = new Map<string, number>();
  for await (const record of log.addConsumer(KEEPER).unconfirmed()) {
    const code = readLetter(record)?.rejection.code ?? "unreadable";
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  return Object.fromEntries(codes);
}

function linesOf({ queue, files, bytes, waiting, rejected, foreign, problem }: QueueReport): string[] {
  if (problem !== undefined) return ["", `${queue}: ${bytesText(bytes)} on disk`, `  cannot be read: ${problem}`];
  const lines = ["", `${queue}: ${count(files, "file")}, ${bytesText(bytes)} on disk`];
  for (const { consumer, records, bytes: payload, oldestAcceptedAt } of waiting) {
    const since = oldestAcceptedAt === undefined ? "" : `, oldest ${oldestAcceptedAt} (${ageText(oldestAcceptedAt)})`;
    const what = records === 0 ? "nothing" : `${count(records, "record")}, ${bytesText(payload)}${since}`;
    lines.push(`  waiting for ${consumer}: ${what}`);
  }
  if (rejected !== undefined) {
    const codes = Object.entries(rejected);
    const total = codes.reduce((sum, [, number]) => sum + number, 0);
    const reasons = codes.map(([code, number]) => `${number} x ${code}`).join(", ");
    lines.push(`  rejected: ${total === 0 ? "nothing" : `${count(total, "record")} (${reasons})`}`);
  }
  for (const path of foreign ?? []) lines.push(`  of another queue, or a copy, left alone: ${path}`);
  return lines;
}
