/**
 * One open destination file: append whole lines, cut back what was left unfinished, tell whether the path still means
 * this file. Which lines, and when, is decided by its neighbours. Everything is appended (O_APPEND), so lines of
 * other writers to the same file are never overwritten.
 */
import * as path from "node:path";
import fs from "fs-extra";
import type { BigIntStats } from "fs-extra";
import { errnoOf, fileError, notRegular } from "./errors.js";
import type { Lines } from "./lines.js";
import { TAIL_BYTES, crcOfTail, identityOf, isSameFile } from "./state.js";
import type { FileIdentity } from "./state.js";

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDWR } = fs.constants;
/** O_NONBLOCK (not on Windows): opening a FIFO must fail, not hold a thread of the pool for ever. */
const OPEN_FLAGS = O_RDWR | O_APPEND | (O_NONBLOCK ?? 0);

export interface OpenOptions {
  /** Creates the file where there is none. */
  readonly create: boolean;
  /** Makes missing folders first. */
  readonly createFolders: boolean;
  /** Refuses a symbolic link in place of the file. */
  readonly noFollow: boolean;
}

export interface Appended {
  /** Bytes of the input that are in the file now, the unfinished line already cut back. */
  readonly bytes: number;
  /** Why it is less than all. */
  readonly error?: Error;
}

