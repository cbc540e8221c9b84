/**
 * The log: an append-only queue with one cursor per consumer. Records live in the tail in memory; what is still
 * unconfirmed when a write round comes goes to segments on disk. When rounds happen is `flush.ts`; what a folder says at
 * open is `recovery.ts`; the bytes and the rules of their order are FORMAT.md. One round at a time.
 */
import { dirname } from "node:path";
import type { Clock } from "../clock.js";
import { type Files, isErrno } from "../files.js";
import type { Encoded, LogRecord, Offset, Routing } from "../record.js";
import { newIdBase } from "../uuid.js";
import type { AcceptedAt, BlockOrigin } from "./block.js";
import type { Compression } from "./compression.js";
import { type BlockSource, LogConsumer } from "./consumer.js";
import {
  type Cursor,
  type Cursors,
  encodeCursorChanges,
  encodeSnapshot,
  isConfirmedBy,
  type Predecessor,
} from "./cursor.js";
import { BLOCK_KINDS, encodeSegmentHeader, segmentFileName, type SegmentName } from "./frame.js";
import { RangeSet } from "./ranges.js";
import { LogReader, type SegmentList } from "./reader.js";
import { type Loss, recover, type Recovered } from "./recovery.js";
import type { RecordBlock } from "./block.js";
import {
  asIs,
  frameBlocks,
  packCursors,
  type PackedBlock,
  packRecords,
  type Segment,
  SegmentWriter,
} from "./segment.js";
import { type Done, Tail, type TailBlock } from "./tail.js";

export interface LogOptions {
  readonly folder: string;
  /** 16 bytes: the identity of this log, the same in every life. */
  readonly logId: Buffer;
  readonly files: Files;
  readonly clock: Clock;
  readonly random: (bytes: number) => Buffer;
  readonly compression: Compression;
  /** Ids of those who read. One that the folder does not know starts at the present. */
  readonly consumers: readonly string[];
  /** A segment is sealed before it grows beyond this. */
  readonly segmentBytes: number;
  /** False: records stay in memory, and only what an earlier life has left on disk is looked after. */
  readonly persistent: boolean;
  /** Told of bad bytes found while reading, below which something had been safe. */
  readonly onLoss: (loss: Loss) => void;
  /** Called when the log has let go of its folder. */
  readonly onEnd?: () => void;
}

/** The disk did not do what was asked; the records are still in memory, and the next round tries again. */
export class StorageError extends Error {
  override readonly name = "StorageError";
  readonly code: string;
  constructor(message: string, cause: unknown) {
    super(message, { cause });
    this.code = (cause as NodeJS.ErrnoException).code ?? "storage";
  }
}

/** A target could not make durable what it had confirmed. The log itself is synced; that target's cursor stays behind. */
export class SettleError extends Error {
  override readonly name = "SettleError";
  readonly code: string;
  constructor(cause: Error) {
    super(`A target could not make durable what it has: ${cause.message}`, { cause });
    this.code = (cause as NodeJS.ErrnoException).code ?? "settle";
  }
}

/** Errors after which the very same bytes may be written later. After any other the segment is left for good. */
const MAY_CONTINUE = ["ENOSPC", "EDQUOT", "EAGAIN", "EINTR", "EMFILE", "ENFILE"];

/** A wall clock that was off by less was right: it merely ran a little fast or slow since. */
const WRONG_CLOCK_MS = 30_000;

interface Round {
  readonly blocks: readonly TailBlock[];
  /** When the oldest of their records was accepted: from then on runs the time in which it is synced. */
  readonly sinceMs: number;
  readonly upTo: number;
  readonly cursors: Cursors;
  readonly end: number;
}

export class Log {
  readonly #o: LogOptions;
  readonly #logId: Buffer;
  readonly #consumers = new Map<string, LogConsumer>();
  readonly #readers = new Map<LogConsumer, LogReader>();
  /** Consumers that the folder knows and nobody has opened: they keep their place. */
  readonly #orphans: Map<string, Cursor>;
  readonly #tail: Tail;
  #segments: Segment[];
  #nextSequence: number;
  #writer: SegmentWriter | undefined;
  /** A round that a full disk has not taken whole. */
  #unfinished: Round | undefined;
  #carries: boolean;
  /** Cursors as last written, as of the last sync of this life, and the file that has the latter. */
  #written: Cursors;
  #durable: Cursors | undefined;
  #durableHolder: Segment | undefined;
  /** Names made or removed since the folder was synced; true at first, for what the life before has left. */
  #folderDirty = true;
  /** What open saw of the names is durable. */
  #namesSettled = false;
  #folderMade: boolean;
  #busy: Promise<unknown> = Promise.resolve();
  readonly #confirmListeners: (() => void)[] = [];
  /** Reads for the log itself. */
  readonly #janitor: LogReader;
  #closed: Promise<void> | undefined;
  /** Its files are closed, or about to be: nothing more can be written. */
  #hasEnded = false;
  #isDropping = false;
  #trust = { askedAtMs: Number.NEGATIVE_INFINITY, is: false };
  #lastWriteMs: number;
  #lastSyncMs: number;
  #unsyncedSinceMs: number | undefined;
  #syncedForMs = 0;
  /** What open found: losses, torn bytes, files of other logs. */
  readonly found: Recovered;

