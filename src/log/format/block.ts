/**
 * A block of records: the unit of writing and reading, laid out in memory just as its body lies on disk, so that
 * writing copies and reading slices. Headers are `frame.ts`; compression and files are `segment.ts`.
 *
 * Body: id base (16), boot id (8), elapsed time of the first record, the routes, the heads of the records (gap of offset,
 * ms since the record before, route, codec, length), the page: their payloads, each with a line feed behind it. About 6
 * bytes beside a payload. Neighbours are JSON lines as they lie there: whoever writes such lines copies them in one piece.
 */
import type { CodecTag, Routing } from "../../record.js";
import { type BlockOrigin, type BlockPage, BlockRecord, type BlockTime, timeAsNoted } from "./block-record.js";
import { ByteReader, BytesError, ByteWriter, writeVarint } from "./bytes.js";
import { NO_ROUTING, Routes } from "./routes.js";

/** Bytes of records and routes in a block; the last route may go beyond. A larger record gets a block of its own. */
export const BLOCK_BYTES = 64 * 1024;
/** The most that a record takes beside its payload: five numbers, and the line feed. */
const RECORD_HEAD_BYTES = 31;
/** Room for heads to begin with, of a few hundred records; it grows. */
const HEADS_BYTES = 2 * 1024;
/** Of a block that has got all it will get: what is counted is its records, so there may be little beside them. */
const FULL_SHARE = 0.9;
const LINE_FEED = 0x0a;

/** Where in a block its reader stands. */
export interface ReadPosition {
  /** Among the heads, and in the page. */
  at: number;
  pageAt: number;
  /** Offset and elapsed time of the record just read. */
  offset: number;
  elapsedMs: number;
  time: BlockTime;
}

export class RecordBlock implements BlockOrigin, BlockPage {
  readonly origin: number;
  readonly idBase: Buffer;
  readonly bootId: Buffer;
  readonly baseElapsedMs: number;
  readonly baseTimeMs: number;
  readonly isDoubtful: boolean;
  /** True when the records were accepted in an earlier life, or were read back from disk. */
  readonly replayed: boolean;
  /** First and last offset in the block; `last < first` while it is empty. */
  first: number;
  last: number;
  count = 0;

  /** Bytes of records and routes that it takes. */
  readonly #capacity: number;
  #heads: Buffer;
  #headsEnd: number;
  #page: Buffer;
  #pageEnd: number;
  #lastElapsedMs: number;
  #routes = new Routes();
  /** Of the record that `#next` has just passed. */
  readonly #found = { codec: 0 as CodecTag, routing: NO_ROUTING, start: 0, size: 0 };

  private constructor(o: BlockOrigin, replayed: boolean, capacity: number, heads: Buffer, page: Buffer) {
    this.origin = o.origin;
    this.idBase = o.idBase;
    this.bootId = o.bootId;
    this.baseElapsedMs = o.baseElapsedMs;
    this.baseTimeMs = o.baseTimeMs;
    this.isDoubtful = o.isDoubtful ?? false;
    this.replayed = replayed;
    this.first = o.origin;
    this.last = o.origin - 1;
    this.#lastElapsedMs = o.baseElapsedMs;
    this.#capacity = capacity;
    this.#heads = heads;
    this.#headsEnd = 0;
    this.#page = page;
    this.#pageEnd = 0;
  }

  /** A new, empty block to append to. `roomFor`: bytes of its first payload; it gets room for that in any case. */
  static begin(origin: BlockOrigin, roomFor = 0, capacity = BLOCK_BYTES): RecordBlock {
    const bytes = Math.max(capacity, roomFor + RECORD_HEAD_BYTES);
    return RecordBlock.#empty(origin, false, bytes, bytes);
  }

