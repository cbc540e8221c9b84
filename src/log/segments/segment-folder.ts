/**
 * The files of a log: which there are and in what order, how one is made and how one is removed, and what of the folder
 * is known to be durable. When that happens, and what stands in them, is `store.ts`.
 */
import { dirname } from "node:path";
import { type Files, isErrno } from "../../files.js";
import type { Compression } from "../format/compression.js";
import type { Predecessor } from "../format/cursor.js";
import { StorageError } from "../errors.js";
import { segmentFileName, type SegmentName, UNKNOWN_GENERATION } from "../format/frame.js";
import type { Range } from "../format/ranges.js";
import { LogReader, type SegmentList } from "./reader.js";
import type { Loss, Recovered } from "./recovery.js";
import { type Segment, SegmentWriter } from "./segment.js";

export interface FolderOptions {
  readonly folder: string;
  readonly files: Files;
  readonly random: (bytes: number) => Buffer;
  readonly compression: Compression;
  /** Told of bad bytes found while reading, below which something had been safe. Their file stays until it is done. */
  readonly onLoss: (loss: Loss) => Promise<void>;
}

export class SegmentFolder implements SegmentList {
  readonly #o: FolderOptions;
  #segments: Segment[];
  #nextSequence: number;
  /** Which time of the log this is. */
  #generation: number | undefined;
  /** One past the last record that open knew of. */
  readonly #foundEnd: number;
  /** Names made or removed since the folder was synced; true at first, for what the life before has left. */
  #isDirty = true;
  /** What open saw of the names is durable. */
  #namesSettled = false;
  #isMade: boolean;

  constructor(options: FolderOptions, found: Recovered) {
    this.#o = options;
    this.#segments = [...found.segments];
    this.#nextSequence = found.nextSequence;
    this.#generation = found.generation;
    this.#foundEnd = found.nextOffset;
    this.#isMade = found.segments.length > 0;
  }

  get generation(): number {
    return this.#generation ?? UNKNOWN_GENERATION;
  }

  get path(): string {
    return this.#o.folder;
  }

  /** In order. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  get count(): number {
    return this.#segments.length;
  }

  /** One past the last record that a file has, as far as is known. */
  endOf(segment: Segment): number {
    if (segment.end !== undefined) return segment.end;
    // A file that repeats others begins where they may still go on: only one with new records ends those before it.
    const index = this.#segments.indexOf(segment);
    const successor = this.#segments.find(({ carries }, i) => i > index && !carries);
    return successor?.base ?? this.#foundEnd;
  }

  newReader(): LogReader {
    return new LogReader(this, this.#o.files, this.#o.compression);
  }

  onDamage(segment: Segment, { from, to }: Range): Promise<void> {
    segment.knownBad = [...segment.knownBad, { from, to }];
    return this.#o.onLoss({ kind: "damage", path: segment.path, from, bytes: to - from });
  }

  /** Bytes of all files. */
  get bytes(): number {
    return this.#segments.reduce((sum, { size }) => sum + size, 0);
  }

  /** Bytes of the files that have something at or above `offset`. */
  bytesFrom(offset: number): number {
    return this.#segments.reduce((sum, segment) => (this.endOf(segment) > offset ? sum + segment.size : sum), 0);
  }

  /** Bytes of files that get nothing more and have nothing at or above `offset`. */
  bytesFreeableBelow(offset: number): number {
    return this.#segments.reduce(
      (sum, segment) => (segment.growing || this.endOf(segment) > offset ? sum : sum + segment.size),
      0,
    );
  }

  /** The end of the oldest file that gets nothing more and has something at or above `offset`; undefined: there is none. */
  endOfPiece(offset: number): number | undefined {
    const piece = this.#segments.find((segment) => !segment.growing && this.endOf(segment) > offset);
    return piece === undefined ? undefined : this.endOf(piece);
  }

