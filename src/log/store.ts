/**
 * The part of a log that is on disk: writes in rounds what is unconfirmed, syncs it, and deletes what nobody needs any
 * more. One round at a time; the log sees to that. The bytes, and the rules of their order, are FORMAT.md; the files as
 * names are `segment-folder.ts`.
 */
import type { Clock } from "../clock.js";
import { isErrno } from "../files.js";
import { BLOCK_BYTES } from "./format/block.js";
import type { Compression } from "./format/compression.js";
import { type Cursor, type Cursors, encodeCursorChanges, encodeSnapshot } from "./format/cursor.js";
import { SettleError, StorageError } from "./errors.js";
import { BLOCK_KINDS, encodeSegmentHeader } from "./format/frame.js";
import type { Recovered } from "./segments/recovery.js";
import {
  asIs,
  frameBlocks,
  packCursors,
  type PackedBlock,
  packRecords,
  type Segment,
  type SegmentWriter,
} from "./segments/segment.js";
import type { SegmentFolder } from "./segments/segment-folder.js";
import { SettleLateError } from "./consumer/settling.js";
import type { Tail, TailBlock, TailEntry } from "./tail.js";

export interface StoreOptions {
  readonly clock: Clock;
  readonly compression: Compression;
  /** A segment is sealed before it grows beyond this. */
  readonly segmentBytes: number;
}

/** What the store asks of the queue that it keeps. */
export interface Queue {
  /** Where everyone stands, as it may be written down. */
  cursors(): Map<string, Cursor>;
  /** When the oldest record was accepted that is to be written; undefined when there is none. */
  oldestUnwrittenMs(): number | undefined;
  /** What is to be written. */
  takeUnwritten(): Promise<TailBlock[]>;
  /** A target has yet to make durable what it confirmed. */
  readonly isUnsettled: boolean;
  /** Has targets make durable what they confirmed. Resolves to the errors. */
  settle(): Promise<readonly Error[]>;
  /** Closes what is open of a file that is about to be removed. */
  forget(segment: Segment): Promise<void>;
}

/** Errors after which the very same bytes may be written later. After any other the segment is left for good. */
const MAY_CONTINUE = ["ENOSPC", "EDQUOT", "EAGAIN", "EINTR", "EMFILE", "ENFILE"];

/**
 * Each turn of a busy event loop may take a second: a round that waits for one turn after every block would take minutes.
 * They are some ms of work for libuv's threads, behind which others wait no longer than that.
 */
const PACKED_AT_ONCE = 16;
/** No more than that is packed before its round: it is in memory twice until then. */
const PACKED_AHEAD_BYTES = PACKED_AT_ONCE * BLOCK_BYTES;

interface Round {
  readonly blocks: readonly TailBlock[];
  /** When the oldest of their records was accepted: from then on runs the time in which it is synced. */
  readonly sinceMs: number;
  readonly upTo: number;
  readonly cursors: Cursors;
  readonly end: number;
}

export class Store {
  readonly #o: StoreOptions;
  readonly #queue: Queue;
  readonly #tail: Tail;
  readonly #found: Recovered;
  readonly #folder: SegmentFolder;
  #writer: SegmentWriter | undefined;
  /** A round that a full disk has not taken whole. */
  #unfinished: Round | undefined;
  #carries: boolean;
  /** Cursors as last written, as of the last sync of this life, and the file that has the latter. */
  #written: Cursors;
  #durable: Cursors | undefined;
  #durableHolder: Segment | undefined;
  /** Files that somebody has brought back, until what is in them is safe elsewhere. */
  #restored: readonly string[];
  #lastWriteMs: number;
  #lastSyncMs: number;
  #unsyncedSinceMs: number | undefined;
  #syncedForMs = 0;

  constructor(options: StoreOptions, found: Recovered, tail: Tail, folder: SegmentFolder, queue: Queue) {
    this.#o = options;
    this.#found = found;
    this.#tail = tail;
    this.#queue = queue;
    this.#folder = folder;
    this.#written = found.cursors;
    this.#carries = found.carried.length > 0;
    this.#restored = found.restored.files;
    this.#lastWriteMs = this.#lastSyncMs = options.clock.elapsedMs();
  }

