/**
 * One reader of a log: hands out records in order, remembers what is taken and what is confirmed, and says how far it
 * is. Where records come from (memory, then disk) is asked of the log; writing cursors down is the log's business too.
 */
import type { Backlog, RecordSource, TakeLimits } from "../../record-source.js";
import type { LogRecord, Offset, Routing } from "../../record.js";
import type { ReadPosition, RecordBlock } from "../format/block.js";
import type { BlockOrigin, BlockRecord, BlockTime } from "../format/block-record.js";
import { Ages } from "./ages.js";
import type { Cursor } from "../format/cursor.js";
import { PassedOver } from "./passed-over.js";
import { Progress } from "./progress.js";
import { RangeSet } from "../format/ranges.js";
import { TakenBatch } from "./taken-batch.js";

/**
 * Confirmed ranges above the cursor that are kept at most: each costs a few bytes in every cursor block. A consumer that
 * would need more stops reading ahead until its lowest records are confirmed.
 */
export const MAX_CONFIRMED_RANGES = 1_000;

/** New records are taken before older ones while there are fewer ranges than this: it is those that fill the gaps. */
const MAX_RANGES_FOR_LIVE = MAX_CONFIRMED_RANGES / 2;

/** What a consumer needs of its log. */
export interface ConsumerLog {
  readonly nextOffset: number;
  timeOf(block: BlockOrigin): BlockTime;
  /**
   * The block with the lowest record at or above `offset`. Undefined when there is none yet.
   * `reader` keeps what is needed to go on from there.
   */
  blockAt(offset: number, reader: BlockSource): Promise<RecordBlock | undefined>;
  /** The lowest offset that is in memory and in no file; infinite when there is none. */
  readonly lowestUnwritten: number;
  /** As `blockAt`, of what is in memory. */
  blockInMemory(offset: number): RecordBlock | undefined;
  onConfirmed(consumer: LogConsumer): void;
  /** Writes the cursors down and syncs them, when there is anything on disk that they could be needed for. */
  makeDurable(): Promise<void>;
  /** Bytes of what lies at or above `offset`, in memory and on disk. */
  bytesFrom(offset: number): number;
}

/** The open files of one reader; the log fills it. */
export interface BlockSource {
  close(): Promise<void>;
}

export class LogConsumer implements RecordSource {
  readonly id: string;
  readonly #log: ConsumerLog;
  readonly #source: BlockSource;

  readonly #progress: Progress;
  readonly #taken = new RangeSet();
  /** What this reader sees of a routing; undefined: all of it. */
  view: ((routing: Routing) => Routing) | undefined;

  /** Next offset to look at for `take`. */
  #head: number;
  #block: RecordBlock | undefined;
  #position: ReadPosition | undefined;
  #held: BlockRecord | undefined;
  /** How far new records have been taken before older ones, and where that is in its block. */
  #liveFrom = 0;
  #liveBlock: RecordBlock | undefined;
  #livePosition: ReadPosition | undefined;
  readonly #passedOver = new PassedOver();
  #waiting: (() => void) | undefined;
  /** Counts what may have made a record available: one that came while `take` looked must not be slept through. */
  #changes = 0;
  #taking = false;
  #isAtCursor = false;
  readonly #listeners = new Set<() => void>();
  readonly #ages = new Ages();
  #dropped = 0;

  constructor(id: string, cursor: Cursor, log: ConsumerLog, source: BlockSource) {
    this.id = id;
    this.#log = log;
    this.#source = source;
    this.#progress = new Progress(cursor);
    this.#head = cursor.offset;
  }

  get offset(): Offset {
    return this.#progress.offset as Offset;
  }

  get state(): Uint8Array | undefined {
    return this.#progress.state;
  }

  isConfirmed(offset: number): boolean {
    return this.#progress.isConfirmed(offset);
  }

  hasConfirmedIn(from: number, to: number): boolean {
    return this.#progress.hasConfirmedIn(from, to);
  }

