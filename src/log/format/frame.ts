/**
 * The outer bytes of a log: names of segments, their header, and the header of each block. No files, no bodies.
 * The layout is specified in FORMAT.md.
 */
import { crc32 } from "node:zlib";

/** Version of everything below. A reader refuses a newer one without touching the folder. */
export const FORMAT_VERSION = 1;

const SEGMENT_MAGIC = 0x51455852; // "RXEQ"
const BLOCK_MAGIC = 0x4b425852; // "RXBK"
export const SEGMENT_HEADER_BYTES = 64;
export const BLOCK_HEADER_BYTES = 48;
/** More than any block we write: a record is at most 64 MiB. Bounds what a damaged length can make a reader allocate. */
export const MAX_BODY_BYTES = 80 * 1024 * 1024;

export interface SegmentName {
  /** Dense and ascending: the order of the files. */
  readonly sequence: number;
  /** Lowest offset that was unconfirmed and unwritten when the file was made. */
  readonly base: number;
  /** Random per file: salts every block in it. */
  readonly epoch: number;
}

const NAME = /^(\d{10})-([0-9a-f]{12})-([0-9a-f]{8})\.seg$/;

export function segmentFileName({ sequence, base, epoch }: SegmentName): string {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
  return `${String(sequence).padStart(10, "0")}-${hex(base, 12)}-${hex(epoch, 8)}.seg`;
}

export function parseSegmentName(name: string): SegmentName | undefined {
  const match = NAME.exec(name);
  if (match === null) return undefined;
  return { sequence: Number(match[1]), base: Number.parseInt(match[2]!, 16), epoch: Number.parseInt(match[3]!, 16) };
}

export interface SegmentHeader extends SegmentName {
  readonly version: number;
  /** 16 bytes: which log this file belongs to, so that a file copied in from elsewhere is recognised. */
  readonly logId: Buffer;
  readonly createdMs: number;
  /** Its first round repeats what its predecessors could not prove, so these may reach beyond its base. */
  readonly carries: boolean;
  /**
   * Which time of the log it is of: the same in all files from one that was made when there was no other, to when there
   * is none again. {@link UNKNOWN_GENERATION} in files of versions that did not note it.
   */
  readonly generation: number;
}

export const UNKNOWN_GENERATION = 0;

/** Flag bit of a segment. The other bits are reserved and zero. */
const FLAG_CARRIES = 1;

export function encodeSegmentHeader(header: Omit<SegmentHeader, "version">): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  bytes.writeUInt32LE(SEGMENT_MAGIC, 0);
  bytes.writeUInt8(FORMAT_VERSION, 4);
  bytes.writeUInt8(header.carries ? FLAG_CARRIES : 0, 5);
  header.logId.copy(bytes, 8, 0, 16);
  bytes.writeUInt32LE(header.epoch, 24);
  bytes.writeUIntLE(header.base, 28, 6);
  bytes.writeUIntLE(header.sequence, 34, 6);
  bytes.writeUIntLE(Math.max(0, Math.floor(header.createdMs)), 40, 6);
  bytes.writeUInt32LE(header.generation, 46);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
  return bytes;
}

/** Undefined when the bytes are not a header, or a damaged one: the name still tells sequence, base and epoch. */
export function decodeSegmentHeader(bytes: Buffer): SegmentHeader | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES || bytes.readUInt32LE(0) !== SEGMENT_MAGIC) return undefined;
  if (bytes.readUInt32LE(60) !== crc32(bytes.subarray(0, 60))) return undefined;
  return {
    version: bytes.readUInt8(4),
    carries: (bytes.readUInt8(5) & FLAG_CARRIES) !== 0,
    logId: Buffer.from(bytes.subarray(8, 24)),
    epoch: bytes.readUInt32LE(24),
    base: bytes.readUIntLE(28, 6),
    sequence: bytes.readUIntLE(34, 6),
    createdMs: bytes.readUIntLE(40, 6),
    generation: bytes.readUInt32LE(46),
  };
}

