/**
 * Cursors and the bodies of the two blocks that carry them: the snapshot at the start of each segment, and the cursor
 * blocks behind it. Entries are absolute, never increments, so that losing one costs only what it said.
 */
import { ByteReader, BytesError, ByteWriter } from "./bytes.js";
import { type Range, RangeSet } from "./ranges.js";

export interface Cursor {
  /** The lowest unconfirmed offset. */
  readonly offset: number;
  /** Confirmed ranges above it. */
  readonly ranges: readonly Range[];
  /** What the consumer's target wants to find again: at most 4,096 bytes. */
  readonly state: Buffer | undefined;
}

export function isConfirmedBy({ offset: cursor, ranges }: Cursor, offset: number): boolean {
  return offset < cursor || ranges.some(({ from, to }) => offset >= from && offset < to);
}

/** How many offsets of `[from, to)` it has not confirmed. */
export function unconfirmedIn({ offset, ranges }: Cursor, from: number, to: number): number {
  const start = Math.max(from, offset);
  return start >= to ? 0 : to - start - RangeSet.of(ranges).countIn(start, to);
}

/** The same with everything below `offset` confirmed, and beyond it what is confirmed without a gap. */
export function movedTo(cursor: Cursor, offset: number): Cursor {
  const confirmed = RangeSet.of(cursor.ranges);
  const lowest = confirmed.firstGap(Math.max(offset, cursor.offset));
  confirmed.removeBelow(lowest);
  return { ...cursor, offset: lowest, ranges: [...confirmed] };
}

/** How far each consumer is, by its id. */
export type Cursors = ReadonlyMap<string, Cursor>;

/** The part of a cursor block: a removed consumer is `null`. */
export type CursorChanges = ReadonlyMap<string, Cursor | null>;

export interface Predecessor {
  readonly epoch: number;
  /** Bytes of that file known to have been synced: below this, bad bytes are damage; above, a torn tail. */
  readonly provenLength: number;
  /** Bad byte ranges that were known when this segment was made: not to be reported again. */
  readonly badRanges: readonly Range[];
}

export interface Snapshot {
  readonly nextOffset: number;
  /** The oldest segment that existed. */
  readonly firstSequence: number;
  readonly predecessor: Predecessor | undefined;
  /** The first round of this file repeats records that its predecessors could not prove. */
  readonly carries: boolean;
  readonly cursors: Cursors;
}

function writeRanges(writer: ByteWriter, ranges: readonly Range[], start: number): void {
  writer.varint(ranges.length);
  let last = start;
  for (const { from, to } of ranges) {
    writer.varint(from - last).varint(to - from);
    last = to;
  }
}

function readRanges(reader: ByteReader, start: number): Range[] {
  const count = reader.varint();
  const ranges: Range[] = [];
  let last = start;
  for (let i = 0; i < count; i++) {
    const from = last + reader.varint();
    const to = from + reader.varint();
    if (to <= from || !Number.isSafeInteger(to)) throw new BytesError("not a range");
    ranges.push({ from, to });
    last = to;
  }
  return ranges;
}

export function encodeCursorChanges(changes: CursorChanges, writer = new ByteWriter()): Buffer {
  writer.varint(changes.size);
  for (const [id, cursor] of changes) {
    writer.text(id);
    if (cursor === null) {
      writer.varint(0);
      continue;
    }
    writer.varint(cursor.state === undefined ? 1 : 2).varint(cursor.offset);
    writeRanges(writer, cursor.ranges, cursor.offset);
    if (cursor.state !== undefined) writer.bytes(cursor.state);
  }
  return writer.finish();
}

function readCursorChanges(reader: ByteReader): Map<string, Cursor | null> {
  const changes = new Map<string, Cursor | null>();
  const count = reader.varint();
  for (let i = 0; i < count; i++) {
    const id = reader.text();
    const shape = reader.varint();
    if (shape === 0) {
      changes.set(id, null);
      continue;
    }
    if (shape > 2) throw new BytesError("cursor of an unknown shape");
    const offset = reader.varint();
    const ranges = readRanges(reader, offset);
    const state = shape === 2 ? Buffer.from(reader.bytes()) : undefined;
    changes.set(id, { offset, ranges, state });
  }
  return changes;
}

/** @throws {BytesError} when the bytes are not a cursor body */
export function decodeCursorChanges(body: Buffer): Map<string, Cursor | null> {
  return readCursorChanges(new ByteReader(body));
}

export function encodeSnapshot(snapshot: Snapshot): Buffer {
  const writer = new ByteWriter();
  writer
    .varint(snapshot.nextOffset)
    .varint(snapshot.firstSequence)
    .varint(snapshot.carries ? 1 : 0);
  const { predecessor } = snapshot;
  writer.varint(predecessor === undefined ? 0 : 1);
  if (predecessor !== undefined) {
    writer.varint(predecessor.epoch).varint(predecessor.provenLength);
    writeRanges(writer, predecessor.badRanges, 0);
  }
  return encodeCursorChanges(snapshot.cursors, writer);
}

/** @throws {BytesError} when the bytes are not a snapshot body */
export function decodeSnapshot(body: Buffer): Snapshot {
  const reader = new ByteReader(body);
  const nextOffset = reader.varint();
  const firstSequence = reader.varint();
  const carries = reader.varint() === 1;
  let predecessor: Predecessor | undefined;
  if (reader.varint() === 1) {
    const epoch = reader.varint();
    const provenLength = reader.varint();
    predecessor = { epoch, provenLength, badRanges: readRanges(reader, 0) };
  }
  const cursors = new Map<string, Cursor>();
  for (const [id, cursor] of readCursorChanges(reader)) if (cursor !== null) cursors.set(id, cursor);
  return { nextOffset, firstSequence, predecessor, carries, cursors };
}