  /** Cursors as they stand in the page cache, and on the disk for sure. */
  get writtenCursors(): Cursors {
    return this.#written;
  }

  get durableCursors(): Cursors | undefined {
    return this.#durable;
  }

  /** How long syncs have taken so far, those of targets included, in ms. */
  get syncedForMs(): number {
    return this.#syncedForMs;
  }

  // ---- what is due

  /** When the next write round is due, in the clock's elapsed ms; undefined when there is nothing to write. */
  writeDueMs(intervalMs: number): number | undefined {
    const oldest = this.#queue.oldestUnwrittenMs();
    if (oldest !== undefined) return oldest + intervalMs;
    if (this.#folder.count > 0 && this.#cursorsMoved() && !this.#onlyUnlink()) return this.#lastWriteMs + intervalMs;
    return undefined;
  }

  /** When the next sync round is due, likewise. */
  syncDueMs(intervalMs: number): number | undefined {
    if (this.#unsyncedSinceMs !== undefined) return this.#unsyncedSinceMs + intervalMs;
    if (this.#queue.isUnsettled || this.#hasTakenOver || this.#deadSegments().length > 0)
      return this.#lastSyncMs + intervalMs;
    return undefined;
  }

  #cursorsMoved(): boolean {
    return this.#changedCursors(this.#queue.cursors()).size > 0;
  }

  #changedCursors(view: Cursors): Map<string, Cursor | null> {
    const changes = new Map<string, Cursor | null>();
    for (const [id, cursor] of view) if (this.#written.get(id) !== cursor) changes.set(id, cursor);
    for (const id of this.#written.keys()) if (!view.has(id)) changes.set(id, null);
    return changes;
  }

  // ---- writing

  /** @param evenEmpty begins a file for the cursors alone, when none is being written. @throws {StorageError} */
  async write(evenEmpty = false): Promise<void> {
    this.#lastWriteMs = this.#o.clock.elapsedMs();
    await this.#finishRound();
    const { compression, clock } = this.#o;
    const oldestMs = this.#queue.oldestUnwrittenMs() ?? this.#lastWriteMs;
    const blocks = await this.#queue.takeUnwritten();
    const upTo = this.#tail.nextOffset;
    const view = this.#queue.cursors();
    const changes = this.#changedCursors(view);
    if (blocks.length === 0 && !evenEmpty) {
      if (changes.size === 0 || this.#folder.count === 0 || this.#onlyUnlink()) return;
    }
    const packed: PackedBlock[] = [];
    for (let i = 0; i < blocks.length; i += PACKED_AT_ONCE) {
      const some = blocks.slice(i, i + PACKED_AT_ONCE);
      packed.push(...(await Promise.all(some.map((block) => this.#pack(block)))));
    }
    const bytes = packed.reduce((sum, { stored }) => sum + stored.length, 0);
    if (this.#writer !== undefined && this.#writer.end + bytes > this.#o.segmentBytes) await this.#seal();
    let writer = this.#writer;
    let framed: Buffer;
    if (writer === undefined) {
      // A snapshot begins every file, so that it can speak for all.
      writer = this.#writer = await this.#folder.begin(
        blocks[0]?.kept.first ?? upTo,
        this.#tail.nextOffset,
        this.#carries,
      );
      const body = this.#snapshotBody(view);
      packed.unshift(await packCursors(BLOCK_KINDS.snapshot, body, clock.wallMs(), compression));
      framed = this.#framedFirst(writer, packed);
    } else {
      if (changes.size > 0) {
        const body = encodeCursorChanges(changes);
        packed.unshift(await packCursors(BLOCK_KINDS.cursors, body, clock.wallMs(), compression));
      }
      framed = frameBlocks(packed, writer.segment.epoch, writer.end, writer.segment.provenLength);
    }
    this.#carries = false;
    // What is carried over from an earlier life or a failed sync has no time of its own.
    const sinceMs = Number.isFinite(oldestMs) ? oldestMs : this.#lastWriteMs;
    this.#unfinished = { blocks, sinceMs, upTo, cursors: view, end: writer.end + framed.length };
    for (const { kept } of blocks) writer.segment.end = Math.max(writer.segment.end ?? 0, kept.last + 1);
    this.#tail.writing(blocks);
    await this.#writing(() => writer.append(framed));
    this.#roundDone();
  }

  /** Packs a block before its round, beside whatever is accepted meanwhile: who waits for the round waits less. */
  packAhead(entry: TailEntry): void {
    if (this.#tail.unwrittenBytes > PACKED_AHEAD_BYTES) return;
    // What cannot be packed now is packed by the round, which then tells why not.
    entry.packed = packRecords(entry.block, this.#o.compression).catch(() => undefined);
  }

  #pack({ entry, kept }: TailBlock): Promise<PackedBlock> {
    const pack = (): Promise<PackedBlock> => packRecords(kept, this.#o.compression);
    if (entry.packed === undefined || kept !== entry.block) return pack();
    return entry.packed.then((ahead) => ahead ?? pack());
  }

  async #finishRound(): Promise<void> {
    const writer = this.#writer;
    if (this.#unfinished === undefined || writer === undefined) return;
    await this.#writing(() => writer.finish());
    this.#roundDone();
  }

  #roundDone(): void {
    const { blocks, sinceMs, upTo, cursors, end } = this.#unfinished!;
    this.#unfinished = undefined;
    this.#written = cursors;
    this.#tail.wrote(blocks, upTo, end);
    if (blocks.length > 0) this.#unsyncedSinceMs ??= sinceMs;
  }

  async #writing(write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      if (!isErrno(error, ...MAY_CONTINUE)) await this.#abandon();
      throw new StorageError(
        `The queue could not be written to ${this.#folder.path}: ${(error as Error).message}`,
        error,
      );
    }
  }

  #snapshotBody(cursors: Cursors): Buffer {
    return encodeSnapshot({
      nextOffset: this.#tail.nextOffset,
      firstSequence: this.#folder.segments[0]!.sequence,
      predecessor: this.#folder.predecessor,
      carries: this.#carries,
      cursors,
    });
  }

  /** The first bytes of a file: its header, and the blocks behind it. */
  #framedFirst({ segment }: SegmentWriter, packed: readonly PackedBlock[]): Buffer {
    const header = encodeSegmentHeader({
      ...segment,
      logId: this.#found.logId,
      generation: this.#folder.generation,
      createdMs: this.#o.clock.wallMs(),
    });
    return Buffer.concat([header, frameBlocks(packed, segment.epoch, header.length, 0)]);
  }

  /**
   * Writes what is unwritten at once, blocking: for a process that is about to end by itself. Not compressed, not synced.
   * @throws errors of the disk
   */
  writeNow(blocks: readonly TailBlock[]): void {
    const { clock } = this.#o;
    const first = blocks[0];
    if (first === undefined) return;
    const packed = blocks.map(({ kept }) => asIs.records(kept));
    const view = this.#queue.cursors();
    const writer = this.#writer ?? this.#folder.beginNow(first.kept.first, this.#tail.nextOffset, this.#carries);
    if (writer.end === 0) {
      packed.unshift(asIs.cursors(BLOCK_KINDS.snapshot, this.#snapshotBody(view), clock.wallMs()));
      writer.appendNow(this.#framedFirst(writer, packed));
      return;
    }
    packed.unshift(asIs.cursors(BLOCK_KINDS.cursors, encodeCursorChanges(view), clock.wallMs()));
    writer.appendNow(frameBlocks(packed, writer.segment.epoch, writer.end, writer.segment.provenLength));
  }

  // ---- leaving a file

  /** Syncs the segment and lets it rest: only then may another be made. */
  async #seal(): Promise<void> {
    const writer = this.#writer!;
    await this.#syncWriter(writer);
    writer.segment.growing = false;
    this.#writer = undefined;
    await this.#closing(writer);
  }

  /** A segment whose bytes cannot be trusted any more: what it has unsynced is written again, elsewhere. */
  async #abandon(): Promise<void> {
    const writer = this.#writer!;
    writer.segment.growing = false;
    this.#writer = undefined;
    this.#unfinished = undefined;
    this.#unsyncedSinceMs = undefined;
    this.#tail.unwrite();
    this.#carries = true;
    this.#written = this.#durable ?? new Map();
    await this.#closing(writer);
  }

  /**
   * A round that a full disk has not taken whole, once nothing in the only file is needed any more: the file may be what
   * the disk is full of, and then nothing but its end makes room for the rest.
   */
  async #giveUpRound(): Promise<void> {
    if (this.#unfinished === undefined || this.#writer === undefined) return;
    if (this.#folder.count === 1 && this.#deadSegments().length === 1) await this.#abandon();
  }

  async #closing(writer: SegmentWriter): Promise<void> {
    try {
      await writer.close();
    } catch (error) {
      // Everything in it that counts was synced before, or is written again: the handle is all that is lost.
      if (!isErrno(error, "EIO", "EBADF", "ENOSPC", "EDQUOT")) throw error;
    }
  }

  // ---- syncing

  /**
   * Has targets settle, writes, syncs, and deletes what nobody needs any more.
   * @throws {StorageError} and, when only a target failed, {SettleError}
   */
  async sync(): Promise<void> {
    this.#lastSyncMs = this.#o.clock.elapsedMs();
    const settleFailure = await this.#settleTargets();
    await this.#giveUpRound();
    const wantsCursors = this.#deadSegments().length > 0 && !this.#onlyUnlink();
    try {
      await this.write(wantsCursors && this.#writer === undefined);
    } catch (error) {
      if (isErrno((error as Error).cause, "ENOSPC", "EDQUOT")) await this.#makeRoom();
      throw error;
    }
    const writer = this.#writer;
    if (writer !== undefined && writer.wholeEnd > writer.segment.provenLength && !this.#onlyUnlink()) {
      if (this.#unsyncedSinceMs !== undefined || wantsCursors) await this.#timed(() => this.#syncWriter(writer));
    }
    await this.#deleteDead();
    await this.#deleteRestored();
    if (settleFailure !== undefined) throw new SettleError(settleFailure);
  }

  /** A sync round that does not stop at cursors only. @throws as `sync` */
  async syncCursors(): Promise<void> {
    await this.sync();
    const writer = this.#writer;
    if (writer !== undefined && writer.wholeEnd > writer.segment.provenLength) await this.#syncWriter(writer);
  }

  /** Has targets settle, and nothing more. @throws {SettleError} of the first that could not */
  async settle(): Promise<void> {
    this.#lastSyncMs = this.#o.clock.elapsedMs();
    const failure = await this.#settleTargets();
    await this.#deleteRestored();
    if (failure !== undefined) throw new SettleError(failure);
  }

  /** Resolves to the first error. */
  async #settleTargets(): Promise<Error | undefined> {
    const failures = await this.#timed(() => this.#queue.settle());
    for (const failure of failures) {
      // A server that does not answer takes no time from the disk of the others.
      if (failure instanceof SettleLateError) this.#syncedForMs -= failure.waitedMs;
    }
    return failures[0];
  }

  async #timed<T>(sync: () => Promise<T>): Promise<T> {
    const { clock } = this.#o;
    const startedMs = clock.elapsedMs();
    try {
      return await sync();
    } finally {
      this.#syncedForMs += clock.elapsedMs() - startedMs;
    }
  }

  async #syncWriter(writer: SegmentWriter): Promise<void> {
    const { path } = this.#folder;
    const to = writer.wholeEnd;
    const cursors = this.#written;
    try {
      await writer.sync();
    } catch (error) {
      // A second fdatasync would succeed on pages that were marked clean, and prove nothing.
      await this.#abandon();
      throw new StorageError(`The queue could not be synced in ${path}: ${(error as Error).message}`, error);
    }
    try {
      if (this.#folder.isDirty) await this.#folder.sync();
    } catch (error) {
      throw new StorageError(`The folder ${path} could not be synced: ${(error as Error).message}`, error);
    }
    writer.segment.provenLength = to;
    this.#durable = cursors;
    this.#durableHolder = writer.segment;
    this.#unsyncedSinceMs = undefined;
    this.#tail.synced(to);
  }

  // ---- deleting

  /** The oldest segments that no cursor needs any more, as the cursors stand in memory. */
  #deadSegments(cursors: Cursors = this.#queue.cursors()): readonly Segment[] {
    let lowest = this.#tail.nextOffset;
    for (const { offset } of cursors.values()) lowest = Math.min(lowest, offset);
    return this.#folder.deadBelow(lowest);
  }

  /** One file, and nothing in it is needed: it just goes, nothing is written for that. */
  #onlyUnlink(): boolean {
    return this.#folder.count === 1 && this.#unfinished === undefined && this.#deadSegments().length === 1;
  }

  async #deleteDead(): Promise<void> {
    if (this.#onlyUnlink()) {
      // Others may have gone before it, in an earlier round: were they to come back alone, so would their old cursors.
      if (this.#folder.isDirty) await this.#folder.syncRemovals();
      return this.#unlink(this.#folder.segments);
    }
    if (this.#durable === undefined) return;
    const view = this.#queue.cursors();
    for (const id of view.keys()) if (!this.#durable.has(id)) return;
    const dead = this.#deadSegments(this.#durable);
    // The file with the newest durable cursors goes last, when the others are gone for good.
    const first = dead.filter((segment) => segment !== this.#durableHolder && !segment.growing);
    if (first.length === 0) return;
    await this.#unlink(first);
    if (this.#onlyUnlink()) {
      await this.#folder.syncRemovals();
      await this.#unlink(this.#folder.segments);
    }
  }

  /** What was brought back was taken over into the tail; it has left that, so it is synced, or done for all. */
  get #hasTakenOver(): boolean {
    return this.#restored.length > 0 && this.#tail.firstOffset >= this.#found.restored.end;
  }

  async #deleteRestored(): Promise<void> {
    if (!this.#hasTakenOver) return;
    await this.#folder.removeOthers(this.#restored);
    this.#restored = [];
  }

  /**
   * On a full disk no cursor can be written before its files go. Files older than the one with the newest durable
   * cursors may go first all the same: until the cursor is written, a crash makes their absence look like a loss.
   */
  async #makeRoom(): Promise<void> {
    const holder = this.#durableHolder ?? this.#found.segments.at(-1);
    const dead = this.#deadSegments();
    const end = dead.findIndex((segment) => segment === holder || segment.growing);
    const older = end < 0 ? dead : dead.slice(0, end);
    if (older.length === 0) return;
    if (this.#durableHolder !== undefined) return this.#unlink(older);
    // A life that has synced nothing cannot know which file has the newest durable cursors. One by one, and each for
    // good before the next: so none of them can come back without those behind it.
    for (const segment of older) {
      await this.#unlink([segment]);
      await this.#folder.syncRemovals();
    }
  }

  async #unlink(segments: readonly Segment[]): Promise<void> {
    await this.#folder.remove(segments, (segment) => this.#leave(segment));
    if (this.#folder.count === 0) this.#durable = this.#durableHolder = undefined;
  }

  async #leave(segment: Segment): Promise<void> {
    const writer = this.#writer;
    if (writer !== undefined && segment === writer.segment) {
      segment.growing = false;
      this.#writer = undefined;
      this.#unsyncedSinceMs = undefined;
      await this.#closing(writer);
    }
    await this.#queue.forget(segment);
  }

  // ---- closing

  /** A block that tells that everything before it was synced, so that the next life need not repeat it. */
  async proveTail(): Promise<void> {
    const writer = this.#writer;
    if (writer === undefined || writer.segment.provenLength < writer.wholeEnd || !writer.isWhole) return;
    const { compression, clock } = this.#o;
    const body = encodeCursorChanges(this.#queue.cursors());
    const block = await packCursors(BLOCK_KINDS.cursors, body, clock.wallMs(), compression);
    const framed = frameBlocks([block], writer.segment.epoch, writer.end, writer.segment.provenLength);
    await this.#writing(() => writer.append(framed));
  }

  /** Lets go of its file. */
  async close(): Promise<void> {
    if (this.#writer !== undefined) await this.#closing(this.#writer);
  }
}