  private constructor(options: LogOptions, found: Recovered) {
    this.#o = options;
    this.found = found;
    this.#logId = found.logId;
    this.#segments = [...found.segments];
    this.#nextSequence = found.nextSequence;
    this.#orphans = new Map(found.cursors);
    this.#written = found.cursors;
    this.#folderMade = found.segments.length > 0;
    this.#done = new DoneByAll(this.#consumers, this.#orphans, () => this.nextOffset);
    this.#settled = new SettledByAll(this.#consumers, this.#orphans, () => this.nextOffset);
    this.#tail = new Tail(found.nextOffset, found.carried, (wallMs) => this.#beginBlock(wallMs));
    this.#carries = found.carried.length > 0;
    this.#lastWriteMs = this.#lastSyncMs = options.clock.elapsedMs();
    this.#janitor = this.#newReader();
    for (const id of options.consumers) this.addConsumer(id);
  }

  /** @throws {NewerFormatError} and errors of the disk */
  static async open(options: LogOptions): Promise<Log> {
    const found = await recover(options.folder, options.logId, options.files, options.compression);
    const log = new Log(options, found);
    for (const consumer of log.#consumers.values()) await consumer.findOldest();
    return log;
  }

  #attach(id: string, cursor: Cursor): LogConsumer {
    const log = this;
    const reader = this.#newReader();
    const consumer = new LogConsumer(
      id,
      cursor,
      {
        get nextOffset() {
          return log.nextOffset;
        },
        acceptedAt: this.acceptedAt,
        blockAt: (offset, source) => this.#blockAt(offset, source),
        get lowestUnwritten() {
          return log.#tail.lowestUnwritten;
        },
        blockInMemory: (offset) => this.#tail.blockAt(offset),
        onConfirmed: () => this.#onConfirmed(),
        bytesFrom: (offset) => this.#bytesFrom(offset),
        makeDurable: () =>
          this.#segments.length > 0 ? this.#exclusively(() => this.#syncCursors()) : Promise.resolve(),
      },
      reader,
    );
    this.#orphans.delete(id);
    this.#consumers.set(id, consumer);
    this.#readers.set(consumer, reader);
    return consumer;
  }

