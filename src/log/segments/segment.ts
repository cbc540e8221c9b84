/**
 * Segments: the files of a log. Writing one (`SegmentWriter`), and reading one from front to back (`SegmentReader`).
 * Which segments there are is `segment-folder.ts`; when one is begun or deleted, `store.ts`.
 */
import { crc32 } from "node:zlib";
import type { Files, OpenFile } from "../../files.js";
import { RecordBlock } from "../format/block.js";
import { BytesError } from "../format/bytes.js";
import type { Compression } from "../format/compression.js";
import {
  BLOCK_HEADER_BYTES,
  BLOCK_KINDS,
  type BlockHeader,
  decodeBlockHeader,
  encodeBlockHeader,
  FLAG_DEFLATED,
  FLAG_DOUBTFUL,
  MAX_BODY_BYTES,
  nextMagic,
  SEGMENT_HEADER_BYTES,
  type SegmentName,
} from "../format/frame.js";
import type { Range } from "../format/ranges.js";

/** A segment as the log keeps it in mind. */
export interface Segment extends SegmentName {
  readonly path: string;
  /** Bytes in the file. */
  size: number;
  /** One past the last record, where known: of files of this life and those read at open. */
  end: number | undefined;
  /** Its first round repeats what its predecessors could not prove: they may reach beyond its base. */
  readonly carries: boolean;
  /** Below this the bytes were once synced, so bad ones are damage; at and above it, a torn tail. */
  provenLength: number;
  /** What is proven of it is known. Of a file that open had no need to read, it is found out when that is read. */
  judged: boolean;
  /** Bad bytes that have been told of already. */
  knownBad: readonly Range[];
  /** The one that this life is writing: it may have more later. */
  growing: boolean;
}

/** A block ready to be framed: its place is known only when it is written. */
export interface PackedBlock {
  readonly kind: number;
  readonly flags: number;
  readonly count: number;
  readonly origin: number;
  readonly span: number;
  readonly baseTimeMs: number;
  readonly rawLength: number;
  readonly stored: Buffer;
}

/** Blocks as they are, uncompressed. */
export const asIs = {
  records(block: RecordBlock): PackedBlock {
    const { count, origin, baseTimeMs } = block;
    const stored = block.encodeBody();
    const span = block.last - origin;
    const flags = block.isDoubtful ? FLAG_DOUBTFUL : 0;
    return { kind: BLOCK_KINDS.records, flags, count, origin, span, baseTimeMs, rawLength: stored.length, stored };
  },
  cursors(kind: number, body: Buffer, timeMs: number): PackedBlock {
    return { kind, flags: 0, count: 0, origin: 0, span: 0, baseTimeMs: timeMs, rawLength: body.length, stored: body };
  },
};

export function packRecords(block: RecordBlock, compression: Compression): Promise<PackedBlock> {
  return smaller(asIs.records(block), compression);
}

export function packCursors(kind: number, body: Buffer, timeMs: number, c: Compression): Promise<PackedBlock> {
  return smaller(asIs.cursors(kind, body, timeMs), c);
}

async function smaller(block: PackedBlock, compression: Compression): Promise<PackedBlock> {
  const stored = await compression.deflate(block.stored);
  return stored === undefined ? block : { ...block, flags: block.flags | FLAG_DEFLATED, stored };
}

/** The block of records that such a body is. @throws {BytesError} when it is none, or not that of this header */
export function unpackRecords(body: Buffer, { origin, span, count, baseTimeMs, flags }: BlockHeader): RecordBlock {
  const block = RecordBlock.decode(body, origin, baseTimeMs, (flags & FLAG_DOUBTFUL) !== 0).measure();
  if (block.count !== count || block.last !== origin + span) throw new BytesError("not the records of its header");
  return block;
}

/** The bytes of blocks that will stand at `position`. */
export function frameBlocks(blocks: readonly PackedBlock[], epoch: number, position: number, syncedTo: number): Buffer {
  const bytes = Buffer.allocUnsafe(blocks.reduce((sum, { stored }) => sum + BLOCK_HEADER_BYTES + stored.length, 0));
  let at = 0;
  for (const { stored, ...head } of blocks) {
    const header = { ...head, storedLength: stored.length, bodyCrc: crc32(stored), syncedTo };
    encodeBlockHeader(bytes, at, header, epoch, position + at);
    stored.copy(bytes, at + BLOCK_HEADER_BYTES);
    at += BLOCK_HEADER_BYTES + stored.length;
  }
  return bytes;
}

/** The one segment that is being written. Bytes go to its end, each exactly once. */
export class SegmentWriter {
  readonly segment: Segment;
  readonly #file: OpenFile;
  /** What a full disk has not taken yet: finished later with the very same bytes. */
  #unfinished: Buffer | undefined;
  #position = 0;
  /** Where the last complete append ended. */
  #wholeEnd = 0;

  private constructor(segment: Segment, file: OpenFile) {
    this.segment = segment;
    this.#file = file;
  }

  static async create(segment: Segment, files: Files): Promise<SegmentWriter> {
    return new SegmentWriter(segment, await files.create(segment.path));
  }

  static createNow(segment: Segment, files: Files): SegmentWriter {
    return new SegmentWriter(segment, files.createNow(segment.path));
  }

  /** Where the next block will stand. */
  get end(): number {
    return this.#position + (this.#unfinished?.length ?? 0);
  }

  get isWhole(): boolean {
    return this.#unfinished === undefined;
  }

  get wholeEnd(): number {
    return this.#wholeEnd;
  }