  /** What makes durable what the target has, before it counts; undefined when the target has no such step. */
  get settle(): (() => Promise<void>) | undefined {
    return this.#progress.settle;
  }

  set settle(settle: (() => Promise<void>) | undefined) {
    this.#progress.settle = settle;
  }

  /** True when something was confirmed that is not settled yet, as far as is told. */
  get isUnsettled(): boolean {
    return this.#progress.isUnsettled;
  }

  /** How far this consumer is for sure: what a cursor block says of it. */
  get settled(): Cursor {
    return this.#progress.settled;
  }

  /** Counts what is confirmed as settled. For a process that is about to end, and has no time to settle. */
  presumeSettled(): void {
    this.#progress.presumeSettled();
  }

  /** Has the target make durable what it confirmed, and only then counts it. @throws when it cannot, or is too late */
  settleNow(): Promise<void> {
    return this.#progress.settleNow();
  }

  get untaken(): number {
    return Math.max(0, this.#log.nextOffset - this.#head);
  }

  /** What has not been on disk yet, where older records wait. */
  get untakenLive(): number {
    return Math.max(0, this.#log.nextOffset - this.#liveStart);
  }

  get #liveStart(): number {
    return Math.max(
      this.#log.lowestUnwritten,
      this.#liveFrom,
      this.#held === undefined ? this.#head : this.#held.offset + 1,
    );
  }

  async take(limits: TakeLimits, signal: AbortSignal): Promise<LogRecord[]> {
    if (this.#taking) throw new Error("take is called once at a time");
    this.#taking = true;
    try {
      for (;;) {
        signal.throwIfAborted();
        const batch = new TakenBatch(limits);
        const changes = this.#changes;
        if (limits.live === true && this.#liveStart > this.#head) this.#takeLive(batch);
        if (batch.records.length > 0) return batch.records;
        await this.#fill(batch);
        const first = batch.records[0];
        if (first !== undefined) {
          this.#ages.taken(first);
          return batch.records;
        }
        signal.throwIfAborted();
        if (this.#changes === changes) await this.#untilChanged(signal);
      }
    } finally {
      this.#taking = false;
    }
  }

  /** Takes what is new: the older ones stay, and are taken when their turn comes. Reads no file. */
  #takeLive(batch: TakenBatch): void {
    while (!batch.isFull && this.#progress.rangeCount < MAX_RANGES_FOR_LIVE) {
      const start = this.#liveStart;
      if (this.#liveBlock === undefined || start !== this.#liveFrom) {
        const block = start < this.#log.nextOffset ? this.#log.blockInMemory(start) : undefined;
        if (block === undefined) return;
        this.#liveBlock = block;
        this.#livePosition = block.start();
      }
      this.#liveFrom = start;
      if (!this.#takeFromLiveBlock(batch, this.#liveBlock, this.#livePosition!)) return;
      // Read to its end. The next look at it begins anew where something was appended.
      const next = this.#log.blockInMemory(this.#liveFrom);
      if (next === undefined || next === this.#liveBlock) return;
      this.#liveBlock = undefined;
    }
  }

  /** False: there is more, which does not fit. */
  #takeFromLiveBlock(batch: TakenBatch, block: RecordBlock, position: ReadPosition): boolean {
    position.time = this.#log.timeOf(block);
    while (!batch.isFull) {
      // It covers no hole before it: what is older may be in there.
      const before = { ...position };
      const record = this.#read(block, position, Math.max(this.#liveFrom, position.offset + 1));
      if (record === undefined) return true;
      const { offset } = record;
      if (offset < this.#liveFrom) continue;
      if (!this.#taken.has(offset) && !this.isConfirmed(offset) && !batch.skips(record)) {
        if (!batch.add(record)) {
          Object.assign(position, before);
          return false;
        }
        this.#taken.add(record.coversFrom, offset + 1);
      }
      this.#liveFrom = offset + 1;
    }
    return false;
  }

  /** Reads on until the batch is full, even when the take is called off: what is there comes soon. */
  async #fill(batch: TakenBatch): Promise<void> {
    // With nothing under way below, it is what comes next that makes ranges fewer.
    this.#isAtCursor = this.#head <= this.offset;
    this.#passedOver.takeInto(batch, ({ coversFrom, offset }) => this.#taken.add(coversFrom, offset + 1));
    try {
      while (!batch.isFull && this.#mayReadAhead()) {
        this.#takeFromBlock(batch);
        if (batch.isFull || !(await this.#nextBlock())) break;
      }
    } catch (error) {
      this.release(batch.records);
      throw error;
    }
  }

  /** Takes what the block at hand still has. */
  #takeFromBlock(batch: TakenBatch): void {
    if (this.#block !== undefined) this.#position!.time = this.#log.timeOf(this.#block);
    let from = -1;
    let to = -1;
    while (!batch.isFull && this.#mayReadAhead()) {
      const record = this.#nextInBlock();
      if (record === undefined) break;
      if (batch.skips(record)) {
        this.#passedOver.add(record);
        continue;
      }
      if (!batch.add(record)) {
        this.#hold(record);
        break;
      }
      // One range for a run of records, not one call for each.
      if (record.coversFrom !== to) {
        this.#taken.add(from, to);
        from = record.coversFrom;
      }
      to = record.offset + 1;
    }
    this.#taken.add(from, to);
  }

  /** Keeps a record that was read but does not fit, as the next to be taken. */
  #hold(record: BlockRecord): void {
    this.#held = record;
    this.#head = record.coversFrom;
  }

  #mayReadAhead(): boolean {
    return (this.#progress.rangeCount < MAX_CONFIRMED_RANGES || this.#isAtCursor) && !this.#passedOver.isFull;
  }

  /** Goes to the block that has the next record; false when there is none yet. */
  async #nextBlock(): Promise<boolean> {
    while (this.#head < this.#log.nextOffset) {
      const head = this.#head;
      const next = this.#log.nextOffset;
      const block = await this.#log.blockAt(head, this.#source);
      if (head !== this.#head) continue; // something was given back meanwhile: look again from there
      if (block === this.#block && block !== undefined) return false; // read to its end: nothing was appended since
      if (block === undefined) {
        // Offsets without records, at the end: nothing will ever come of them.
        this.#head = next;
        this.#passHole(head, next);
        return false;
      }
      this.#block = block;
      this.#position = block.start();
      return true;
    }
    return false;
  }

  /** The next record of the block at hand that is neither taken nor confirmed. */
  #nextInBlock(): BlockRecord | undefined {
    const held = this.#held;
    if (held !== undefined) {
      this.#held = undefined;
      this.#head = held.offset + 1;
      return held;
    }
    const block = this.#block;
    if (block === undefined) return undefined;
    for (;;) {
      const record = this.#read(block, this.#position!, this.#head);
      if (record === undefined) return undefined;
      const { offset } = record;
      if (offset < this.#head) continue;
      const from = this.#head;
      this.#head = offset + 1;
      if (!this.#taken.has(offset) && !this.isConfirmed(offset)) return record;
      this.#passHole(from, offset);
    }
  }

  #read(block: RecordBlock, position: ReadPosition, from: number): BlockRecord | undefined {
    const record = block.read(position, from);
    return record === undefined || this.view === undefined ? record : record.routed(this.view(record.routing));
  }

  #untilChanged(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#waiting = undefined;
        signal.removeEventListener("abort", onAbort);
      };
      const onAbort = (): void => {
        end();
        reject(signal.reason as Error);
      };
      this.#waiting = () => {
        end();
        resolve();
      };
      signal.addEventListener("abort", onAbort, { once: true });
    });
  }

  #wake(): void {
    this.#changes++;
    this.#waiting?.();
  }

