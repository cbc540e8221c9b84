/**
 * The first thing a new life does with its files: finds out which of the records behind the cursor are in them
 * already. Files whose length is what the state says cost one stat each, and then no record is read at all.
 */
import * as path from "node:path";
import fs from "fs-extra";
import type { LogRecord, Offset } from "../../record.js";
import type { ResumePoint } from "../target.js";
import { FileUnavailableError, errnoOf } from "./errors.js";
import type { LineFormat } from "./lines.js";
import { OutputFile } from "./output-file.js";
import { Remainder } from "./resume.js";
import { identityOf, isSameFile } from "./state.js";
import type { FilePosition, Positions } from "./state.js";

/** A folder with more names is not searched for a file that was moved within it. */
const MAX_SEARCHED_NAMES = 1_000;

export interface CatchUp {
  readonly positions: Positions;
  readonly resume: ResumePoint;
  readonly signal: AbortSignal;
  /** The path of a stored position; undefined when it is no longer one of this target's. */
  pathOf(entry: FilePosition): string | undefined;
  nameOf(record: LogRecord): string | undefined;
  /** The whole line; undefined for a record that cannot be one. */
  lineOf(record: LogRecord): Buffer | undefined;
  readonly format: LineFormat;
  /** The file has lines of a life that may have died before it synced them: they must be, before they are confirmed. */
  onDoubt(at: string): void;
}

/** A record that is in its file, though an earlier one is not in its own: not confirmed yet, and not to be written. */
export interface LineAhead {
  readonly name: string;
  readonly end: number;
  readonly tailCrc: number;
}

interface Candidate {
  readonly file: OutputFile;
  readonly remainder: Remainder;
}

export interface CaughtUp {
  readonly ahead: Map<Offset, LineAhead>;
  /** Names of files with bytes behind their position, which have been looked at. */
  readonly compared: readonly string[];
  /** Names of files that go on, behind our last line, with bytes that the log knows nothing of. */
  readonly goOn: readonly string[];
}

/**
 * Confirms the records that are in their files up to the first that is not; returns the others that are.
 * @throws {FileUnavailableError} when a file is there and cannot be read
 */
export async function catchUp(task: CatchUp): Promise<CaughtUp> {
  const ahead = new Map<Offset, LineAhead>();
  const candidates = await openCandidates(task);
  try {
    if (candidates.size > 0) await compare(task, candidates, ahead);
    const goOn = [...candidates].filter(([, { file, remainder }]) => file.end > remainder.position);
    return { ahead, compared: [...candidates.keys()], goOn: goOn.map(([name]) => name) };
  } finally {
    for (const { file } of candidates.values()) await file.close();
  }
}

async function compare(
  task: CatchUp,
  candidates: Map<string, Candidate>,
  ahead: Map<Offset, LineAhead>,
): Promise<void> {
  const confirmedEnds = new Map<string, number>();
  let confirmed: LogRecord | undefined;
  let isUnbroken = true;
  let undecided = [...candidates.values()].filter(({ remainder }) => !remainder.isDecided).length;
  if (undecided > 0) {
    for await (const record of task.resume.records()) {
      task.signal.throwIfAborted();
      const name = task.nameOf(record);
      const candidate = name === undefined ? undefined : candidates.get(name);
      const line = candidate === undefined || candidate.remainder.isDecided ? undefined : task.lineOf(record);
      const isThere = line !== undefined && (await candidate!.remainder.next(line));
      if (isThere && isUnbroken) {
        confirmed = record;
        confirmedEnds.set(name!, candidate!.remainder.position);
      } else if (isThere) {
        const end = candidate!.remainder.position;
        ahead.set(record.offset, { name: name!, end, tailCrc: await candidate!.file.tailCrc(end) });
      } else isUnbroken = false;
      if (line !== undefined && candidate!.remainder.isDecided && --undecided === 0) break;
    }
  }
  for (const { remainder } of candidates.values()) await remainder.finish();
  if (confirmed === undefined) return;
  for (const [name, position] of confirmedEnds) {
    const { file } = candidates.get(name)!;
    const entry = task.positions.get(name)!;
    task.positions.set({ ...entry, position, tailCrc: await file.tailCrc(position) });
  }
  task.resume.confirm(confirmed, task.positions.encode());
}

/** The files that hold bytes behind their stored position, under their own name or the one they were moved to. */
async function openCandidates(task: CatchUp): Promise<Map<string, Candidate>> {
  const candidates = new Map<string, Candidate>();
  try {
    for (const entry of task.positions.all()) {
      const at = task.pathOf(entry);
      const file = at === undefined ? undefined : await find(at, entry);
      if (file === undefined) continue;
      task.onDoubt(file.path);
      const remainder = new Remainder(file, entry.position, task.format.lineEnd.length);
      candidates.set(entry.name, { file, remainder });
      await remainder.skip(await preamble(file, entry.position, task.format));
    }
  } catch (error) {
    for (const { file } of candidates.values()) await file.close();
    throw error;
  }
  return candidates;
}

/** The file that the entry speaks of, when it goes on behind the position. */
async function find(at: string, entry: FilePosition): Promise<OutputFile | undefined> {
  const inPlace = await openIfOurs(at, entry);
  if (inPlace !== undefined) return inPlace.end > entry.position ? inPlace : closed(inPlace);
  const moved = await findMoved(at, entry);
  if (moved === undefined) return undefined;
  const file = await openIfOurs(moved, entry);
  return file === undefined || file.end > entry.position ? file : closed(file);
}

async function closed(file: OutputFile): Promise<undefined> {
  await file.close();
}

async function openIfOurs(at: string, entry: FilePosition): Promise<OutputFile | undefined> {
  let file: OutputFile;
  try {
    file = await OutputFile.open(at, { create: false, createFolders: false, noFollow: false });
  } catch (error) {
    const errno = error instanceof FileUnavailableError ? errnoOf(error.cause) : undefined;
    if (errno === "ENOENT" || errno === "ENOTDIR" || (error as FileUnavailableError).code === "file-is-folder") {
      return undefined;
    }
    throw error;
  }
  const isOurs =
    isSameFile(file.identity, entry) &&
    file.end >= entry.position &&
    (await file.tailCrc(entry.position)) === entry.tailCrc;
  if (isOurs) return file;
  return closed(file);
}

/** logrotate and people move a file within its folder: its inode tells it. */
async function findMoved(at: string, entry: FilePosition): Promise<string | undefined> {
  const folder = path.dirname(at);
  let names: string[];
  try {
    names = await fs.readdir(folder);
  } catch {
    return undefined; // The folder is gone, or may not be read: there is nothing to compare with.
  }
  if (names.length > MAX_SEARCHED_NAMES) return undefined;
  for (const name of names) {
    try {
      const stats = await fs.lstat(path.join(folder, name), { bigint: true });
      if (stats.isFile() && isSameFile(identityOf(stats), entry)) return path.join(folder, name);
    } catch {
      /* it went away between the two calls */
    }
  }
  return undefined;
}

/** What was to be written before the first line behind a position: a header, the missing end of someone's last line. */
async function preamble(file: OutputFile, position: number, { header, lineEnd }: LineFormat): Promise<Buffer> {
  if (position === 0) return header;
  const last = Buffer.alloc(Math.min(lineEnd.length, position));
  await file.read(last, position - last.length);
  return last.equals(lineEnd) ? Buffer.alloc(0) : lineEnd;
}