  static #empty(origin: BlockOrigin, replayed: boolean, capacity: number, pageBytes: number): RecordBlock {
    const heads = Buffer.allocUnsafeSlow(Math.min(capacity, HEADS_BYTES));
    return new RecordBlock(origin, replayed, capacity, heads, Buffer.allocUnsafeSlow(pageBytes));
  }

  /** @throws {BytesError} when the body is not one of records */
  static decode(body: Buffer, origin: number, baseTimeMs: number, isDoubtful = false): RecordBlock {
    const reader = new ByteReader(body);
    const idBase = reader.raw(16);
    const bootId = reader.raw(8);
    const baseElapsedMs = reader.varint();
    const routes = Routes.decode(reader);
    const heads = reader.bytes();
    const page = body.subarray(reader.position);
    const head: BlockOrigin = { origin, idBase, bootId, baseElapsedMs, baseTimeMs, isDoubtful };
    const block = new RecordBlock(head, true, 0, heads, page);
    block.#headsEnd = heads.length;
    block.#pageEnd = page.length;
    block.#routes = routes;
    return block;
  }

  get page(): Buffer {
    return this.#page;
  }

  /** Bytes of records, and of their routes: with one for each they may be most of it. */
  get length(): number {
    return this.#headsEnd + this.#pageEnd + this.#routes.bytes;
  }

  get hasRecords(): boolean {
    return this.count > 0;
  }

  /** Room in the page for a payload of that size, and for what a record takes beside it. */
  #hasRoomFor(size: number): boolean {
    return this.length + RECORD_HEAD_BYTES + size <= this.#capacity;
  }

  /** The payload of the next record stands in the page. */
  #appended(offset: number, elapsedMs: number, routing: Routing, codec: CodecTag, size: number): void {
    if (this.#headsEnd + RECORD_HEAD_BYTES > this.#heads.length) this.#growHeads();
    const heads = this.#heads;
    const since = elapsedMs > this.#lastElapsedMs ? Math.floor(elapsedMs - this.#lastElapsedMs) : 0;
    let at = this.#headsEnd;
    at = writeVarint(heads, at, offset - this.last - 1);
    at = writeVarint(heads, at, since);
    at = writeVarint(heads, at, this.#routes.numberOf(routing));
    heads[at++] = codec;
    this.#headsEnd = writeVarint(heads, at, size);
    this.#page[this.#pageEnd + size] = LINE_FEED;
    this.#pageEnd += size + 1;
    this.#lastElapsedMs += since;
    if (this.count++ === 0) this.first = offset;
    this.last = offset;
  }

  #growHeads(): void {
    const larger = Buffer.allocUnsafeSlow(2 * this.#heads.length + RECORD_HEAD_BYTES);
    larger.set(this.#heads);
    this.#heads = larger;
  }

  /** Appends a payload given as bytes; false when it does not fit. Offsets ascend. */
  append(offset: number, elapsedMs: number, routing: Routing, codec: CodecTag, payload: Uint8Array): boolean {
    if (!this.#hasRoomFor(payload.length)) return false;
    this.#page.set(payload, this.#pageEnd);
    this.#appended(offset, elapsedMs, routing, codec, payload.length);
    return true;
  }

  /** Appends JSON text, written into the block without a copy in between; false when it might not fit. */
  appendText(offset: number, elapsedMs: number, routing: Routing, text: string): boolean {
    const { length } = text;
    if (!this.#hasRoomFor(3 * length) && !this.#hasRoomFor(Buffer.byteLength(text))) return false;
    this.#appended(offset, elapsedMs, routing, 0, this.#page.write(text, this.#pageEnd));
    return true;
  }

  /** A position in front of the first record. */
  start(time = timeAsNoted(this)): ReadPosition {
    return { at: 0, pageAt: 0, offset: this.origin - 1, elapsedMs: this.baseElapsedMs, time };
  }

  /**
   * The next record, or undefined at the end (of what has been appended so far).
   * @throws {BytesError} when the bytes are not records: the crc was right, so the writer was wrong
   */
  read(position: ReadPosition, coversFrom: number): BlockRecord | undefined {
    if (!this.#next(position)) return undefined;
    const { offset, elapsedMs, time } = position;
    const { codec, routing, start, size } = this.#found;
    return new BlockRecord(this, offset, coversFrom, start, size, codec, routing, elapsedMs - this.baseElapsedMs, time);
  }

  /** Moves behind the next record, whose parts are then in `#found`: most walks over a block need no more of it. */
  #next(position: ReadPosition): boolean {
    if (position.at >= this.#headsEnd) return false;
    const heads = this.#heads;
    position.offset += 1 + numberAt(heads, position);
    position.elapsedMs += numberAt(heads, position);
    const routing = this.#routes.at(numberAt(heads, position));
    const codec = heads[position.at++] as CodecTag;
    const size = numberAt(heads, position);
    const start = position.pageAt;
    position.pageAt = start + size + 1;
    if (routing === undefined || position.pageAt > this.#pageEnd) throw new BytesError("bytes end inside a record");
    const found = this.#found;
    found.codec = codec;
    found.routing = routing;
    found.start = start;
    found.size = size;
    return true;
  }

  /** Reads every record, for those who look at a block as a whole. */
  *records(): Generator<BlockRecord> {
    const position = this.start();
    for (let covers = this.origin; ; covers = position.offset + 1) {
      const record = this.read(position, covers);
      if (record === undefined) return;
      yield record;
    }
  }

  /**
   * Finds out `first`, `last` and `count` of a decoded block, and whether it is one: who writes neighbours in one piece
   * looks at none of them.
   * @throws {BytesError} when the page is not what the heads say
   */
  measure(): this {
    const position = this.start();
    this.count = 0;
    while (this.#next(position)) {
      if (this.#page[position.pageAt - 1] !== LINE_FEED) throw new BytesError("no line feed behind a payload");
      if (this.count++ === 0) this.first = position.offset;
      this.last = position.offset;
    }
    if (position.pageAt !== this.#pageEnd) throw new BytesError("bytes behind the last record");
    if (!Number.isSafeInteger(position.elapsedMs)) throw new BytesError("time too large");
    return this;
  }

  /** The offset of the first record whose elapsed time is such; one past the last when there is none. */
  firstFor(isSuch: (elapsedMs: number) => boolean): number {
    const position = this.start();
    while (this.#next(position)) if (isSuch(position.elapsedMs)) return position.offset;
    return this.last + 1;
  }

  /** The offset of the first record at or above `offset`; `last` when there is none. */
  firstFrom(offset: number): number {
    if (this.first >= offset) return this.first;
    const position = this.start();
    while (this.#next(position)) if (position.offset >= offset) return position.offset;
    return this.last;
  }

  /** A block with the same origin, without the records that are done; itself when none is. */
  without(isDone: (offset: number) => boolean): RecordBlock {
    let position = this.start();
    let pageBytes = 0;
    while (this.#next(position)) if (!isDone(position.offset)) pageBytes += this.#found.size + 1;
    if (pageBytes === this.#pageEnd) return this;
    // No limit: what stays must fit, and another writer may have numbered the routes in fewer bytes.
    const kept = RecordBlock.#empty(this, this.replayed, Infinity, pageBytes);
    position = this.start();
    while (this.#next(position)) {
      if (isDone(position.offset)) continue;
      const { routing, codec, start, size } = this.#found;
      kept.append(position.offset, position.elapsedMs, routing, codec, this.#page.subarray(start, start + size));
    }
    kept.shrink();
    return kept;
  }

  /** Gives back memory that nothing will be appended to. */
  shrink(): void {
    this.#heads = fitting(this.#heads, this.#headsEnd);
    this.#page = fitting(this.#page, this.#pageEnd);
  }

  encodeBody(): Buffer {
    const prelude = new ByteWriter().raw(this.idBase).raw(this.bootId).varint(this.baseElapsedMs);
    this.#routes.encode(prelude);
    prelude.varint(this.#headsEnd);
    return Buffer.concat([
      prelude.finish(),
      this.#heads.subarray(0, this.#headsEnd),
      this.#page.subarray(0, this.#pageEnd),
    ]);
  }
}

/** The first `length` of these bytes, without the room behind them where that is worth a copy. */
function fitting(bytes: Buffer, length: number): Buffer {
  if (length >= bytes.length * FULL_SHARE) return bytes;
  const own = Buffer.allocUnsafeSlow(length); // not of the pool, whose memory others would keep
  own.set(bytes.subarray(0, length));
  return own;
}

/** The number at a position, which moves behind it. One byte is nearly every case; the rest is left to the reader. */
function numberAt(bytes: Buffer, position: { at: number }): number {
  const byte = bytes[position.at]!;
  if (byte < 0x80) {
    position.at++;
    return byte;
  }
  const reader = new ByteReader(bytes, position.at);
  const value = reader.varint();
  position.at = reader.position;
  return value;
}