  /** Called by the log when a record was appended. */
  appended(offset: number, acceptedAtMs: number): void {
    if (this.offset === offset) this.#ages.note(offset, acceptedAtMs);
    this.#changes++;
    if (this.#waiting === undefined && this.#listeners.size === 0) return;
    this.#waiting?.();
    if (this.#head === offset) for (const listener of this.#listeners) listener();
  }

  /**
   * Called by the log at open. Moves the cursor to the oldest record that waits (offsets without one are done), and
   * notes when that was accepted; the rest of the queue need not be read for it.
   */
  async findOldest(): Promise<void> {
    const next = this.#log.nextOffset;
    for await (const { offset, acceptedAtMs } of this.unconfirmed()) {
      this.skip(this.offset, offset);
      this.#ages.note(offset, acceptedAtMs);
      return;
    }
    this.skip(this.offset, next);
  }

  /** A drop has left it unknown when the oldest record was accepted: `findOldestAgain` looks it up. */
  get isOldestUnknown(): boolean {
    return this.#ages.isOldestUnknown;
  }

  /** Called by the log now and then, since it may need a file. */
  async findOldestAgain(source: BlockSource): Promise<void> {
    const { offset } = this;
    const block = await this.#log.blockAt(offset, source);
    if (block !== undefined && this.isOldestUnknown && this.offset === offset) this.#noteOldestIn(block);
  }

  /** The same for what is in memory alone, where looking costs no file. */
  #findOldestInMemory(): void {
    if (!this.isOldestUnknown || this.offset < this.#log.lowestUnwritten) return;
    const block = this.#log.blockInMemory(this.offset);
    if (block !== undefined) this.#noteOldestIn(block);
  }

  #noteOldestIn(block: RecordBlock): void {
    const { offset } = this;
    const position = block.start(this.#log.timeOf(block));
    let record = block.read(position, offset);
    while (record !== undefined && record.offset < offset) record = block.read(position, offset);
    if (record !== undefined) this.#ages.found(offset, record.acceptedAtMs);
  }

  confirm(records: readonly LogRecord[], state?: Uint8Array): void {
    this.#eachRun(records, (from, to) => {
      this.#taken.remove(from, to);
      this.#progress.add(from, to);
    });
    this.#afterConfirm(state);
  }

