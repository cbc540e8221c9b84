/**
 * A block of records: the unit of writing and reading, laid out in memory just as its body lies on disk, so that
 * writing copies and reading slices. Headers are `frame.ts`; compression and files are `segment.ts`.
 *
 * Body: id base (16), boot id (8), elapsed time of the first record, the routes, then per record: gap of offset, ms
 * since the record before, route, codec, length, payload. About 5 bytes beside the payload.
 */
import type { CodecTag, LogRecord, Offset, Routing } from "../record.js";
import { idAt } from "../uuid.js";
import { ByteReader, BytesError, ByteWriter, writeVarint, varintLength } from "./bytes.js";

/** Bytes of records in a block. A larger record gets a block of its own. */
export const BLOCK_BYTES = 64 * 1024;
/** The most that stands in front of a payload: five numbers. */
const RECORD_HEADER_BYTES = 30;

/** What all records of a block have in common. */
export interface BlockOrigin {
  /** Offset that ids count from: the id of a record is `idAt(idBase, offset - origin)`. */
  readonly origin: number;
  readonly idBase: Buffer;
  /** The boot of the machine in which `baseElapsedMs` was read. */
  readonly bootId: Buffer;
  /** Monotonic time when the block was begun, whole ms. */
  readonly baseElapsedMs: number;
  /** What the wall clock said then. */
  readonly baseTimeMs: number;
  /** It could not be trusted then. Default false. */
  readonly isDoubtful?: boolean;
}

/** How the times that a block noted are to be read: looked up for a run of records, not for each. */
export interface BlockTime {
  /** What its wall clock was behind, as is known by now. */
  readonly shiftMs: number;
  /** Nobody knows whether it was right. */
  readonly isDoubtful: boolean;
}

export function timeAsNoted({ isDoubtful = false }: BlockOrigin): BlockTime {
  return isDoubtful ? DOUBTFUL : AS_NOTED;
}

const AS_NOTED: BlockTime = { shiftMs: 0, isDoubtful: false };
const DOUBTFUL: BlockTime = { shiftMs: 0, isDoubtful: true };

/** Where in a block its reader stands. */
export interface ReadPosition {
  at: number;
  /** Offset and elapsed time of the record just read. */
  offset: number;
  elapsedMs: number;
  time: BlockTime;
}

/** A record as a consumer holds it. */
export class BlockRecord implements LogRecord {
  readonly offset: Offset;
  readonly bytes: Buffer;
  readonly codec: CodecTag;
  readonly routing: Routing;
  readonly acceptedAtMs: number;
  readonly replayed: boolean;
  readonly isTimeDoubtful: boolean;
  /** First offset that confirming this record settles: offsets between two records are done for everyone. */
  readonly coversFrom: number;
  readonly #block: BlockOrigin;

  constructor(
    block: BlockOrigin,
    offset: number,
    coversFrom: number,
    bytes: Buffer,
    codec: CodecTag,
    routing: Routing,
    acceptedAtMs: number,
    replayed: boolean,
    isTimeDoubtful: boolean,
  ) {
    this.#block = block;
    this.offset = offset as Offset;
    this.coversFrom = coversFrom;
    this.bytes = bytes;
    this.codec = codec;
    this.routing = routing;
    this.acceptedAtMs = acceptedAtMs;
    this.replayed = replayed;
    this.isTimeDoubtful = isTimeDoubtful;
  }

