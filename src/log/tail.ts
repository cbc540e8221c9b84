/**
 * The part of a log that is in memory: records that were just accepted, and those written but not synced yet. Memory is
 * given back when everyone has confirmed (and, once it was written, settled), or when a sync has succeeded; by nothing
 * else.
 */
import type { Clock } from "../clock.js";
import type { Encoded, LogRecord, Routing } from "../record.js";
import { BLOCK_BYTES, RecordBlock } from "./format/block.js";
import type { PackedBlock } from "./segments/segment.js";

/** Ids carry the time of their block: a block is not left open for longer than this. */
const MAX_BLOCK_AGE_MS = 60_000;
/** What a block takes in memory beside its records: with few records in each, that is most of it. */
const BLOCK_COST_BYTES = 1024;
/** How finely the age of what is unwritten is known. */
const MARK_MS = 100;
/** The boot of a record that was accepted elsewhere: its age is told by the wall clock alone. */
const NO_BOOT = Buffer.alloc(8);
/** Older than any interval: due at once. */
const LONG_AGO = Number.NEGATIVE_INFINITY;

export interface TailEntry {
  readonly block: RecordBlock;
  /** `gone`: everyone has confirmed it, its memory was given back. */
  state: "unwritten" | "written" | "gone";
  /**
   * It stands in a file, or in part, and nothing proves that it will stay there: the next life may find it and promise
   * it to a target that had not settled it. So it is kept, to be written again, until all have.
   */
  isInDoubt: boolean;
  /** Where the round that wrote it ends in the segment. */
  end: number;
  /** The whole block as it will be written, where it was packed before its round. Resolves to undefined when that failed. */
  packed?: Promise<PackedBlock | undefined> | undefined;
}

/** What the log knows of confirmations: what all have confirmed, and of that what their targets have settled. */
export interface Confirmed {
  readonly done: Done;
  readonly settled: Done;
}

/** An entry as it is to be written: without what everyone has confirmed. */
export interface TailBlock {
  readonly entry: TailEntry;
  readonly kept: RecordBlock;
}

/** Records that everyone is done with. */
export interface Done {
  /** Everything below is confirmed by everyone. */
  readonly below: number;
  has(offset: number): boolean;
  /** False when no record in `[from, to)` can be confirmed by everyone. */
  mayHave(from: number, to: number): boolean;
}

export class Tail {
  #entries: TailEntry[];
  /** The block that is appended to: the last entry, or none. */
  #open: RecordBlock | undefined;
  #next: number;
  #unwrittenBytes = 0;
  #acceptedBytes = 0;
  #marks: { readonly offset: number; readonly atMs: number }[] = [];
  #elidedTo = 0;
  readonly #begin: (wallMs: number) => { idBase: Buffer; bootId: Buffer };
  readonly #onFilled: (entry: TailEntry) => void;
  lastAcceptedAtMs = 0;

  /**
   * @param carried blocks of an earlier life that have to be written again
   * @param onFilled called with each block that had no room for the next record: it stays as it is
   */
  constructor(
    nextOffset: number,
    carried: readonly RecordBlock[],
    begin: (wallMs: number) => { idBase: Buffer; bootId: Buffer },
    onFilled: (entry: TailEntry) => void = () => undefined,
  ) {
    this.#next = nextOffset;
    this.#begin = begin;
    this.#onFilled = onFilled;
    this.#entries = carried.map((block) => ({ block, state: "unwritten", isInDoubt: true, end: 0 }));
    this.#unwrittenBytes = carried.reduce((sum, { length }) => sum + length, 0);
    if (carried.length > 0) this.#marks.push({ offset: carried[0]!.first, atMs: LONG_AGO });
  }

  get nextOffset(): number {
    return this.#next;
  }

  /** Lowest offset in memory; infinite when there is none. */
  get firstOffset(): number {
    return this.#entries[0]?.block.first ?? Number.POSITIVE_INFINITY;
  }

  get unwrittenBytes(): number {
    return this.#unwrittenBytes;
  }

  get bytes(): number {
    return this.#entries.reduce((sum, { block }) => sum + block.length, 0);
  }

  /** Bytes ever appended in this life. */
  get acceptedBytes(): number {
    return this.#acceptedBytes;
  }