  /** Counts `[from, to)` as done: dropped by the log, or not wanted any more. Returns how many of these were not yet. */
  skip(from: number, to: number): number {
    const start = Math.max(from, this.offset);
    if (start >= to) return 0;
    const skipped = this.#countUnconfirmedIn(start, to);
    this.#progress.add(start, to);
    if (this.#head >= start && this.#head < to) this.#seek(to);
    this.#passedOver.forget(start, to);
    this.#taken.remove(start, to);
    this.#afterConfirm(undefined);
    return skipped;
  }

  /**
   * As `skip`, for records that had to be given up: counted. Those that are just being delivered are counted when they
   * come back undelivered.
   */
  drop(from: number, to: number): number {
    const start = Math.max(from, this.offset);
    const inFlight = start < to ? this.#taken.countIn(start, to) : 0;
    const before = this.offset;
    const dropped = this.skip(from, to) - inFlight;
    this.#dropped += dropped;
    if (this.offset > before) this.#ages.dropped(this.offset);
    return dropped;
  }

  /** Records of this life that were given up although this reader still needed them. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Takes over what waits at another place below `below`, beside what waits here; where this reader began when that was
   * left. Only while nobody takes. Everything confirmed must be settled. Returns how many records that is.
   */
  takeOver(place: Cursor, below: number): number {
    const end = Math.min(below, this.offset);
    if (place.offset >= end) return 0;
    this.#progress.goBackTo(place, end, MAX_CONFIRMED_RANGES / 2);
    this.#ages.clear();
    this.#seek(place.offset);
    this.#afterConfirm(undefined);
    this.#progress.presumeSettled();
    return Math.max(0, this.#countUnconfirmedIn(this.offset, end));
  }

  #countUnconfirmedIn(from: number, to: number): number {
    return to - from - this.#progress.countConfirmedIn(from, to);
  }

  /** Offsets without a record are done for everyone; in front of a record that is taken, its confirmation says so. */
  #passHole(from: number, to: number): void {
    if (this.#progress.isAllConfirmed(from, to)) return;
    this.#progress.add(from, to);
    this.#afterConfirm(undefined);
  }

  #afterConfirm(state: Uint8Array | undefined): void {
    this.#progress.advance(state);
    if (this.offset >= this.#log.nextOffset) this.#ages.clear();
    else this.#ages.passed(this.offset);
    this.#log.onConfirmed(this);
    this.#wake();
  }

  release(records: readonly LogRecord[]): void {
    let lowest = this.#head;
    this.#eachRun(records, (from, to) => {
      this.#taken.remove(from, to);
      this.#dropped += this.#progress.countConfirmedIn(from, to); // given up while they were under way
      lowest = Math.min(lowest, from);
    });
    if (lowest < this.#head) this.#seek(lowest);
    for (const { offset } of records) if (offset < this.#liveFrom) this.#lookAtLiveAgain(offset);
    this.#wake();
    for (const listener of this.#listeners) listener();
  }

  #lookAtLiveAgain(from: number): void {
    this.#liveFrom = from;
    this.#liveBlock = undefined;
    this.#livePosition = undefined;
  }

  #seek(head: number): void {
    this.#head = head;
    this.#passedOver.forget(head); // they are read again
    this.#held = undefined;
    if (this.#block !== undefined && head >= this.#block.first && head <= this.#block.last) {
      this.#position = this.#block.start();
    } else {
      this.#leaveBlock();
    }
  }