export const BLOCK_KINDS = { snapshot: 1, cursors: 2, records: 3 } as const;

/** Flag bit: the body is stored as raw deflate. The bits that are not named here are reserved and zero. */
export const FLAG_DEFLATED = 1;
/** Flag bit of a block of records: the wall clock could not be trusted when it was begun. Who does not know it, goes without. */
export const FLAG_DOUBTFUL = 2;

export interface BlockHeader {
  readonly kind: number;
  readonly flags: number;
  readonly count: number;
  /** Bytes of the body as stored, and after inflating. */
  readonly storedLength: number;
  readonly rawLength: number;
  /** Offset that ids and record positions in the body count from. */
  readonly origin: number;
  /** Last offset in the block, counted from `origin`. */
  readonly span: number;
  /** Wall time of the first record, ms since 1970. */
  readonly baseTimeMs: number;
  /** Up to where this file was known to be synced when the block was written. */
  readonly syncedTo: number;
  readonly bodyCrc: number;
}

/** A block is bound to its place: the same bytes in another file, or elsewhere in this one, do not validate. */
function salt(epoch: number, position: number): number {
  const bytes = Buffer.allocUnsafe(10);
  bytes.writeUInt32LE(epoch, 0);
  bytes.writeUIntLE(position, 4, 6);
  return crc32(bytes);
}

export function encodeBlockHeader(
  into: Buffer,
  at: number,
  header: BlockHeader,
  epoch: number,
  position: number,
): void {
  into.writeUInt32LE(BLOCK_MAGIC, at);
  into.writeUInt32LE(header.bodyCrc, at + 8);
  into.writeUInt32LE(header.storedLength, at + 12);
  into.writeUInt32LE(header.rawLength, at + 16);
  into.writeUInt8(header.kind, at + 20);
  into.writeUInt8(header.flags, at + 21);
  into.writeUInt16LE(0, at + 22);
  into.writeUInt32LE(header.count, at + 24);
  into.writeUIntLE(header.origin, at + 28, 6);
  into.writeUInt32LE(header.span, at + 34);
  into.writeUIntLE(Math.max(0, Math.floor(header.baseTimeMs)), at + 38, 6);
  into.writeUInt32LE(header.syncedTo, at + 44);
  into.writeUInt32LE(crc32(into.subarray(at + 8, at + BLOCK_HEADER_BYTES), salt(epoch, position)), at + 4);
}

/** The header at `at` in `bytes`, which stand at `position` in the file; undefined when none validates there. */
export function decodeBlockHeader(bytes: Buffer, at: number, epoch: number, position: number): BlockHeader | undefined {
  if (at + BLOCK_HEADER_BYTES > bytes.length || bytes.readUInt32LE(at) !== BLOCK_MAGIC) return undefined;
  const crc = crc32(bytes.subarray(at + 8, at + BLOCK_HEADER_BYTES), salt(epoch, position));
  if (bytes.readUInt32LE(at + 4) !== crc) return undefined;
  return {
    bodyCrc: bytes.readUInt32LE(at + 8),
    storedLength: bytes.readUInt32LE(at + 12),
    rawLength: bytes.readUInt32LE(at + 16),
    kind: bytes.readUInt8(at + 20),
    flags: bytes.readUInt8(at + 21),
    count: bytes.readUInt32LE(at + 24),
    origin: bytes.readUIntLE(at + 28, 6),
    span: bytes.readUInt32LE(at + 34),
    baseTimeMs: bytes.readUIntLE(at + 38, 6),
    syncedTo: bytes.readUInt32LE(at + 44),
  };
}

/** Where the next block header could begin at or after `at`: the position of the next magic, or -1. */
export function nextMagic(bytes: Buffer, at: number): number {
  const magic = Buffer.allocUnsafe(4);
  magic.writeUInt32LE(BLOCK_MAGIC, 0);
  return bytes.indexOf(magic, at);
}
