/**
 * The log: an append-only queue with one cursor per consumer. Records live in the tail in memory; what is still
 * unconfirmed when a write round comes goes to segments on disk. When rounds happen is `flush.ts`, what a round does
 * `store.ts`; what a folder says at open is `recovery.ts`; who reads is `readership.ts`. One round at a time.
 */
import type { Clock } from "../clock.js";
import type { Files } from "../files.js";
import type { Encoded, LogRecord, Offset, Routing } from "../record.js";
import { newIdBase } from "../uuid.js";
import { timeOf } from "./accepted-at.js";
import type { RecordBlock } from "./format/block.js";
import type { BlockOrigin } from "./format/block-record.js";
import type { Compression } from "./format/compression.js";
import type { BlockSource, LogConsumer } from "./consumer/consumer.js";
import type { Cursors } from "./format/cursor.js";
import type { LogReader } from "./segments/reader.js";
import { Readership } from "./readership.js";
import { type Loss, recover, type Recovered } from "./segments/recovery.js";
import { SegmentFolder } from "./segments/segment-folder.js";
import { Store } from "./store.js";
import { Tail, type TailBlock } from "./tail.js";

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
  /** True: somebody waits for each record to be synced, so blocks are packed as they fill. Default false. */
  readonly packsAhead?: boolean;
  /** Told of bad bytes found while reading, below which something had been safe. Their file stays until it is done. */
  readonly onLoss: (loss: Loss) => Promise<void>;
  /** Called when the log has let go of its folder. */
  readonly onEnd?: () => void;
}

export class Log {
  readonly #o: LogOptions;
  readonly #tail: Tail;
  readonly #folder: SegmentFolder;
  readonly #store: Store;
  readonly #readership: Readership;
  /** Reads for the log itself. */
  readonly #janitor: LogReader;
  readonly #confirmListeners: (() => void)[] = [];
  /** A write round is being prepared: what is confirmed meanwhile stays in memory. */
  #keepsConfirmed = false;
  #isDropping = false;
  #busy: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;
  /** Its files are closed, or about to be: nothing more can be written. */
  #hasEnded = false;
  /** What open found: losses, torn bytes, files of other logs. */
  readonly found: Recovered;