  /** The oldest files that nobody needs any more whose cursors all stand at or above `lowest`. */
  deadBelow(lowest: number): readonly Segment[] {
    if (this.#segments.length === 0) return [];
    const alive = this.#segments.findIndex((segment) => this.endOf(segment) > lowest);
    if (alive < 0) return this.#segments;
    // A cursor that stands in a hole in front of the next file would make what is gone look lost: it passes the hole first.
    let dead = alive;
    while (dead > 0 && this.#segments[dead]!.base > lowest) dead--;
    return this.#segments.slice(0, dead);
  }

  /** What the newest file tells of the one before it. */
  get predecessor(): Predecessor | undefined {
    const previous = this.#segments.at(-2);
    if (previous === undefined) return undefined;
    return { epoch: previous.epoch, provenLength: previous.provenLength, badRanges: previous.knownBad };
  }

  /**
   * Makes the next file.
   * @param first the lowest offset that is unconfirmed and unwritten
   * @param next the next offset of all
   * @throws {StorageError}
   */
  async begin(first: number, next: number, carries: boolean): Promise<SegmentWriter> {
    const { folder, files } = this.#o;
    try {
      if (!this.#isMade) {
        await files.makeFolder(folder);
        await files.syncFolder(dirname(folder));
        this.#isMade = true;
      }
      // Never create while a creation or removal is unsynced: a gap in the names would look like a deletion by hand.
      if (this.#isDirty) await this.sync();
      const segment = this.#next(first, next, carries);
      this.#isDirty = true;
      const writer = await SegmentWriter.create(segment, files);
      this.#nextSequence++;
      this.#segments.push(segment);
      return writer;
    } catch (error) {
      throw new StorageError(`No queue file could be made in ${folder}: ${(error as Error).message}`, error);
    }
  }

  /** The same, blocking: for the last write of a dying process. @throws errors of the disk */
  beginNow(first: number, next: number, carries: boolean): SegmentWriter {
    const { folder, files } = this.#o;
    if (!this.#isMade) files.makeFolderNow(folder);
    // As in `begin`. Of a folder without files nothing can come back to look like a gap.
    else if (this.#isDirty && this.#segments.length > 0) files.syncFolderNow?.(folder);
    const writer = SegmentWriter.createNow(this.#next(first, next, carries), files);
    this.#nextSequence++;
    this.#segments.push(writer.segment);
    return writer;
  }

  #next(first: number, next: number, carries: boolean): Segment {
    const base = Math.min(first, this.#writtenEnd(next));
    const name: SegmentName = { sequence: this.#nextSequence, base, epoch: this.#o.random(4).readUInt32LE(0) };
    this.#generation ??= name.epoch;
    return {
      ...name,
      path: `${this.#o.folder}/${segmentFileName(name)}`,
      carries,
      size: 0,
      end: base,
      provenLength: 0,
      judged: true,
      knownBad: [],
      growing: true,
    };
  }

  /** One past the last record in any file: offsets from there to the next record were lost in a crash, or never used. */
  #writtenEnd(next: number): number {
    if (this.#segments.length === 0) return next;
    return Math.max(...this.#segments.map((segment) => this.endOf(segment)));
  }

  get isDirty(): boolean {
    return this.#isDirty;
  }

  /** Makes creations and removals durable. @throws errors of the disk */
  async sync(): Promise<void> {
    await this.#o.files.syncFolder(this.#o.folder);
    this.#isDirty = false;
    this.#namesSettled = true;
  }

  /**
   * Removes files, in this order.
   * @param letGo called before each, to close what is open of it
   * @throws {StorageError}
   */
  remove(segments: readonly Segment[], letGo: (segment: Segment) => Promise<void>): Promise<void> {
    return this.#removing(async () => {
      // What open saw of the names becomes durable before anything follows from it.
      if (!this.#namesSettled) await this.sync();
      for (const segment of segments) {
        await letGo(segment);
        await this.#removeFile(segment.path);
        this.#segments = this.#segments.filter((other) => other !== segment);
      }
    });
  }

  async #removeFile(path: string): Promise<void> {
    await this.#o.files.remove(path).catch((error: unknown) => {
      if (!isErrno(error, "ENOENT")) throw error; // deleted by hand: nothing left to delete
    });
    this.#isDirty = true;
  }

  /** Removes files that are not among the segments. @throws {StorageError} */
  removeOthers(paths: readonly string[]): Promise<void> {
    return this.#removing(async () => {
      if (!this.#namesSettled) await this.sync();
      for (const path of paths) await this.#removeFile(path);
    });
  }

  /** Makes removals durable. @throws {StorageError} */
  syncRemovals(): Promise<void> {
    return this.#removing(() => this.sync());
  }

  async #removing(remove: () => Promise<void>): Promise<void> {
    try {
      await remove();
    } catch (error) {
      throw new StorageError(`Queue files could not be removed: ${(error as Error).message}`, error);
    }
  }
}