  #leaveBlock(): void {
    this.#block = undefined;
    this.#position = undefined;
  }

  #eachRun(records: readonly LogRecord[], use: (from: number, to: number) => void): void {
    let from = -1;
    let to = -1;
    for (const record of records) {
      const { coversFrom, offset } = record as BlockRecord;
      if (coversFrom !== to) {
        if (to >= 0) use(from, to);
        from = coversFrom;
      }
      to = offset + 1;
    }
    if (to >= 0) use(from, to);
  }

  async *unconfirmed(): AsyncGenerator<LogRecord> {
    for (let offset: number = this.offset; offset < this.#log.nextOffset;) {
      const block = await this.#log.blockAt(offset, this.#source);
      if (block === undefined) return;
      const position = block.start(this.#log.timeOf(block));
      for (;;) {
        const record = this.#read(block, position, offset);
        if (record === undefined) break;
        if (record.offset < offset) continue;
        offset = record.offset + 1;
        if (!this.isConfirmed(record.offset)) yield record;
      }
    }
  }

  async note(state: Uint8Array): Promise<void> {
    const isFurther = this.#progress.isAheadOfSettled;
    this.#afterConfirm(state);
    // Even where nothing is on disk yet: the cursor of the first segment must know it. It says nothing of records that
    // are confirmed since, so it may only stand beside a cursor that counts them.
    if (isFurther) await this.settleNow();
    else this.#progress.presumeSettled();
    await this.#log.makeDurable();
  }

  /** Records accepted and not yet confirmed: what `backlog` says of them, without looking through the files. */
  get waiting(): number {
    return Math.max(0, this.#countUnconfirmedIn(this.offset, this.#log.nextOffset));
  }

  backlog(): Backlog {
    const records = this.waiting;
    if (records === 0) return { records: 0, bytes: 0, oldestAcceptedAtMs: undefined };
    this.#findOldestInMemory();
    return { records, bytes: this.#log.bytesFrom(this.offset), oldestAcceptedAtMs: this.#ages.oldestAcceptedAtMs };
  }

  onAvailable(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Lets go of files. */
  close(): Promise<void> {
    this.#seek(this.#head);
    this.#leaveBlock();
    return this.#source.close();
  }
}