  private constructor(options: LogOptions, found: Recovered) {
    const log = this;
    const { clock, random, persistent } = options;
    this.#o = options;
    this.found = found;
    const tail = new Tail(
      found.nextOffset,
      found.carried,
      (wallMs) => ({ idBase: newIdBase(wallMs, random(10)), bootId: Buffer.from(clock.bootId) }),
      options.packsAhead === true ? (entry) => this.#store.packAhead(entry) : undefined,
    );
    const folder = new SegmentFolder(options, found);
    const readership = new Readership(
      found.cursors,
      {
        get nextOffset() {
          return tail.nextOffset;
        },
        timeOf: (block) => timeOf(block, clock),
        blockAt: (offset, source) => this.#blockAt(offset, source),
        get lowestUnwritten() {
          return tail.lowestUnwritten;
        },
        blockInMemory: (offset) => tail.blockAt(offset),
        onConfirmed: () => this.#onConfirmed(),
        bytesFrom: (offset) => this.#bytesFrom(offset),
        makeDurable: () => this.#makeDurable(),
      },
      () => folder.newReader(),
    );
    this.#tail = tail;
    this.#folder = folder;
    this.#readership = readership;
    this.#janitor = folder.newReader();
    this.#store = new Store(options, found, tail, folder, {
      cursors: () => readership.cursors(),
      oldestUnwrittenMs: () => (persistent ? tail.oldestUnwrittenMs(readership.done) : undefined),
      takeUnwritten: () => (persistent ? this.#takeUnwritten() : Promise.resolve([])),
      get isUnsettled() {
        return readership.isUnsettled;
      },
      settle: () => readership.settle(),
      async forget(segment) {
        await log.#janitor.forget(segment);
        await readership.forget(segment);
      },
    });
    for (const id of options.consumers) this.addConsumer(id);
  }

  /** @throws {NewerFormatError} and errors of the disk */
  static async open(options: LogOptions): Promise<Log> {
    const found = await recover(options.folder, options.logId, options.files, options.compression);
    const log = new Log(options, found);
    try {
      for (const consumer of log.#readership.consumers.values()) await consumer.findOldest();
    } catch (error) {
      // It is tried again every few seconds: descriptors that stayed open would be all there are in an hour or two.
      await log.#readership.close().catch(() => undefined); // the first error is the one to tell
      throw error;
    }
    return log;
  }

  // ---- who reads

  consumer(id: string): LogConsumer {
    return this.#readership.get(id);
  }

  /**
   * Adds a consumer while running: one that left its place behind goes on there, a new one starts at the present; unless
   * damage may have swallowed its place: then behind the damage.
   */
  addConsumer(id: string): LogConsumer {
    return this.#readership.open(id, this.#newcomerOffset);
  }

  /** Consumers that nobody has opened in this life, with their place. */
  get orphans(): Cursors {
    return this.#readership.orphans;
  }

  /** Gives one that nobody knows yet its place at the present, as an orphan: what comes from now on waits for it. */
  reserve(id: string): void {
    this.#readership.reserve(id, this.#newcomerOffset);
  }

  get #newcomerOffset(): number {
    const { newcomerOffset, nextOffset } = this.found;
    if (newcomerOffset >= nextOffset) return this.nextOffset;
    // What has been deleted since then waited for nobody: who began there would seem to miss it.
    const left = this.#folder.segments.map(({ base }) => base);
    return Math.max(newcomerOffset, Math.min(...left, this.#tail.firstOffset, this.nextOffset));
  }

  /** Closes a consumer: it keeps its place as an orphan. */
  releaseConsumer(id: string): void {
    this.#readership.release(id);
  }

  /** Forgets a consumer and what only it waited for. */
  removeConsumer(id: string): void {
    this.#readership.remove(id);
    this.#onConfirmed();
  }

  // ---- accepting

  get nextOffset(): Offset {
    return this.#tail.nextOffset as Offset;
  }

  /** Accepts one record: JSON text, or a payload as `codec.ts` encodes it. Never waits, never fails. */
  append(payload: string | Encoded, routing: Routing): Offset {
    if (this.#closed !== undefined) throw new Error("the log is closed");
    const { clock } = this.#o;
    const offset = this.#tail.append(payload, routing, clock.elapsedMs(), clock);
    for (const consumer of this.#readership.consumers.values()) consumer.appended(offset, this.#tail.lastAcceptedAtMs);
    return offset as Offset;
  }

  /** Accepts a record of another log with the id it has. `only`: for this consumer; the others count it as done. */
  appendAs(record: LogRecord, only?: string): Offset {
    if (this.#closed !== undefined) throw new Error("the log is closed");
    const offset = this.#tail.appendAs(record, this.#o.clock.elapsedMs());
    for (const [id, consumer] of this.#readership.consumers) {
      if (only === undefined || id === only) consumer.appended(offset, record.acceptedAtMs);
      else consumer.skip(offset, offset + 1);
    }
    return offset as Offset;
  }

  // ---- how much there is

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
    return this.#tail.heldBytes(this.lowestOffset);
  }

  /** Records that go with the process, since they are never written. */
  get fleetingRecords(): number {
    if (this.#o.persistent) return 0;
    let records = 0;
    for (const block of this.#tail.blocks) {
      if (block.replayed) continue; // of an earlier life, which has left it on disk
      for (const { offset } of block.records()) if (!this.isDone(offset)) records++;
    }
    return records;
  }

  /** Bytes of this log's files. */
  get diskBytes(): number {
    return this.#folder.bytes;
  }

  /** Bytes of the files that somebody still needs: the others go with the next sync. */
  get neededDiskBytes(): number {
    return this.#folder.bytesFrom(this.lowestOffset);
  }

  /** Bytes of files that nobody needs and that get nothing more: what a sync would free. */
  get freeableDiskBytes(): number {
    return this.#folder.bytesFreeableBelow(this.lowestOffset);
  }

  get segmentCount(): number {
    return this.#folder.count;
  }

  /** Records that somebody still needs, at most: holes in what was lost or elided count. */
  get backlogRecords(): number {
    return this.nextOffset - this.lowestOffset;
  }

  /** Bytes of what somebody still needs, in memory and on disk. */
  get backlogBytes(): number {
    return this.#bytesFrom(this.lowestOffset);
  }

  #bytesFrom(offset: number): number {
    return this.#tail.bytes + this.#folder.bytesFrom(offset);
  }

  // ---- reading

  async #blockAt(offset: number, source: BlockSource): Promise<RecordBlock | undefined> {
    const reader = source as LogReader;
    for (;;) {
      const below = this.#tail.firstOffset;
      if (offset < below && this.segmentCount > 0) {
        const block = await reader.blockAt(offset, below);
        if (block !== undefined) return block;
        // A sync may have moved records from memory to where we had just looked.
        if (this.#tail.firstOffset !== below) continue;
      }
      return this.#tail.blockAt(offset);
    }
  }

  // ---- confirming

  #onConfirmed(): void {
    if (!this.#keepsConfirmed) this.#tail.dropDone(this.#readership);
    for (const listener of this.#confirmListeners) listener();
  }

  /** Calls back after every confirmation. */
  onConfirmed(listener: () => void): void {
    this.#confirmListeners.push(listener);
  }

  /** Everyone has confirmed it, orphans included. */
  isDone(offset: number): boolean {
    return this.#readership.done.has(offset);
  }

  /** All who read have confirmed it. While nobody reads it is not. */
  isDelivered(offset: number): boolean {
    return this.#readership.isDelivered(offset);
  }

  /** Below this nobody needs anything. */
  get lowestOffset(): number {
    return this.#readership.done.below;
  }

  /** Where the consumer stands that is furthest ahead; of those who left their place behind when nobody is there. */
  get bestOffset(): number {
    return this.#readership.best;
  }

  /** More than one needs the records, so that one may be far behind the others. */
  get isShared(): boolean {
    return this.#readership.size > 1;
  }

  // ---- giving up

  /** One past the oldest piece that can be given up as a whole, a file or a block in memory; undefined when empty. */
  get oldestEnd(): number | undefined {
    return this.endOfPiece(this.lowestOffset);
  }

  /** The same for the piece that has the first record at or above `offset`. */
  endOfPiece(offset: number): number | undefined {
    const end = this.#folder.endOfPiece(offset);
    if (end !== undefined) return end;
    const block = this.#tail.blockAt(offset);
    return block === undefined || block.last < offset ? undefined : block.last + 1;
  }

  /** What `onConfirmed` tells of is being given up, not delivered. */
  get isDropping(): boolean {
    return this.#isDropping;
  }

  #dropping(drop: () => number): number {
    this.#isDropping = true;
    const dropped = drop();
    this.#onConfirmed();
    this.#isDropping = false;
    return dropped;
  }

  /** Gives up what lies below `offset`, for all who still need it. Returns how many records that was, for all together. */
  dropBelow(offset: number): number {
    return this.#dropping(() => this.#readership.dropBelow(Math.min(offset, this.nextOffset)));
  }

  /**
   * Gives up the oldest block below `below` that is in memory; first of those that are in no file, since what is on disk
   * is nearly safe. Returns as `dropBelow`; undefined when there is none.
   */
  dropOldestInMemory(below = Number.POSITIVE_INFINITY): number | undefined {
    const block = this.#tail.oldestUnwritten ?? this.#tail.oldest;
    if (block === undefined || block.last >= below) return undefined;
    const { first, last } = block;
    return this.#dropping(() => {
      const dropped = this.#readership.dropFromMemory(first, last + 1);
      this.#tail.discard(block);
      return dropped;
    });
  }

  /** Gives up the oldest records for which `isOld` is true; for `only` this one, if given. Returns how many that was. */
  dropOld(isOld: (block: BlockOrigin, elapsedMs: number) => boolean, only?: LogConsumer): Promise<number> {
    // Beside a round it could read a file that is just being deleted.
    return this.#exclusively(() => (this.#closed === undefined ? this.#dropOld(isOld, only) : Promise.resolve(0)));
  }

  async #dropOld(isOld: (block: BlockOrigin, elapsedMs: number) => boolean, only?: LogConsumer): Promise<number> {
    let dropped = 0;
    try {
      for (;;) {
        const below = only?.offset ?? this.lowestOffset;
        const block = below < this.nextOffset ? await this.#blockAt(below, this.#janitor) : undefined;
        if (block === undefined) break;
        const end = block.firstFor((elapsedMs) => !isOld(block, elapsedMs));
        if (end <= below) break;
        dropped += only?.drop(below, end) ?? this.dropBelow(end);
        if (end <= block.last) break;
      }
    } finally {
      await this.#janitor.rest();
    }
    await this.#findOldestAgain();
    return dropped;
  }

  /** For those whose oldest record was given up: what waits now is younger, and nobody has read it yet. */
  async #findOldestAgain(): Promise<void> {
    const unknowing = [...this.#readership.consumers.values()].filter((consumer) => consumer.isOldestUnknown);
    if (unknowing.length === 0) return;
    try {
      for (const consumer of unknowing) await consumer.findOldestAgain(this.#janitor);
    } catch {
      // It is looked up again with the next round. What cannot be read is told by whoever wants the record itself.
    } finally {
      await this.#janitor.rest();
    }
  }

  // ---- rounds

  /** When the next write round is due, in the clock's elapsed ms; undefined when there is nothing to write. */
  writeDueMs(intervalMs: number): number | undefined {
    return this.#store.writeDueMs(intervalMs);
  }

  /** When the next sync round is due, likewise. */
  syncDueMs(intervalMs: number): number | undefined {
    return this.#store.syncDueMs(intervalMs);
  }

  /** One after the other: a round sees what the one before has done. */
  #exclusively<T>(round: () => Promise<T>): Promise<T> {
    const running = this.#busy.then(round);
    this.#busy = running.catch(() => undefined); // the caller hears of it; the next round only waits
    return running;
  }

  /**
   * A target that has hung through a close still stores its place when it goes on: by then the folder may be somebody
   * else's, and so may be the number of our descriptor.
   */
  #round(work: () => Promise<void>): Promise<void> {
    return this.#exclusively(() => (this.#hasEnded ? Promise.reject(new Error("the log is closed")) : work()));
  }

  /** Writes what is unconfirmed to the page cache: it survives the death of the process. @throws {StorageError} */
  write(): Promise<void> {
    return this.#round(() => this.#store.write());
  }

  /**
   * Writes, makes it survive a power cut, and deletes what nobody needs any more.
   * @throws {StorageError} and, when only a target failed, {SettleError}
   */
  sync(): Promise<void> {
    return this.#round(async () => {
      await this.#store.sync();
      await this.#findOldestAgain();
    });
  }

  /** Writes the cursors down and syncs them, where there are files that they could be needed for. */
  #makeDurable(): Promise<void> {
    const isNeeded = this.segmentCount > 0 || this.#hasEnded;
    return isNeeded ? this.#round(() => this.#store.syncCursors()) : Promise.resolve();
  }

  /**
   * Has the targets make durable what they confirmed, and writes nothing: for a log that has nothing on disk.
   * @throws {SettleError} of the first target that could not
   */
  settle(): Promise<void> {
    return this.#round(() => this.#store.settle());
  }

  /**
   * A target that compares what it holds with the records behind its cursor must find them all in the log: records that
   * were confirmed and never written would look like somebody else's, and those after them would be sent again. So where
   * there are such, targets settle first, and what is confirmed after that is written too.
   */
  async #takeUnwritten(): Promise<TailBlock[]> {
    const tail = this.#tail;
    const { done, settled } = this.#readership;
    if (tail.oldestUnwrittenMs(done) === undefined) return tail.takeUnwritten(this.#readership);
    this.#keepsConfirmed = true;
    try {
      // The sync round reports who cannot; until the target can settle, a kill may have it get some records again.
      await this.#readership.settle(
        (consumer) => consumer.settle !== undefined && consumer.settled.offset < tail.elidedTo,
      );
      return tail.takeUnwritten(this.#readership, settled);
    } finally {
      this.#keepsConfirmed = false;
    }
  }

  /**
   * Writes what is unwritten at once, blocking: for a process that is about to end by itself. Not compressed, not synced.
   * @throws errors of the disk
   */
  writeNow(): void {
    if (!this.#o.persistent || this.#hasEnded) return;
    // The page cache outlives the process, so what targets have confirmed counts, though they had no time to sync it.
    this.#readership.presumeSettled();
    this.#store.writeNow(this.#tail.takeUnwritten(this.#readership));
  }

  /** How long syncs have taken so far, those of targets included, in ms. */
  get syncedForMs(): number {
    return this.#store.syncedForMs;
  }

  /** Cursors as they stand in the page cache, and on the disk for sure. */
  get writtenCursors(): Cursors {
    return this.#store.writtenCursors;
  }

  get durableCursors(): Cursors | undefined {
    return this.#store.durableCursors;
  }

  // ---- closing

  /** Writes, syncs, and proves it with a last block. Safe to call twice; nothing is accepted afterwards. */
  close(): Promise<void> {
    return (this.#closed ??= this.#exclusively(async () => {
      try {
        await this.#store.sync();
        await this.#store.proveTail();
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
      await this.#readership.close();
      await this.#store.close();
    } finally {
      this.#o.onEnd?.();
    }
  }
}