  /** Appends; a part may stay behind when this throws, and `finish` goes on with it. */
  async append(bytes: Buffer): Promise<void> {
    this.#unfinished = this.#unfinished === undefined ? bytes : Buffer.concat([this.#unfinished, bytes]);
    await this.finish();
  }

  /** Writes what an earlier append left behind. */
  async finish(): Promise<void> {
    while (this.#unfinished !== undefined) {
      const taken = await this.#file.write(this.#unfinished, this.#position);
      this.#took(taken);
    }
    this.segment.size = this.#wholeEnd = this.#position;
  }

  /** The same, blocking: for the last write of a dying process. */
  appendNow(bytes: Buffer): void {
    this.#unfinished = this.#unfinished === undefined ? bytes : Buffer.concat([this.#unfinished, bytes]);
    while (this.#unfinished !== undefined) this.#took(this.#file.writeNow(this.#unfinished, this.#position));
    this.segment.size = this.#wholeEnd = this.#position;
  }

  #took(bytes: number): void {
    if (bytes === 0) throw Object.assign(new Error("the disk takes no more bytes"), { code: "ENOSPC" });
    this.#position += bytes;
    this.#unfinished = bytes === this.#unfinished!.length ? undefined : this.#unfinished!.subarray(bytes);
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** Bytes read at a time. Four blocks: sequential for a card, small beside the memory bound. */
const WINDOW_BYTES = 256 * 1024;

export interface FoundBlock {
  readonly position: number;
  readonly header: BlockHeader;
  /** The body, inflated; its crc has been checked. */
  body(): Promise<Buffer>;
}

/** Reads a segment block by block. After bad bytes it goes on at the next header that validates. */
export class SegmentReader {
  readonly segment: Segment;
  readonly #files: Files;
  readonly #compression: Compression;
  #file: OpenFile | undefined;
  readonly #isForward: boolean;
  /** What windows are read into, one after the other. */
  #buffer: Buffer = Buffer.alloc(0);
  #window: Buffer = Buffer.alloc(0);
  #windowAt = 0;
  #position = 0;
  /** Ranges without a valid block, as found so far. */
  readonly bad: Range[] = [];

  /** @param isForward each body is asked for before the next block is, so that all can be read into one buffer */
  constructor(segment: Segment, files: Files, compression: Compression, isForward = false) {
    this.segment = segment;
    this.#files = files;
    this.#compression = compression;
    this.#isForward = isForward;
  }

  /** The header bytes, fewer when the file is shorter. */
  header(): Promise<Buffer> {
    return this.#bytes(0, SEGMENT_HEADER_BYTES);
  }

  /** The next block at or behind the last one whose stored body is intact; undefined at the end. */
  async next(): Promise<FoundBlock | undefined> {
    if (this.#position === 0) this.#position = SEGMENT_HEADER_BYTES;
    let badFrom: number | undefined;
    const { epoch } = this.segment;
    while (this.#position < this.segment.size) {
      const at = this.#position;
      const bytes = await this.#bytes(at, BLOCK_HEADER_BYTES);
      const header = decodeBlockHeader(bytes, 0, epoch, at);
      if (header !== undefined && header.storedLength <= MAX_BODY_BYTES && header.rawLength <= MAX_BODY_BYTES) {
        const end = at + BLOCK_HEADER_BYTES + header.storedLength;
        if (end <= this.segment.size) {
          const stored = await this.#bytes(at + BLOCK_HEADER_BYTES, header.storedLength);
          if (stored.length === header.storedLength && crc32(stored) === header.bodyCrc) {
            if (badFrom !== undefined) this.bad.push({ from: badFrom, to: at });
            this.#position = end;
            return { position: at, header, body: () => this.#body(header, stored) };
          }
        }
      }
      badFrom ??= at;
      this.#position = await this.#nextCandidate(at + 1);
    }
    if (badFrom !== undefined) this.bad.push({ from: badFrom, to: this.segment.size });
    return undefined;
  }

  async #body(header: BlockHeader, stored: Buffer): Promise<Buffer> {
    // A slice would keep its whole window alive, and what is read next may lie in the same buffer.
    const own = Buffer.from(stored);
    if ((header.flags & FLAG_DEFLATED) !== 0) return this.#compression.inflate(own, header.rawLength);
    if (own.length !== header.rawLength) throw new BytesError("body of another length");
    return own;
  }

  async #nextCandidate(from: number): Promise<number> {
    for (let at = from; at < this.segment.size;) {
      const bytes = await this.#bytes(at, Math.min(WINDOW_BYTES, this.segment.size - at));
      if (bytes.length < 4) break;
      const found = nextMagic(bytes, 0);
      if (found >= 0) return at + found;
      at += Math.max(1, bytes.length - 3);
    }
    return this.segment.size;
  }

  /** Bytes of the file from `position`; fewer at its end. */
  async #bytes(position: number, length: number): Promise<Buffer> {
    const from = position - this.#windowAt;
    if (from >= 0 && from + length <= this.#window.length) return this.#window.subarray(from, from + length);
    this.#file ??= await this.#files.open(this.segment.path);
    const wanted = Math.min(Math.max(length, WINDOW_BYTES), Math.max(0, this.segment.size - position));
    if (!this.#isForward || this.#buffer.length < wanted) this.#buffer = Buffer.allocUnsafe(wanted);
    const buffer = this.#buffer.subarray(0, wanted);
    this.#window = buffer.subarray(0, 0); // a read that fails may have overwritten what it held
    const found = await this.#file.read(buffer, position);
    this.#window = buffer.subarray(0, found);
    this.#windowAt = position;
    return this.#window.subarray(0, length);
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    this.#buffer = this.#window = Buffer.alloc(0);
    await file?.close();
  }
}