export class OutputFile {
  #path: string;
  /** True when this call of `open` made the file: its folder has to be synced too. */
  readonly isNew: boolean;
  readonly #fd: number;
  #identity: FileIdentity;
  #end: number;
  #tail: Buffer;
  /** Bytes of an unfinished line behind `#end` that could not be cut back. */
  #unfinishedBytes = 0;
  #syncing: Promise<void> | undefined;
  /** Up to here the file was synced, or was there before us. */
  #syncedEnd: number;
  /** A sync has failed: what lies behind `#syncedEnd` may not be on the disk, whatever the next one says. */
  #isUnproven = false;
  /** Of these bytes, those that have been cut off and not been appended anew yet. */
  #owed: Buffer | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(at: string, fd: number, isNew: boolean, identity: FileIdentity, end: number, tail: Buffer) {
    this.#path = at;
    this.#fd = fd;
    this.isNew = isNew;
    this.#identity = identity;
    this.#end = end;
    this.#syncedEnd = end;
    this.#tail = tail;
  }

  /** @throws {FileUnavailableError} */
  static async open(at: string, options: OpenOptions): Promise<OutputFile> {
    let fd: number | undefined;
    try {
      const { descriptor, isNew } = await openForAppend(at, options);
      fd = descriptor;
      const stats = await fs.fstat(fd, { bigint: true });
      if (!stats.isFile()) throw notRegular(at, stats.isDirectory());
      const end = Number(stats.size);
      return new OutputFile(at, fd, isNew, identityOf(stats), end, await readBefore(fd, end));
    } catch (error) {
      if (fd !== undefined) await fs.close(fd);
      throw fileError(at, error);
    }
  }

  get path(): string {
    return this.#path;
  }

  /** Gives the file another name, in place of whatever has it, by which `known` then reaches it. */
  async rename(to: string, known: string): Promise<void> {
    try {
      await fs.rename(this.#path, to);
    } catch (error) {
      throw fileError(to, error);
    }
    this.#path = known;
  }

  /** Behind the last byte in the file, whoever wrote it, as last seen. */
  get end(): number {
    return this.#end;
  }

  get identity(): FileIdentity {
    return this.#identity;
  }

  /** The CRC over the last bytes before `position`. */
  async tailCrc(position: number): Promise<number> {
    return crcOfTail(position === this.#end ? this.#tail : await readBefore(this.#fd, position));
  }

  /** False while the last line in the file has no end yet: the next line must not be glued to it. */
  endsWith(lineEnd: Buffer): boolean {
    return this.#end === 0 || this.#tail.subarray(-lineEnd.length).equals(lineEnd);
  }

  /**
   * Looks whether the path still means this file, and how long it is now. `gone`: deleted, moved away or replaced
   * (logrotate). `shorter`: truncated by someone, its lines are gone.
   */
  look(): Promise<"same" | "longer" | "shorter" | "gone"> {
    return this.#alone(() => this.#look());
  }

  async #look(): Promise<"same" | "longer" | "shorter" | "gone"> {
    let stats: Awaited<ReturnType<typeof statBig>>;
    try {
      stats = await statBig(this.path);
    } catch (error) {
      if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return "gone";
      throw fileError(this.path, error);
    }
    const identity = identityOf(stats);
    if (!isSameFile(identity, this.#identity)) return "gone";
    this.#identity = identity;
    const size = Number(stats.size);
    // It will be as long as we take it to be before anything is appended.
    if (this.#isUnproven) return "same";
    if (this.#unfinishedBytes > 0) await this.#cutBack(size);
    else if (size !== this.#end) {
      const change = size > this.#end ? "longer" : "shorter";
      this.#end = size;
      this.#tail = await readBefore(this.#fd, size);
      return change;
    }
    return "same";
  }

  /**
   * Appends bytes made of whole lines; `ends` tells the places in them where a line ends, ascending. On a full disk the
   * finished lines stay and the unfinished one is cut back, so that a line is never half there and never twice.
   */
  append(lines: Lines): Promise<Appended> {
    return this.#alone(() => this.#append(lines));
  }

  async #append({ pieces, ends }: Lines): Promise<Appended> {
    try {
      if (this.#isUnproven) await this.#prove();
    } catch (error) {
      return { bytes: 0, error: fileError(this.path, error) };
    }
    let written = 0;
    let failure: Error | undefined;
    for (let rest = pieces; rest.length > 0; rest = behind(pieces, written)) {
      try {
        // A short write is no error yet: the rest either follows, or the next call says why it cannot.
        written += (await fs.writev(this.#fd, [...rest])).bytesWritten;
      } catch (error) {
        failure = fileError(this.path, error);
        break;
      }
    }
    const whole = failure === undefined ? written : wholeLines(ends(), written);
    this.#moveEnd(pieces, whole);
    if (failure === undefined) return { bytes: whole };
    this.#unfinishedBytes = written - whole;
    try {
      if (this.#unfinishedBytes > 0) await this.#cutBack(Number((await fs.fstat(this.#fd)).size));
    } catch {
      // The disk is in trouble and `failure` says so; `look` cuts before the next line, `open` in the next life.
    }
    return { bytes: whole, error: failure };
  }

  /** Cuts the file at `position`: only for an unfinished line of ours. */
  async cut(position: number): Promise<void> {
    try {
      await fs.ftruncate(this.#fd, position);
    } catch (error) {
      throw fileError(this.path, error);
    }
    this.#end = position;
    this.#tail = await readBefore(this.#fd, position);
  }

  /** Fills `into` from `position`; fewer bytes only at the end of the file. */
  read(into: Buffer, position: number): Promise<number> {
    return readAt(this.#fd, into, position);
  }

  /** True after a failed sync: until one succeeds, nothing is appended, and the file must stay open. */
  get isUnproven(): boolean {
    return this.#isUnproven;
  }

  /** False when the file system has gone away under the descriptor. */
  async isAlive(): Promise<boolean> {
    try {
      await fs.fstat(this.#fd);
      await readAt(this.#fd, Buffer.alloc(1), 0);
      return true;
    } catch {
      return false; // Whatever it says, nothing more can be done with this descriptor.
    }
  }

  /**
   * fdatasync. After a failure the system takes the lost pages for clean, and the next call would succeed without
   * having written them; on ext4 writing them again in place does not help either, as their blocks stay marked as never
   * written. So the bytes, which are still in memory, are cut off and appended anew.
   * @see https://wiki.postgresql.org/wiki/Fsync_Errors
   */
  async sync(): Promise<void> {
    const end = this.#end;
    this.#syncing = this.#isUnproven ? this.#alone(() => this.#prove()) : fs.fdatasync(this.#fd);
    try {
      await this.#syncing;
      this.#syncedEnd = end;
    } catch (error) {
      this.#isUnproven = true;
      throw fileError(this.path, error);
    }
  }

  async close(): Promise<void> {
    try {
      // A descriptor that is closed under a sync may be another file's by the time the sync runs.
      await this.#syncing;
    } catch {
      /* whoever asked for the sync has heard of it */
    }
    await fs.close(this.#fd);
  }

  /** Appends anew what a failed sync may have lost, and syncs it. What could not be appended yet is kept for next time. */
  async #prove(): Promise<void> {
    if (this.#owed === undefined) {
      let { size } = await fs.fstat(this.#fd);
      if (this.#unfinishedBytes > 0) {
        await this.#cutBack(size);
        size = this.#end;
      }
      const lost = Buffer.allocUnsafe(Math.max(0, this.#end - this.#syncedEnd));
      // Someone else has changed the file since: theirs must not be cut, and what is ours cannot be told.
      const isOurs = size === this.#end && (await readAt(this.#fd, lost, this.#syncedEnd)) === lost.length;
      if (isOurs) {
        await fs.ftruncate(this.#fd, this.#syncedEnd);
        this.#owed = lost;
      }
    }
    while (this.#owed !== undefined && this.#owed.length > 0) {
      const { bytesWritten } = await fs.write(this.#fd, this.#owed, 0, this.#owed.length, null);
      this.#owed = this.#owed.subarray(bytesWritten);
    }
    this.#owed = undefined;
    const end = this.#end;
    await fs.fdatasync(this.#fd);
    this.#syncedEnd = end;
    this.#isUnproven = false;
  }

  /** One at a time: while lost bytes are appended anew, the file is shorter than it will be. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {
      /* whoever asked for the work hears of it */
    });
    return result;
  }

  async #cutBack(size: number): Promise<void> {
    if (size === this.#end + this.#unfinishedBytes) await this.cut(this.#end);
    else {
      // Someone appended behind our unfinished line, or cut it: it can no longer be taken back.
      this.#end = size;
      this.#tail = await readBefore(this.#fd, size);
    }
    this.#unfinishedBytes = 0;
  }

  /** The first `length` bytes of these are in the file. */
  #moveEnd(pieces: readonly Buffer[], length: number): void {
    this.#end += length;
    const appended = lastBytes(pieces, length, TAIL_BYTES);
    this.#tail = Buffer.concat([this.#tail, appended]).subarray(-TAIL_BYTES);
  }
}

/** A copy of the last `count` of the first `length` bytes of these; fewer when there are no more. */
function lastBytes(pieces: readonly Buffer[], length: number, count: number): Buffer {
  let last = 0;
  let to = length;
  while (last < pieces.length && to > pieces[last]!.length) to -= pieces[last++]!.length;
  const parts: Buffer[] = [];
  for (let missing = count; missing > 0 && last >= 0 && last < pieces.length; to = pieces[--last]?.length ?? 0) {
    const part = pieces[last]!.subarray(Math.max(0, to - missing), to);
    parts.unshift(part);
    missing -= part.length;
  }
  return Buffer.concat(parts);
}

/** What is left of these bytes behind the first `written` ones. */
function behind(pieces: readonly Buffer[], written: number): Buffer[] {
  const rest: Buffer[] = [];
  let from = written;
  for (const piece of pieces) {
    if (from < piece.length) rest.push(piece.subarray(from));
    from = Math.max(0, from - piece.length);
  }
  return rest;
}

function statBig(at: string): Promise<BigIntStats> {
  return fs.stat(at, { bigint: true });
}

/** O_EXCL first, to know whether the file was made here; a link to nowhere is followed by the second attempt. */
async function openForAppend(at: string, options: OpenOptions): Promise<{ descriptor: number; isNew: boolean }> {
  const flags = OPEN_FLAGS | (options.noFollow ? (O_NOFOLLOW ?? 0) : 0);
  try {
    return { descriptor: await fs.open(at, flags), isNew: false };
  } catch (error) {
    if (errnoOf(error) !== "ENOENT" || !options.create) throw error;
  }
  if (options.createFolders) await fs.mkdir(path.dirname(at), { recursive: true });
  return { descriptor: await fs.open(at, flags | O_CREAT), isNew: true };
}

async function readAt(fd: number, into: Buffer, position: number): Promise<number> {
  let filled = 0;
  while (filled < into.length) {
    const { bytesRead } = await fs.read(fd, into, filled, into.length - filled, position + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

async function readBefore(fd: number, end: number): Promise<Buffer> {
  const tail = Buffer.alloc(Math.min(end, TAIL_BYTES));
  return tail.subarray(0, await readAt(fd, tail, end - tail.length));
}

function wholeLines(ends: readonly number[], written: number): number {
  let whole = 0;
  for (const end of ends) {
    if (end > written) break;
    whole = end;
  }
  return whole;
}