  /** What all blocks take that are in doubt or have something at or above `below`, with what each costs beside its records. */
  heldBytes(below: number): number {
    let bytes = 0;
    for (const { block, isInDoubt } of this.#entries) {
      if (isInDoubt || block.last >= below) bytes += block.length + BLOCK_COST_BYTES;
    }
    return bytes;
  }

  get unsyncedBytes(): number {
    return this.#entries.reduce((sum, { block, state }) => (state === "written" ? sum + block.length : sum), 0);
  }

  /** One past the highest record that everyone had confirmed before it was written: no file has it. */
  get elidedTo(): number {
    return this.#elidedTo;
  }

  /** Infinite when all is written. */
  get lowestUnwritten(): number {
    return this.#entries.find(({ state }) => state !== "written")?.block.first ?? Number.POSITIVE_INFINITY;
  }

  append(payload: string | Encoded, routing: Routing, elapsedMs: number, clock: Clock): number {
    const offset = this.#next;
    let block = this.#open;
    if (block !== undefined && elapsedMs - block.baseElapsedMs > MAX_BLOCK_AGE_MS) block = undefined;
    const before = block?.length ?? 0;
    if (block === undefined || !put(block, offset, elapsedMs, routing, payload)) {
      block = this.#beginBlock(offset, elapsedMs, clock, payload);
      put(block, offset, elapsedMs, routing, payload);
      this.#grew(block.length);
    } else {
      this.#grew(block.length - before);
    }
    this.#next = offset + 1;
    this.lastAcceptedAtMs = block.baseTimeMs + (elapsedMs - block.baseElapsedMs);
    const mark = this.#marks.at(-1);
    if (mark === undefined || elapsedMs - mark.atMs >= MARK_MS) this.#marks.push({ offset, atMs: elapsedMs });
    return offset;
  }

  /** Appends a record of another log, with its id and its time: a block of its own, since ids belong to blocks. */
  appendAs(record: LogRecord, elapsedMs: number): number {
    const origin = this.#next++;
    const head = { origin, idBase: Buffer.from(record.id), bootId: NO_BOOT, baseElapsedMs: 0 };
    const time = { baseTimeMs: record.acceptedAtMs, isDoubtful: record.isTimeDoubtful === true };
    const block = RecordBlock.begin({ ...head, ...time }, record.size, 0);
    block.append(origin, 0, record.routing, record.codec, record.bytes);
    block.shrink();
    this.#open?.shrink();
    this.#open = undefined;
    this.#entries.push({ block, state: "unwritten", isInDoubt: false, end: 0 });
    this.#grew(block.length);
    this.lastAcceptedAtMs = record.acceptedAtMs;
    this.#marks.push({ offset: origin, atMs: elapsedMs });
    return origin;
  }

