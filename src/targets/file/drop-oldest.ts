/**
 * Takes the oldest lines out of a file: the rest is copied to a new file beside it, in bounded memory, which then takes
 * its name in one step. Readers see the old file or the new one, never a part.
 */
import * as path from "node:path";
import fs from "fs-extra";
import { errnoOf, fileError } from "./errors.js";
import { headerBytesOf } from "./line-count.js";
import type { LineFormat } from "./lines.js";
import { OutputFile } from "./output-file.js";
import { pathKey } from "./state.js";

const CHUNK_BYTES = 256 * 1_024;

/** At least so much is to go. */
export interface Excess {
  readonly lines: number;
  readonly bytes: number;
}

export interface Shortened {
  /** Complete and synced, still under its temporary name. */
  readonly file: OutputFile;
  /** The path it is to take: where a link leads, if the old one is reached by one. */
  readonly becomes: string;
  readonly droppedLines: number;
}

/** @throws {FileUnavailableError} when there is no room for the copy, for one; the old file is untouched */
export async function copyWithoutOldest(
  old: OutputFile,
  excess: Excess,
  format: LineFormat,
  signal: AbortSignal,
): Promise<Shortened> {
  const headerBytes = await headerBytesOf(old, format);
  const cut = await findCut(old, headerBytes, excess, format, signal);
  const becomes = await fs.realpath(old.path);
  const temporary = temporaryPath(becomes);
  await removeLeftover(becomes);
  const file = await OutputFile.open(temporary, { create: true, createFolders: false, noFollow: true });
  try {
    await keepOwner(old.path, temporary);
    await copy(old, file, 0, headerBytes, signal);
    await copy(old, file, cut.position, old.end, signal);
    await file.sync();
    return { file, becomes, droppedLines: cut.lines };
  } catch (error) {
    await file.close();
    await removeLeftover(becomes);
    signal.throwIfAborted();
    throw fileError(old.path, error);
  }
}

/** Removes what a crash left of such a copy. */
export async function removeLeftover(of: string): Promise<void> {
  try {
    await fs.unlink(temporaryPath(await fs.realpath(of)));
  } catch (error) {
    if (errnoOf(error) !== "ENOENT" && errnoOf(error) !== "ENOTDIR") throw fileError(of, error);
  }
}

/** Hidden, and short whatever the name of the file. */
export function temporaryPath(of: string): string {
  return path.join(path.dirname(of), `.resilient-${pathKey(of).toString(16)}.tmp`);
}

/** The first place where a line ends and enough lines and bytes lie before it; the end of the file at most. */
async function findCut(
  file: OutputFile,
  from: number,
  excess: Excess,
  { lineEnd, quote }: LineFormat,
  signal: AbortSignal,
): Promise<{ position: number; lines: number }> {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  let lines = 0;
  let isInQuotes = false;
  for (let at = from; at < file.end;) {
    signal.throwIfAborted();
    const filled = await file.read(chunk.subarray(0, Math.min(chunk.length, file.end - at)), at);
    if (filled === 0) break;
    for (let i = 0; i < filled; i++) {
      if (i % lineEnd.length !== 0) continue;
      if (quote !== undefined && isAt(chunk, i, quote)) isInQuotes = !isInQuotes;
      if (!isAt(chunk, i, lineEnd)) continue;
      const position = at + i + lineEnd.length;
      lines++;
      if (!isInQuotes && lines >= excess.lines && position - from >= excess.bytes) return { position, lines };
    }
    at += filled;
  }
  return { position: file.end, lines };
}

/** The first byte decides nearly always. */
function isAt(chunk: Buffer, i: number, bytes: Buffer): boolean {
  return chunk[i] === bytes[0] && (bytes.length === 1 || chunk.subarray(i, i + bytes.length).equals(bytes));
}

async function copy(from: OutputFile, to: OutputFile, start: number, end: number, signal: AbortSignal): Promise<void> {
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, Math.max(0, end - start)));
  for (let at = start; at < end;) {
    signal.throwIfAborted();
    const filled = await from.read(chunk.subarray(0, Math.min(chunk.length, end - at)), at);
    if (filled === 0) break;
    const { error } = await to.append({ pieces: [chunk.subarray(0, filled)], ends: () => [filled] });
    if (error !== undefined) throw error;
    at += filled;
  }
}

/** Who could read the file before can read it after. */
async function keepOwner(of: string, at: string): Promise<void> {
  const { mode, uid, gid } = await fs.stat(of);
  await fs.chmod(at, mode & 0o777);
  try {
    await fs.chown(at, uid, gid);
  } catch (error) {
    // Only root may give files away; it is then ours, as every file made here.
    if (errnoOf(error) !== "EPERM") throw error;
  }
}