  #newReader(): LogReader {
    const log = this;
    const { files, compression, onLoss } = this.#o;
    const list: SegmentList = {
      get segments() {
        return log.#segments;
      },
      endOf: (segment) => this.#endOf(segment),
      onDamage(segment, range) {
        segment.knownBad = [...segment.knownBad, range];
        onLoss({ kind: "damage", path: segment.path, from: range.from, bytes: range.to - range.from });
      },
    };
    return new LogReader(list, files, compression);
  }

  consumer(id: string): LogConsumer {
    const consumer = this.#consumers.get(id);
    if (consumer === undefined) throw new Error(`the log has no consumer ${id}`);
    return consumer;
  }

  /**
   * Adds a consumer while running: one that left its place behind goes on there, a new one starts at the present; unless
   * damage may have swallowed its place: then behind the damage.
   */
  addConsumer(id: string): LogConsumer {
    const known = this.#consumers.get(id);
    const place = this.#orphans.get(id) ?? { offset: this.#newcomerOffset, ranges: [], state: undefined };
    return known ?? this.#attach(id, place);
  }

  /** Consumers that nobody has opened in this life, with their place. */
  get orphans(): Cursors {
    return this.#orphans;
  }

  /** Gives one that nobody knows yet its place at the present, as an orphan: what comes from now on waits for it. */
  reserve(id: string): void {
    if (this.#consumers.has(id) || this.#orphans.has(id)) return;
    this.#orphans.set(id, { offset: this.#newcomerOffset, ranges: [], state: undefined });
  }

  get #newcomerOffset(): number {
    const { newcomerOffset, nextOffset } = this.found;
    return newcomerOffset < nextOffset ? newcomerOffset : this.nextOffset;
  }

  /** Closes a consumer: it keeps its place as an orphan. */
  releaseConsumer(id: string): void {
    const consumer = this.#consumers.get(id);
    if (consumer === undefined) return;
    this.#consumers.delete(id);
    this.#readers.delete(consumer);
    this.#orphans.set(id, consumer.settled);
    void consumer.close();
  }

  /** Forgets a consumer and what only it waited for. */
  removeConsumer(id: string): void {
    const consumer = this.#consumers.get(id);
    this.#consumers.delete(id);
    this.#orphans.delete(id);
    if (consumer !== undefined) {
      void consumer.close();
      this.#readers.delete(consumer);
    }
    this.#onConfirmed();
  }

  get nextOffset(): Offset {
    return this.#tail.nextOffset as Offset;
  }

  /**
   * When a record was accepted: what its block noted, or what the wall clock of today makes of it when that had been
   * wrong and can be trusted by now. The time inside an id stays what it was: an id that changed between two attempts
   * would be another record to the target, a duplicate.
   */
  readonly acceptedAt: AcceptedAt = (block, elapsedMs) => {
    const noted = block.baseTimeMs + (elapsedMs - block.baseElapsedMs);
    const { clock } = this.#o;
    if (!this.#mayCorrect(block)) return noted;
    const corrected = clock.wallMs() - (clock.elapsedMs() - elapsedMs);
    return Math.abs(corrected - noted) > WRONG_CLOCK_MS ? corrected : noted;
  };

  /** Only within one boot can the clocks of then and now be compared. */
  #mayCorrect({ bootId }: BlockOrigin): boolean {
    return this.#wallIsTrusted() && bootId.equals(this.#o.clock.bootId);
  }

  /** Asked once a second at most: reading clocks for each record would cost more than the record. */
  #wallIsTrusted(): boolean {
    const nowMs = this.#o.clock.elapsedMs();
    if (nowMs - this.#trust.askedAtMs >= 1_000) this.#trust = { askedAtMs: nowMs, is: this.#o.clock.isWallTrusted };
    return this.#trust.is;
  }

  #beginBlock(wallMs: number): { idBase: Buffer; bootId: Buffer } {
    return { idBase: newIdBase(wallMs, this.#o.random(10)), bootId: Buffer.from(this.#o.clock.bootId) };
  }

  /** Accepts one record: JSON text, or a payload as `codec.ts` encodes it. Never waits, never fails. */
  append(payload: string | Encoded, routing: Routing): Offset {
    if (this.#closed !== undefined) throw new Error("the log is closed");
    const { clock } = this.#o;
    const offset = this.#tail.append(payload, routing, clock.elapsedMs(), clock);
    for (const consumer of this.#consumers.values()) consumer.appended(offset, this.#tail.lastAcceptedAtMs);
    return offset as Offset;
  }

  /** Accepts a record of another log with the id it has. `only`: for this consumer; the others count it as done. */
  appendAs(record: LogRecord, only?: string): Offset {
    if (this.#closed !== undefined) throw new Error("the log is closed");
    const offset = this.#tail.appendAs(record, this.#o.clock.elapsedMs());
    for (const [id, consumer] of this.#consumers) {
      if (only === undefined || id === only) consumer.appended(offset, record.acceptedAtMs);
      else consumer.skip(offset, offset + 1);
    }
    return offset as Offset;
  }

  /** Bytes of records in memory that are not written yet. */
  get unwrittenBytes(): number {
    return this.#o.persistent ? this.#tail.unwrittenBytes : 0;
  }

  /** Bytes of records that are written and not synced. */
  get unsyncedBytes(): number {
    return this.#tail.unsyncedBytes;
  }

  /** Bytes of all records ever accepted: only grows. */
  get acceptedBytes(): number {
    return this.#tail.acceptedBytes;
  }

  /** Bytes that records take in memory because no sync and no confirmation has freed them yet. */
  get memoryBytes(): number {
    return this.#tail.heldBytes(this.#done.below);
  }

  /** Records that go with the process, since they are never written. */
  get fleetingRecords(): number {
    if (this.#o.persistent) return 0;
    let records = 0;
    for (const block of this.#tail.blocks) {
      if (block.replayed) continue; // of an earlier life, which has left it on disk
      for (const { offset } of block.records(() => 0)) if (!this.#done.has(offset)) records++;
    }
    return records;
  }

  /** Bytes of this log's files. */
  get diskBytes(): number {
    return this.#segments.reduce((sum, { size }) => sum + size, 0);
  }

  /** Bytes of the files that somebody still needs: the others go with the next sync. */
  get neededDiskBytes(): number {
    const { below } = this.#done;
    return this.#segments.reduce((sum, segment) => (this.#endOf(segment) > below ? sum + segment.size : sum), 0);
  }

  /** Bytes of files that nobody needs and that get nothing more: what a sync would free. */
  get freeableDiskBytes(): number {
    const { below } = this.#done;
    return this.#segments.reduce(
      (sum, segment) => (segment.growing || this.#endOf(segment) > below ? sum : sum + segment.size),
      0,
    );
  }

  /** Where the consumer stands that is furthest ahead; of those who left their place behind when nobody is there. */
  get bestOffset(): number {
    const places: Iterable<{ readonly offset: number }> =
      this.#consumers.size > 0 ? this.#consumers.values() : this.#orphans.values();
    let best = 0;
    for (const { offset } of places) best = Math.max(best, offset);
    return best;
  }

  /** More than one needs the records, so that one may be far behind the others. */
  get isShared(): boolean {
    return this.#consumers.size + this.#orphans.size > 1;
  }

  get segmentCount(): number {
    return this.#segments.length;
  }

  #bytesFrom(offset: number): number {
    let bytes = this.#tail.bytes;
    for (const segment of this.#segments) if (this.#endOf(segment) > offset) bytes += segment.size;
    return bytes;
  }

  /** When the next write round is due, in the clock's elapsed ms; undefined when there is nothing to write. */
  writeDueMs(intervalMs: number): number | undefined {
    const oldest = this.#o.persistent ? this.#tail.oldestUnwrittenMs(this.#done) : undefined;
    if (oldest !== undefined) return oldest + intervalMs;
    if (this.#segments.length > 0 && this.#cursorsMoved() && !this.#onlyUnlink()) return this.#lastWriteMs + intervalMs;
    return undefined;
  }

  /** When the next sync round is due, likewise. */
  syncDueMs(intervalMs: number): number | undefined {
    if (this.#unsyncedSinceMs !== undefined) return this.#unsyncedSinceMs + intervalMs;
    const unsettled = [...this.#consumers.values()].some(
      (consumer) => consumer.settle !== undefined && consumer.isUnsettled,
    );
    if (unsettled || this.#deadSegments().length > 0) return this.#lastSyncMs + intervalMs;
    return undefined;
  }

  // ---- reading

  async #blockAt(offset: number, source: BlockSource): Promise<RecordBlock | undefined> {
    const reader = source as LogReader;
    for (;;) {
      const below = this.#tail.firstOffset;
      if (offset < below && this.#segments.length > 0) {
        const block = await reader.blockAt(offset, below);
        if (block !== undefined) return block;
        // A sync may have moved records from memory to where we had just looked.
        if (this.#tail.firstOffset !== below) continue;
      }
      return this.#tail.blockAt(offset);
    }
  }

  #endOf(segment: Segment): number {
    if (segment.end !== undefined) return segment.end;
    // A file that repeats others begins where they may still go on: only one with new records ends those before it.
    const index = this.#segments.indexOf(segment);
    const successor = this.#segments.find(({ carries }, i) => i > index && !carries);
    return successor?.base ?? this.found.nextOffset;
  }

  // ---- confirming

  /** What everyone has confirmed, orphans included. */
  readonly #done: Done;
  /** The same, as far as their targets have settled it. */
  readonly #settled: Done;
  /** A write round is being prepared: what is confirmed meanwhile stays in memory. */
  #keepsConfirmed = false;

  #onConfirmed(): void {
    if (!this.#keepsConfirmed) this.#tail.dropDone(this.#done);
    for (const listener of this.#confirmListeners) listener();
  }

  /** Calls back after every confirmation. */
  onConfirmed(listener: () => void): void {
    this.#confirmListeners.push(listener);
  }

  /** Everyone has confirmed it, orphans included. */
  isDone(offset: number): boolean {
    return this.#done.has(offset);
  }

  /** All who read have confirmed it. While nobody reads it is not. */
  isDelivered(offset: number): boolean {
    for (const consumer of this.#consumers.values()) if (!consumer.isConfirmed(offset)) return false;
    return this.#consumers.size > 0;
  }

  /** Records that somebody still needs, at most: holes in what was lost or elided count. */
  get backlogRecords(): number {
    return this.nextOffset - this.#done.below;
  }

  /** Below this nobody needs anything. */
  get lowestOffset(): number {
    return this.#done.below;
  }

  /** Bytes of what somebody still needs, in memory and on disk. */
  get backlogBytes(): number {
    return this.#bytesFrom(this.#done.below);
  }

  /** One past the oldest piece that can be given up as a whole, a file or a block in memory; undefined when empty. */
  get oldestEnd(): number | undefined {
    return this.endOfPiece(this.#done.below);
  }

  /** The same for the piece that has the first record at or above `offset`. */
  endOfPiece(offset: number): number | undefined {
    for (const segment of this.#segments) {
      const end = this.#endOf(segment);
      if (!segment.growing && end > offset) return end;
    }
    const block = this.#tail.blockAt(offset);
    return block === undefined || block.last < offset ? undefined : block.last + 1;
  }

  /** Gives up what lies below `offset`, for all who still need it. Returns how many records that was, for all together. */
  dropBelow(offset: number): number {
    const end = Math.min(offset, this.nextOffset);
    let dropped = 0;
    this.#isDropping = true;
    for (const consumer of this.#consumers.values()) dropped += consumer.drop(consumer.offset, end);
    for (const [id, cursor] of this.#orphans) {
      if (cursor.offset >= end) continue;
      dropped += unconfirmedIn(cursor, cursor.offset, end);
      this.#orphans.set(id, { ...cursor, offset: end, ranges: cursor.ranges.filter(({ to }) => to > end) });
    }
    this.#onConfirmed();
    this.#isDropping = false;
    return dropped;
  }

  /** What `onConfirmed` tells of is being given up, not delivered. */
  get isDropping(): boolean {
    return this.#isDropping;
  }

  /**
   * Gives up the oldest block below `below` that is in memory; first of those that are in no file, since what is on disk
   * is nearly safe. Returns as `dropBelow`; undefined when there is none.
   */
  dropOldestInMemory(below = Number.POSITIVE_INFINITY): number | undefined {
    const block = this.#tail.oldestUnwritten ?? this.#tail.oldest;
    if (block === undefined || block.last >= below) return undefined;
    const { first, last } = block;
    let dropped = 0;
    this.#isDropping = true;
    for (const consumer of this.#consumers.values()) dropped += consumer.drop(first, last + 1);
    for (const cursor of this.#orphans.values()) dropped += unconfirmedIn(cursor, first, last + 1);
    this.#tail.discard(block);
    this.#onConfirmed();
    this.#isDropping = false;
    return dropped;
  }

  /** Gives up the oldest records for which `isOld` is true; for `only` this one, if given. Returns how many that was. */
  dropOld(isOld: (block: BlockOrigin, elapsedMs: number) => boolean, only?: LogConsumer): Promise<number> {
    // Beside a round it could read a file that is just being deleted.
    return this.#exclusively(() => (this.#closed === undefined ? this.#dropOld(isOld, only) : Promise.resolve(0)));
  }

  async #dropOld(isOld: (block: BlockOrigin, elapsedMs: number) => boolean, only?: LogConsumer): Promise<number> {
    let dropped = 0;
    for (;;) {
      const below = only?.offset ?? this.#done.below;
      const block = below < this.nextOffset ? await this.#blockAt(below, this.#janitor) : undefined;
      if (block === undefined) break;
      const end = block.firstFor((elapsedMs) => !isOld(block, elapsedMs));
      if (end <= below) break;
      dropped += only?.drop(below, end) ?? this.dropBelow(end);
      if (end <= block.last) break;
    }
    await this.#janitor.close();
    return dropped;
  }

  /** Cursors as they stand in the page cache, and on the disk for sure. */
  get writtenCursors(): Cursors {
    return this.#written;
  }

  get durableCursors(): Cursors | undefined {
    return this.#durable;
  }

  #cursorView(): Map<string, Cursor> {
    const view = new Map<string, Cursor>(this.#orphans);
    for (const [id, consumer] of this.#consumers) view.set(id, consumer.settled);
    return view;
  }

  #changedCursors(view: Cursors): Map<string, Cursor | null> {
    const changes = new Map<string, Cursor | null>();
    for (const [id, cursor] of view) if (this.#written.get(id) !== cursor) changes.set(id, cursor);
    for (const id of this.#written.keys()) if (!view.has(id)) changes.set(id, null);
    return changes;
  }

  #cursorsMoved(): boolean {
    return this.#changedCursors(this.#cursorView()).size > 0;
  }

  // ---- rounds

  /** One after the other: a round sees what the one before has done. */
  #exclusively<T>(round: () => Promise<T>): Promise<T> {
    const running = this.#busy.then(round);
    this.#busy = running.catch(() => undefined); // the caller hears of it; the next round only waits
    return running;
  }

  /** Writes what is unconfirmed to the page cache: it survives the death of the process. @throws {StorageError} */
  write(): Promise<void> {
    return this.#exclusively(() => this.#write(false));
  }

  /** Writes, makes it survive a power cut, and deletes what nobody needs any more. @throws {StorageError} */
  sync(): Promise<void> {
    return this.#exclusively(() => this.#sync());
  }

  /**
   * Has the targets make durable what they confirmed, and writes nothing: for a log that has nothing on disk.
   * @throws {SettleError} of the first target that could not
   */
  settle(): Promise<void> {
    return this.#exclusively(async () => {
      this.#lastSyncMs = this.#o.clock.elapsedMs();
      const failure = await this.#timed(() => this.#settleAll());
      if (failure !== undefined) throw new SettleError(failure);
    });
  }

  async #write(evenEmpty: boolean): Promise<void> {
    this.#lastWriteMs = this.#o.clock.elapsedMs();
    await this.#finishRound();
    const { compression, clock } = this.#o;
    const oldestMs = this.#tail.oldestUnwrittenMs(this.#done) ?? this.#lastWriteMs;
    const blocks = this.#o.persistent ? await this.#takeUnwritten() : [];
    const upTo = this.nextOffset;
    const view = this.#cursorView();
    const changes = this.#changedCursors(view);
    if (blocks.length === 0 && !evenEmpty) {
      if (changes.size === 0 || this.#segments.length === 0 || this.#onlyUnlink()) return;
    }
    const packed: PackedBlock[] = [];
    for (const { kept } of blocks) packed.push(await packRecords(kept, compression));
    const bytes = packed.reduce((sum, { stored }) => sum + stored.length, 0);
    if (this.#writer !== undefined && this.#writer.end + bytes > this.#o.segmentBytes) await this.#seal();
    let writer = this.#writer;
    let framed: Buffer;
    if (writer === undefined) {
      // A snapshot begins every file, so that it can speak for all.
      writer = await this.#beginSegment(blocks, upTo);
      const header = encodeSegmentHeader({ ...writer.segment, logId: this.#logId, createdMs: clock.wallMs() });
      const body = this.#snapshotBody(view);
      packed.unshift(await packCursors(BLOCK_KINDS.snapshot, body, clock.wallMs(), compression));
      framed = Buffer.concat([header, frameBlocks(packed, writer.segment.epoch, header.length, 0)]);
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
    await this.#writing(() => writer.append(framed));
    this.#roundDone();
  }

  /**
   * A target that compares what it holds with the records behind its cursor must find them all in the log: records that
   * were confirmed and never written would look like somebody else's, and those after them would be sent again. So where
   * there are such, targets settle first, and what is confirmed after that is written too.
   */
  async #takeUnwritten(): Promise<TailBlock[]> {
    if (this.#tail.oldestUnwrittenMs(this.#done) === undefined) return this.#tail.takeUnwritten(this.#done);
    this.#keepsConfirmed = true;
    try {
      for (const consumer of this.#consumers.values()) {
        if (consumer.settle === undefined || consumer.settled.offset >= this.#tail.elidedTo) continue;
        try {
          await consumer.settleNow();
        } catch {
          /* the sync round reports it; until the target can settle, a kill may have it get some records again */
        }
      }
      return this.#tail.takeUnwritten(this.#settled);
    } finally {
      this.#keepsConfirmed = false;
    }
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
      throw new StorageError(`The queue could not be written to ${this.#o.folder}: ${(error as Error).message}`, error);
    }
  }

  #snapshotBody(cursors: Cursors): Buffer {
    return encodeSnapshot({
      nextOffset: this.nextOffset,
      firstSequence: this.#segments[0]!.sequence,
      predecessor: this.#predecessor(),
      carries: this.#carries,
      cursors,
    });
  }

  #predecessor(): Predecessor | undefined {
    const previous = this.#segments.at(-2);
    if (previous === undefined) return undefined;
    return { epoch: previous.epoch, provenLength: previous.provenLength, badRanges: previous.knownBad };
  }

  async #beginSegment(blocks: readonly TailBlock[], upTo: number): Promise<SegmentWriter> {
    const { folder, files, random } = this.#o;
    try {
      if (!this.#folderMade) {
        await files.makeFolder(folder);
        await files.syncFolder(dirname(folder));
        this.#folderMade = true;
      }
      // Never create while a creation or removal is unsynced: a gap in the names would look like a deletion by hand.
      if (this.#folderDirty) await this.#syncFolder();
      const base = Math.min(blocks[0]?.kept.first ?? upTo, this.#writtenEnd());
      const name = { sequence: this.#nextSequence, base, epoch: random(4).readUInt32LE(0) };
      const segment = this.#newSegment(name);
      this.#folderDirty = true;
      const writer = await SegmentWriter.create(segment, files);
      this.#nextSequence++;
      this.#segments.push(segment);
      return (this.#writer = writer);
    } catch (error) {
      throw new StorageError(`No queue file could be made in ${folder}: ${(error as Error).message}`, error);
    }
  }

  #newSegment(name: SegmentName): Segment {
    return {
      ...name,
      path: `${this.#o.folder}/${segmentFileName(name)}`,
      carries: this.#carries,
      size: 0,
      end: name.base,
      provenLength: 0,
      judged: true,
      knownBad: [],
      growing: true,
    };
  }

  /** One past the last record in any segment: offsets from there to the next record were lost in a crash, or never used. */
  #writtenEnd(): number {
    if (this.#segments.length === 0) return this.nextOffset;
    return Math.max(...this.#segments.map((segment) => this.#endOf(segment)));
  }

  async #syncFolder(): Promise<void> {
    await this.#o.files.syncFolder(this.#o.folder);
    this.#folderDirty = false;
    this.#namesSettled = true;
  }

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

  async #closing(writer: SegmentWriter): Promise<void> {
    try {
      await writer.close();
    } catch (error) {
      // Everything in it that counts was synced before, or is written again: the handle is all that is lost.
      if (!isErrno(error, "EIO", "EBADF", "ENOSPC", "EDQUOT")) throw error;
    }
  }

  async #syncWriter(writer: SegmentWriter): Promise<void> {
    const to = writer.wholeEnd;
    const cursors = this.#written;
    try {
      await writer.sync();
    } catch (error) {
      // A second fdatasync would succeed on pages that were marked clean, and prove nothing.
      await this.#abandon();
      throw new StorageError(`The queue could not be synced in ${this.#o.folder}: ${(error as Error).message}`, error);
    }
    try {
      if (this.#folderDirty) await this.#syncFolder();
    } catch (error) {
      throw new StorageError(`The folder ${this.#o.folder} could not be synced: ${(error as Error).message}`, error);
    }
    writer.segment.provenLength = to;
    this.#durable = cursors;
    this.#durableHolder = writer.segment;
    this.#unsyncedSinceMs = undefined;
    this.#tail.synced(to);
  }

  /** A sync round that does not stop at cursors only. */
  async #syncCursors(): Promise<void> {
    await this.#sync();
    const writer = this.#writer;
    if (writer !== undefined && writer.wholeEnd > writer.segment.provenLength) await this.#syncWriter(writer);
  }

  /** How long syncs have taken so far, those of targets included, in ms. */
  get syncedForMs(): number {
    return this.#syncedForMs;
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

  async #settleAll(): Promise<Error | undefined> {
    let failure: Error | undefined;
    for (const consumer of this.#consumers.values()) {
      try {
        await consumer.settleNow();
      } catch (error) {
        failure ??= error instanceof Error ? error : new Error(String(error)); // its cursor stays where it was; the others go on
      }
    }
    return failure;
  }

  async #sync(): Promise<void> {
    this.#lastSyncMs = this.#o.clock.elapsedMs();
    const settleFailure = await this.#timed(() => this.#settleAll());
    const wantsCursors = this.#deadSegments().length > 0 && !this.#onlyUnlink();
    try {
      await this.#write(wantsCursors && this.#writer === undefined);
    } catch (error) {
      if (isErrno((error as Error).cause, "ENOSPC", "EDQUOT")) await this.#makeRoom();
      throw error;
    }
    const writer = this.#writer;
    if (writer !== undefined && writer.wholeEnd > writer.segment.provenLength && !this.#onlyUnlink()) {
      if (this.#unsyncedSinceMs !== undefined || wantsCursors) await this.#timed(() => this.#syncWriter(writer));
    }
    await this.#deleteDead();
    if (settleFailure !== undefined) throw new SettleError(settleFailure);
  }

  // ---- deleting

  #lowest(cursors: Cursors): number {
    let lowest = this.nextOffset as number;
    for (const { offset } of cursors.values()) lowest = Math.min(lowest, offset);
    return lowest;
  }

  /** The oldest segments that no cursor needs any more, as the cursors stand in memory. */
  #deadSegments(cursors: Cursors = this.#cursorView()): Segment[] {
    if (this.#segments.length === 0) return [];
    const lowest = this.#lowest(cursors);
    const alive = this.#segments.findIndex((segment) => this.#endOf(segment) > lowest);
    if (alive < 0) return this.#segments;
    // A cursor that stands in a hole in front of the next file would make what is gone look lost: it passes the hole first.
    let dead = alive;
    while (dead > 0 && this.#segments[dead]!.base > lowest) dead--;
    return this.#segments.slice(0, dead);
  }

  /** One file, and nothing in it is needed: it just goes, nothing is written for that. */
  #onlyUnlink(): boolean {
    return this.#segments.length === 1 && this.#unfinished === undefined && this.#deadSegments().length === 1;
  }

  async #deleteDead(): Promise<void> {
    if (this.#onlyUnlink()) {
      // Others may have gone before it, in an earlier round: were they to come back alone, so would their old cursors.
      if (this.#folderDirty) await this.#removing(() => this.#syncFolder());
      return this.#unlink([...this.#segments]);
    }
    if (this.#durable === undefined) return;
    const view = this.#cursorView();
    for (const id of view.keys()) if (!this.#durable.has(id)) return;
    const dead = this.#deadSegments(this.#durable);
    // The file with the newest durable cursors goes last, when the others are gone for good.
    const first = dead.filter((segment) => segment !== this.#durableHolder && !segment.growing);
    if (first.length === 0) return;
    await this.#unlink(first);
    if (this.#onlyUnlink()) {
      await this.#removing(() => this.#syncFolder());
      await this.#unlink([...this.#segments]);
    }
  }

  /**
   * On a full disk no cursor can be written before its files go. Files older than the one with the newest durable
   * cursors may go first all the same: until the cursor is written, a crash makes their absence look like a loss.
   */
  async #makeRoom(): Promise<void> {
    const holder = this.#durableHolder ?? this.found.segments.at(-1);
    const dead = this.#deadSegments();
    const end = dead.findIndex((segment) => segment === holder || segment.growing);
    const older = end < 0 ? dead : dead.slice(0, end);
    if (older.length === 0) return;
    if (this.#durableHolder !== undefined) return this.#unlink(older);
    // A life that has synced nothing cannot know which file has the newest durable cursors. One by one, and each for
    // good before the next: so none of them can come back without those behind it.
    for (const segment of older) {
      await this.#unlink([segment]);
      await this.#removing(() => this.#syncFolder());
    }
  }

  async #unlink(segments: readonly Segment[]): Promise<void> {
    await this.#removing(async () => {
      // What open saw of the names becomes durable before anything follows from it.
      if (!this.#namesSettled) await this.#syncFolder();
      for (const segment of segments) {
        if (segment === this.#writer?.segment) {
          const writer = this.#writer;
          segment.growing = false;
          this.#writer = undefined;
          this.#unsyncedSinceMs = undefined;
          await this.#closing(writer);
        }
        for (const reader of [this.#janitor, ...this.#readers.values()]) await reader.forget(segment);
        await this.#o.files.remove(segment.path).catch((error: unknown) => {
          if (!isErrno(error, "ENOENT")) throw error; // deleted by hand: nothing left to delete
        });
        this.#folderDirty = true;
        this.#segments = this.#segments.filter((other) => other !== segment);
      }
      if (this.#segments.length === 0) this.#durable = this.#durableHolder = undefined;
    });
  }

  async #removing(remove: () => Promise<void>): Promise<void> {
    try {
      await remove();
    } catch (error) {
      throw new StorageError(`Queue files could not be removed: ${(error as Error).message}`, error);
    }
  }

  /**
   * Writes what is unwritten at once, blocking: for a process that is about to end by itself. Not compressed, not synced.
   * @throws errors of the disk
   */
  writeNow(): void {
    if (!this.#o.persistent || this.#hasEnded) return;
    // The page cache outlives the process, so what targets have confirmed counts, though they had no time to sync it.
    for (const consumer of this.#consumers.values()) consumer.presumeSettled();
    const blocks = this.#tail.takeUnwritten(this.#done);
    if (blocks.length === 0) return;
    const { clock } = this.#o;
    const packed = blocks.map(({ kept }) => asIs.records(kept));
    const view = this.#cursorView();
    const writer = this.#writer ?? this.#beginSegmentNow(blocks[0]!.kept.first);
    if (writer.end === 0) {
      const header = encodeSegmentHeader({ ...writer.segment, logId: this.#logId, createdMs: clock.wallMs() });
      packed.unshift(asIs.cursors(BLOCK_KINDS.snapshot, this.#snapshotBody(view), clock.wallMs()));
      writer.appendNow(Buffer.concat([header, frameBlocks(packed, writer.segment.epoch, header.length, 0)]));
      return;
    }
    packed.unshift(asIs.cursors(BLOCK_KINDS.cursors, encodeCursorChanges(view), clock.wallMs()));
    writer.appendNow(frameBlocks(packed, writer.segment.epoch, writer.end, writer.segment.provenLength));
  }

  #beginSegmentNow(first: number): SegmentWriter {
    const { folder, files, random } = this.#o;
    if (!this.#folderMade) files.makeFolderNow(folder);
    const name = {
      sequence: this.#nextSequence++,
      base: Math.min(first, this.#writtenEnd()),
      epoch: random(4).readUInt32LE(0),
    };
    const writer = SegmentWriter.createNow(this.#newSegment(name), files);
    this.#segments.push(writer.segment);
    return writer;
  }

  // ---- closing

  /** Writes, syncs, and proves it with a last block. Safe to call twice; nothing is accepted afterwards. */
  close(): Promise<void> {
    return (this.#closed ??= this.#exclusively(async () => {
      try {
        await this.#sync();
        if (this.#writer !== undefined) await this.#proveTail(this.#writer);
      } finally {
        await this.#letGo();
      }
    }));
  }

  /** Lets go without writing anything: for a log that was only looked into. */
  abandon(): Promise<void> {
    return (this.#closed ??= this.#exclusively(() => this.#letGo()));
  }

  async #letGo(): Promise<void> {
    this.#hasEnded = true;
    try {
      for (const consumer of this.#consumers.values()) await consumer.close();
      if (this.#writer !== undefined) await this.#closing(this.#writer);
    } finally {
      this.#o.onEnd?.();
    }
  }

  /** A block that tells that everything before it was synced, so that the next life need not repeat it. */
  async #proveTail(writer: SegmentWriter): Promise<void> {
    if (writer.segment.provenLength < writer.wholeEnd || !writer.isWhole) return;
    const { compression, clock } = this.#o;
    const body = encodeCursorChanges(this.#cursorView());
    const block = await packCursors(BLOCK_KINDS.cursors, body, clock.wallMs(), compression);
    const framed = frameBlocks([block], writer.segment.epoch, writer.end, writer.segment.provenLength);
    await this.#writing(() => writer.append(framed));
  }
}

function unconfirmedIn({ offset, ranges }: Cursor, from: number, to: number): number {
  const start = Math.max(from, offset);
  return start >= to ? 0 : to - start - RangeSet.of(ranges).countIn(start, to);
}

/** Confirmed by every consumer, and below the place of each orphan. */
class DoneByAll implements Done {
  readonly #consumers: ReadonlyMap<string, LogConsumer>;
  readonly #orphans: Cursors;
  readonly #next: () => number;

  constructor(consumers: ReadonlyMap<string, LogConsumer>, orphans: Cursors, next: () => number) {
    this.#consumers = consumers;
    this.#orphans = orphans;
    this.#next = next;
  }

  get below(): number {
    let below = this.#next();
    for (const { offset } of this.#consumers.values()) below = Math.min(below, offset);
    for (const { offset } of this.#orphans.values()) below = Math.min(below, offset);
    return below;
  }

  has(offset: number): boolean {
    for (const consumer of this.#consumers.values()) if (!consumer.isConfirmed(offset)) return false;
    for (const cursor of this.#orphans.values()) if (!isConfirmedBy(cursor, offset)) return false;
    return true;
  }

  mayHave(from: number, to: number): boolean {
    for (const consumer of this.#consumers.values()) if (!consumer.hasConfirmedIn(from, to)) return false;
    for (const { offset, ranges } of this.#orphans.values()) if (offset <= from && ranges.length === 0) return false;
    return true;
  }
}

/** The same, counting of each consumer only what its target has made durable. */
class SettledByAll extends DoneByAll {
  readonly #consumers: ReadonlyMap<string, LogConsumer>;

  constructor(consumers: ReadonlyMap<string, LogConsumer>, orphans: Cursors, next: () => number) {
    super(consumers, orphans, next);
    this.#consumers = consumers;
  }

  override get below(): number {
    let below = super.below;
    for (const { settled } of this.#consumers.values()) below = Math.min(below, settled.offset);
    return below;
  }

  override has(offset: number): boolean {
    if (!super.has(offset)) return false;
    for (const consumer of this.#consumers.values()) {
      if (consumer.settle !== undefined && !isConfirmedBy(consumer.settled, offset)) return false;
    }
    return true;
  }
}