  #grew(bytes: number): void {
    this.#unwrittenBytes += bytes;
    this.#acceptedBytes += bytes;
  }

  #beginBlock(origin: number, elapsedMs: number, clock: Clock, payload: string | Encoded): RecordBlock {
    const baseTimeMs = clock.wallMs();
    const baseElapsedMs = Math.floor(elapsedMs);
    const head = { origin, ...this.#begin(baseTimeMs), baseElapsedMs, baseTimeMs, isDoubtful: !clock.isWallTrusted };
    const block = RecordBlock.begin(head, sizeOf(payload));
    if (this.#open !== undefined) {
      this.#open.shrink();
      this.#onFilled(this.#entries.at(-1)!);
    }
    this.#open = block;
    this.#entries.push({ block, state: "unwritten", isInDoubt: false, end: 0 });
    return block;
  }

  /** The oldest block that is in no file. */
  get oldestUnwritten(): RecordBlock | undefined {
    return this.#entries.find(({ state }) => state === "unwritten")?.block;
  }

  get blocks(): readonly RecordBlock[] {
    return this.#entries.map(({ block }) => block);
  }

  /** The oldest block. */
  get oldest(): RecordBlock | undefined {
    return this.#entries[0]?.block;
  }

  /** Forgets a block, confirmed or not. */
  discard(block: RecordBlock): void {
    const index = this.#entries.findIndex((entry) => entry.block === block);
    const entry = this.#entries[index];
    if (entry === undefined) return;
    if (entry.state === "unwritten") this.#unwrittenBytes -= block.length;
    if (block === this.#open) this.#open = undefined;
    entry.state = "gone";
    this.#entries.splice(index, 1);
  }

  /** The block with the lowest record at or above `offset`. */
  blockAt(offset: number): RecordBlock | undefined {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#entries[middle]!.block.last < offset) low = middle + 1;
      else high = middle;
    }
    return this.#entries[low]?.block;
  }

  /** When the oldest unwritten record was accepted that someone still waits for; undefined when there is none. */
  oldestUnwrittenMs(done: Done): number | undefined {
    const marks = this.#marks;
    while (marks.length > 0 && (marks[1]?.offset ?? this.#next) <= done.below) marks.shift();
    return marks[0]?.atMs;
  }

  /**
   * Blocks to write, without what everyone has confirmed by now. The open block is closed.
   * @param done what of the records may be left out that no file has
   */
  takeUnwritten(confirmed: Confirmed, done = confirmed.done): TailBlock[] {
    this.dropDone({ ...confirmed, done });
    this.#open?.shrink();
    this.#open = undefined;
    const taken: TailBlock[] = [];
    for (const entry of this.#entries) {
      if (entry.state !== "unwritten") continue;
      const { block } = entry;
      const which = entry.isInDoubt ? confirmed.settled : done;
      const kept = which.mayHave(block.first, block.last + 1) ? block.without((offset) => which.has(offset)) : block;
      if (kept !== block) this.#elidedTo = Math.max(this.#elidedTo, block.last + 1);
      if (kept.hasRecords) {
        taken.push({ entry, kept });
      } else {
        this.#unwrittenBytes -= block.length;
        entry.state = "gone";
      }
    }
    this.#entries = this.#entries.filter(({ state }) => state !== "gone");
    return taken;
  }

  /** Bytes of the entries are about to reach a segment. */
  writing(entries: readonly TailBlock[]): void {
    for (const { entry } of entries) entry.isInDoubt = true;
  }

  /** The entries, all that was unwritten below `upTo`, stand in a segment, where their round ends at `end`. */
  wrote(entries: readonly TailBlock[], upTo: number, end: number): void {
    for (const { entry } of entries) {
      if (entry.state !== "unwritten") continue;
      this.#unwrittenBytes -= entry.block.length;
      entry.state = "written";
      entry.end = end;
      entry.packed = undefined;
    }
    this.#marks = this.#marks.filter(({ offset }) => offset >= upTo);
  }

  /** The segment is on the disk up to `to`: what stands there leaves memory. */
  synced(to: number): void {
    this.#entries = this.#entries.filter(({ state, end }) => state !== "written" || end > to);
  }

  /** What was written and not synced has to be written again, elsewhere. */
  unwrite(): void {
    for (const entry of this.#entries) {
      if (entry.state !== "written") continue;
      entry.state = "unwritten";
      this.#unwrittenBytes += entry.block.length;
    }
    const first = this.lowestUnwritten;
    if (first < this.#next) this.#marks.unshift({ offset: first, atMs: LONG_AGO });
  }

  /** Gives back the memory of blocks that everyone is done with. */
  dropDone({ done, settled }: Confirmed): void {
    const doneBelow = done.below;
    let settledBelow: number | undefined;
    let dropped = 0;
    for (const entry of this.#entries) {
      const { block, state } = entry;
      if (block.last >= doneBelow) break;
      if (entry.isInDoubt && block.last >= (settledBelow ??= settled.below)) continue;
      // The open block stays while there is room in it: a new one for every record would cost more.
      if (block === this.#open && block.length < BLOCK_BYTES / 2) break;
      if (block === this.#open) this.#open = undefined;
      if (state === "unwritten") {
        this.#unwrittenBytes -= block.length;
        this.#elidedTo = Math.max(this.#elidedTo, block.last + 1);
      }
      entry.state = "gone";
      dropped++;
    }
    if (dropped > 0) this.#entries = this.#entries.filter(({ state }) => state !== "gone");
  }
}

function put(
  block: RecordBlock,
  offset: number,
  elapsedMs: number,
  routing: Routing,
  payload: string | Encoded,
): boolean {
  if (typeof payload === "string") return block.appendText(offset, elapsedMs, routing, payload);
  return block.append(offset, elapsedMs, routing, payload.codec, payload.bytes);
}

function sizeOf(payload: string | Encoded): number {
  return typeof payload === "string" ? Buffer.byteLength(payload) : payload.bytes.length;
}