  /** The same record with bytes of its own: one that is kept for long must not hold its whole block. */
  detached(): BlockRecord {
    const bytes = Buffer.from(this.bytes);
    const { offset, coversFrom, codec, routing, acceptedAtMs, replayed, isTimeDoubtful: doubt } = this;
    const origin = originOf(this.#block);
    return new BlockRecord(origin, offset, coversFrom, bytes, codec, routing, acceptedAtMs, replayed, doubt);
  }

  /** The same record with another routing. */
  routed(routing: Routing): BlockRecord {
    const { offset, coversFrom, bytes, codec, acceptedAtMs, replayed, isTimeDoubtful: doubt } = this;
    return new BlockRecord(this.#block, offset, coversFrom, bytes, codec, routing, acceptedAtMs, replayed, doubt);
  }

  get id(): Buffer {
    return idAt(this.#block.idBase, this.offset - this.#block.origin);
  }
}

function originOf({ origin, idBase, bootId, baseElapsedMs, baseTimeMs }: BlockOrigin): BlockOrigin {
  return { origin, idBase: Buffer.from(idBase), bootId, baseElapsedMs, baseTimeMs };
}

const NO_ROUTING: Routing = Object.freeze(Object.create(null) as Record<string, string>);

function isEmpty(routing: Routing): boolean {
  for (const _ in routing) return false;
  return true;
}

function encodeRouting(routing: Routing): string {
  return JSON.stringify(Object.entries(routing).flat());
}

function decodeRouting(text: string): Routing {
  const flat: unknown = JSON.parse(text);
  if (!Array.isArray(flat) || flat.length % 2 !== 0) throw new BytesError("not a route");
  const routing = Object.create(null) as Record<string, string>; // without a prototype no name can reach one
  for (let i = 0; i < flat.length; i += 2) {
    const [name, value] = [flat[i] as unknown, flat[i + 1] as unknown];
    if (typeof name !== "string" || typeof value !== "string") throw new BytesError("not a route");
    routing[name] = value;
  }
  return Object.freeze(routing);
}

export class RecordBlock implements BlockOrigin {
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

  #bytes: Buffer;
  #start: number;
  #end: number;
  #lastElapsedMs: number;
  #routes: Routing[];
  #routeTexts: string[];
  #routeIndex: Map<string, number> | undefined;
  #lastRouting: Routing | undefined;
  #lastRoute = 0;
  /** Of the record that `#next` has just passed: where its payload begins; it ends where the position is. */
  readonly #found = { codec: 0 as CodecTag, routing: NO_ROUTING, at: 0 };

  private constructor(o: BlockOrigin, replayed: boolean, bytes: Buffer, start: number, end: number, texts: string[]) {
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
    this.#bytes = bytes;
    this.#start = start;
    this.#end = end;
    this.#routeTexts = texts;
    this.#routes = texts.map(decodeRouting);
  }

  /** A new, empty block to append to. `roomFor`: bytes of its first payload; it gets room for that in any case. */
  static begin(origin: BlockOrigin, roomFor = 0, capacity = BLOCK_BYTES): RecordBlock {
    const bytes = Buffer.allocUnsafeSlow(Math.max(capacity, roomFor + RECORD_HEADER_BYTES));
    return new RecordBlock(origin, false, bytes, 0, 0, []);
  }

  /** @throws {BytesError} when the body is not one of records */
  static decode(body: Buffer, origin: number, baseTimeMs: number, isDoubtful = false): RecordBlock {
    const reader = new ByteReader(body);
    const idBase = reader.raw(16);
    const bootId = reader.raw(8);
    const baseElapsedMs = reader.varint();
    const texts: string[] = [];
    for (let i = reader.varint(); i > 0; i--) texts.push(reader.text());
    const head: BlockOrigin = { origin, idBase, bootId, baseElapsedMs, baseTimeMs, isDoubtful };
    try {
      return new RecordBlock(head, true, body, reader.position, body.length, texts);
    } catch (error) {
      throw error instanceof BytesError ? error : new BytesError("not a route", { cause: error });
    }
  }

  /** Bytes of records. */
  get length(): number {
    return this.#end - this.#start;
  }

  get hasRecords(): boolean {
    return this.count > 0;
  }

  #route(given: Routing): number {
    // A sender that names no destination makes a new empty object each time.
    const routing = isEmpty(given) ? NO_ROUTING : given;
    if (routing === this.#lastRouting) return this.#lastRoute;
    const text = encodeRouting(routing);
    this.#routeIndex ??= new Map();
    let route = this.#routeIndex.get(text);
    if (route === undefined) {
      route = this.#routes.length;
      this.#routeIndex.set(text, route);
      this.#routeTexts.push(text);
      this.#routes.push(text === "[]" ? NO_ROUTING : Object.freeze({ ...routing }));
    }
    this.#lastRouting = routing;
    return (this.#lastRoute = route);
  }

  #writeHead(offset: number, elapsedMs: number, route: number, codec: CodecTag): number {
    const bytes = this.#bytes;
    const gap = offset - this.last - 1;
    const since = elapsedMs > this.#lastElapsedMs ? Math.floor(elapsedMs - this.#lastElapsedMs) : 0;
    let at = this.#end;
    at = writeVarint(bytes, at, gap);
    at = writeVarint(bytes, at, since);
    at = writeVarint(bytes, at, route);
    bytes[at++] = codec;
    return at;
  }

  #appended(offset: number, elapsedMs: number, end: number): void {
    const since = elapsedMs > this.#lastElapsedMs ? Math.floor(elapsedMs - this.#lastElapsedMs) : 0;
    this.#lastElapsedMs += since;
    if (this.count++ === 0) this.first = offset;
    this.last = offset;
    this.#end = end;
  }

  /** Appends a payload given as bytes; false when it does not fit. Offsets ascend. */
  append(offset: number, elapsedMs: number, routing: Routing, codec: CodecTag, payload: Uint8Array): boolean {
    if (this.#end + RECORD_HEADER_BYTES + payload.length > this.#bytes.length) return false;
    let at = this.#writeHead(offset, elapsedMs, this.#route(routing), codec);
    at = writeVarint(this.#bytes, at, payload.length);
    this.#bytes.set(payload, at);
    this.#appended(offset, elapsedMs, at + payload.length);
    return true;
  }

  /** Appends JSON text, written into the block without a copy in between; false when it might not fit. */
  appendText(offset: number, elapsedMs: number, routing: Routing, text: string): boolean {
    const bytes = this.#bytes;
    const room = bytes.length - this.#end - RECORD_HEADER_BYTES;
    if (text.length > room || (text.length * 3 > room && Buffer.byteLength(text) > room)) return false;
    const lengthAt = this.#writeHead(offset, elapsedMs, this.#route(routing), 0);
    // Nearly all text is ASCII, so its length in bytes is guessed and mended when the guess was wrong.
    const guess = varintLength(text.length);
    const written = bytes.write(text, lengthAt + guess);
    const needed = varintLength(written);
    if (needed !== guess) bytes.copyWithin(lengthAt + needed, lengthAt + guess, lengthAt + guess + written);
    const at = writeVarint(bytes, lengthAt, written);
    this.#appended(offset, elapsedMs, at + written);
    return true;
  }

  /** A position in front of the first record. */
  start(time = timeAsNoted(this)): ReadPosition {
    return { at: this.#start, offset: this.origin - 1, elapsedMs: this.baseElapsedMs, time };
  }

  /**
   * The next record, or undefined at the end (of what has been appended so far).
   * @throws {BytesError} when the bytes are not records: the crc was right, so the writer was wrong
   */
  read(position: ReadPosition, coversFrom: number): BlockRecord | undefined {
    if (!this.#next(position)) return undefined;
    const { offset, time } = position;
    const { codec, routing, at } = this.#found;
    const payload = this.#bytes.subarray(at, position.at);
    const acceptedAtMs = this.baseTimeMs + (position.elapsedMs - this.baseElapsedMs) + time.shiftMs;
    const doubt = time.isDoubtful;
    return new BlockRecord(this, offset, coversFrom, payload, codec, routing, acceptedAtMs, this.replayed, doubt);
  }

  /** Moves behind the next record, whose parts are then in `#found`: most walks over a block need no more of it. */
  #next(position: ReadPosition): boolean {
    if (position.at >= this.#end) return false;
    const bytes = this.#bytes;
    position.offset += 1 + numberAt(bytes, position);
    position.elapsedMs += numberAt(bytes, position);
    const routing = this.#routes[numberAt(bytes, position)];
    const codec = bytes[position.at++]! as CodecTag;
    const length = numberAt(bytes, position);
    const { at } = position;
    if (routing === undefined || at + length > this.#end) throw new BytesError("bytes end inside a record");
    position.at = at + length;
    const found = this.#found;
    found.codec = codec;
    found.routing = routing;
    found.at = at;
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

  /** Finds out `first`, `last` and `count` of a decoded block. @throws {BytesError} */
  measure(): this {
    const position = this.start();
    this.count = 0;
    while (this.#next(position)) {
      if (this.count++ === 0) this.first = position.offset;
      this.last = position.offset;
    }
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

  #hasAny(isSuch: (offset: number) => boolean): boolean {
    const position = this.start();
    while (this.#next(position)) if (isSuch(position.offset)) return true;
    return false;
  }

  /** A block with the same origin that holds only the records that `keep` says; itself when that is all of them. */
  without(isDone: (offset: number) => boolean): RecordBlock {
    if (!this.#hasAny(isDone)) return this;
    const bytes = Buffer.allocUnsafeSlow(this.length + RECORD_HEADER_BYTES);
    const kept = new RecordBlock(this, this.replayed, bytes, 0, 0, []);
    const position = this.start();
    while (this.#next(position)) {
      if (isDone(position.offset)) continue;
      const { routing, codec, at } = this.#found;
      kept.append(position.offset, position.elapsedMs, routing, codec, this.#bytes.subarray(at, position.at));
    }
    return kept;
  }

  /** Gives back memory that nothing will be appended to. */
  shrink(): void {
    if (this.#end * 2 < this.#bytes.length) {
      this.#bytes = Buffer.from(this.#bytes.subarray(0, this.#end));
    }
  }

  encodeBody(): Buffer {
    const prelude = new ByteWriter().raw(this.idBase).raw(this.bootId).varint(this.baseElapsedMs);
    prelude.varint(this.#routeTexts.length);
    for (const text of this.#routeTexts) prelude.text(text);
    return Buffer.concat([prelude.finish(), this.#bytes.subarray(this.#start, this.#end)]);
  }
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
