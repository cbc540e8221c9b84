/**
 * Reading segments as a whole, for those who have to judge what stands in them: what a life finds when it begins, and
 * what somebody has brought back.
 */
import type { Files } from "../../files.js";
import type { RecordBlock } from "../format/block.js";
import { BytesError } from "../format/bytes.js";
import type { Compression } from "../format/compression.js";
import { type Cursor, decodeCursorChanges, decodeSnapshot, type Predecessor, type Snapshot } from "../format/cursor.js";
import { BLOCK_HEADER_BYTES, BLOCK_KINDS, SEGMENT_HEADER_BYTES } from "../format/frame.js";
import type { Range } from "../format/ranges.js";
import { type FoundBlock, type Segment, SegmentReader, unpackRecords } from "./segment.js";

export interface Scan {
  readonly segment: Segment;
  readonly snapshot: Snapshot | undefined;
  /** Cursor changes in order, with the place they stood. */
  readonly changes: readonly ReadonlyMap<string, Cursor | null>[];
  readonly records: readonly { readonly position: number; readonly block: FoundBlock }[];
  readonly bad: Range[];
  /** The highest `syncedTo` that a block of this file tells, and the highest of those behind the snapshot. */
  readonly syncedTo: number;
  readonly laterSyncedTo: number;
}

export async function scan(segment: Segment, files: Files, compression: Compression): Promise<Scan> {
  const reader = new SegmentReader(segment, files, compression);
  let snapshot: Snapshot | undefined;
  const changes: Map<string, Cursor | null>[] = [];
  const records: { position: number; block: FoundBlock }[] = [];
  const bad: Range[] = [];
  let syncedTo = 0;
  let laterSyncedTo = 0;
  try {
    for (let block = await reader.next(); block !== undefined; block = await reader.next()) {
      const { header, position } = block;
      syncedTo = Math.max(syncedTo, header.syncedTo);
      if (position > SEGMENT_HEADER_BYTES) laterSyncedTo = Math.max(laterSyncedTo, header.syncedTo);
      try {
        if (header.kind === BLOCK_KINDS.snapshot) snapshot = decodeSnapshot(await block.body());
        else if (header.kind === BLOCK_KINDS.cursors) changes.push(decodeCursorChanges(await block.body()));
        else if (header.kind === BLOCK_KINDS.records) records.push({ position, block });
      } catch (error) {
        if (!(error instanceof BytesError)) throw error;
        bad.push(placeOf(block)); // the crc held, the content did not: as good as damaged
      }
    }
    bad.push(...reader.bad);
  } finally {
    await reader.close();
  }
  bad.sort(inPlace);
  return { segment, snapshot, changes, records, bad, syncedTo, laterSyncedTo };
}

/** The segments whose blocks decide: the newest, and older ones as long as these cannot speak for themselves. */
export async function scanNewest(
  segments: readonly Segment[],
  files: Files,
  compression: Compression,
): Promise<Scan[]> {
  const scans: Scan[] = [];
  for (let i = segments.length - 1; i >= 0; i--) {
    const found = await scan(segments[i]!, files, compression);
    const isProven = found.laterSyncedTo > 0 || (toldOf(found, scans)?.provenLength ?? 0) > 0;
    scans.unshift(found);
    // A file whose first round repeats others is trusted alone only once it is told that this round was synced.
    if (found.snapshot !== undefined && (!found.snapshot.carries || isProven)) break;
  }
  return scans;
}

/** What the next file with a snapshot notes of a file: between them may be one that nothing was written to. */
export function toldOf(found: Scan, later: readonly Scan[]): Predecessor | undefined {
  const told = later.find(({ snapshot }) => snapshot !== undefined)?.snapshot?.predecessor;
  return told?.epoch === found.segment.epoch ? told : undefined;
}

/** Where everyone stood by these segments, oldest first. */
export function cursorsIn(scans: readonly Scan[]): Map<string, Cursor> {
  const cursors = new Map<string, Cursor>();
  for (const { snapshot, changes } of scans) {
    if (snapshot !== undefined) {
      cursors.clear();
      for (const [id, cursor] of snapshot.cursors) cursors.set(id, cursor);
    }
    for (const [id, cursor] of changes.flatMap((change) => [...change])) {
      if (cursor === null) cursors.delete(id);
      else cursors.set(id, cursor);
    }
  }
  return cursors;
}

/**
 * The records of each block of a file, in order. One whose crc holds and whose content does not is passed over, and noted
 * with the bad ranges of the file: a log that did not open for it would keep all the others from their targets.
 * @param shift what is added to offsets; ids stay what they are
 * @param isWanted the others are passed over unread
 */
export async function* recordsIn(
  { records, bad }: Scan,
  shift = 0,
  isWanted: (block: FoundBlock) => boolean = () => true,
): AsyncGenerator<RecordBlock> {
  for (const { block } of records) {
    if (!isWanted(block)) continue;
    const { body, header, position } = block;
    let found: RecordBlock;
    try {
      found = unpackRecords(await body(), { ...header, origin: header.origin + shift });
    } catch (error) {
      if (!(error instanceof BytesError)) throw error;
      if (!bad.some(({ from }) => from === position)) bad.push(placeOf(block));
      bad.sort(inPlace);
      continue;
    }
    yield found;
  }
}

function placeOf({ position, header }: FoundBlock): Range {
  return { from: position, to: position + BLOCK_HEADER_BYTES + header.storedLength };
}

function inPlace(a: Range, b: Range): number {
  return a.from - b.from;
}

/** Sorts blocks by offset, cutting those that interleave. */
export function inOrder(pieces: RecordBlock[]): RecordBlock[] {
  pieces.sort((a, b) => a.first - b.first);
  for (let i = 0; i + 1 < pieces.length; i++) {
    const [piece, next] = [pieces[i]!, pieces[i + 1]!];
    if (piece.last < next.first) continue;
    const before = piece.without((offset) => offset >= next.first).measure();
    const after = piece.without((offset) => offset < next.first).measure();
    pieces.splice(i, 2, before, next, after);
    pieces.sort((a, b) => a.first - b.first);
  }
  return pieces;
}
