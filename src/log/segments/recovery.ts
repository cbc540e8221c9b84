/**
 * What a folder of segments says when a life begins. Reads names, headers and the newest segments; writes nothing, so
 * doing it twice gives the same. Never throws over what it finds, whatever was torn, damaged, deleted or copied in;
 * only a newer format is refused, untouched.
 */
import type { Files } from "../../files.js";
import type { RecordBlock } from "../format/block.js";
import type { Compression } from "../format/compression.js";
import { type Cursor, type Cursors, isConfirmedBy } from "../format/cursor.js";
import { FORMAT_VERSION, parseSegmentName, UNKNOWN_GENERATION } from "../format/frame.js";
import { type Identified, identified, type Listed, ownerOf, withHeaders } from "./identified.js";
import { RangeSet } from "../format/ranges.js";
import { mainGeneration, type Restored, takeBack } from "./restored.js";
import { cursorsIn, recordsIn, inOrder, type Scan, scanNewest, toldOf } from "./scan.js";
import type { Segment } from "./segment.js";

/** Written by a version of this package that is newer than this one. Nothing was changed. */
export class NewerFormatError extends Error {
  override readonly name = "NewerFormatError";
  readonly code = "newer-format";
}

/** Something is gone that had been safe. Only what is proven is reported. */
export interface Loss {
  readonly kind: "damage" | "missing-segment";
  readonly path: string;
  /** Where in that file. */
  readonly from: number;
  /** Bytes that cannot be read; 0 for a missing segment. */
  readonly bytes: number;
}

export interface Recovered {
  readonly logId: Buffer;
  /** Files of this log, in order. */
  readonly segments: readonly Segment[];
  /** Files of another time of this log, that somebody has brought back. */
  readonly restored: Restored;
  /** What files of the log tell of the time that they are of; undefined when none does. */
  readonly generation: number | undefined;
  /** Files of another log, or copies of ours under other names, put there by someone: left alone. */
  readonly foreign: readonly string[];
  readonly nextSequence: number;
  readonly nextOffset: number;
  readonly cursors: Cursors;
  /** Where a consumer that no cursor names begins. */
  readonly newcomerOffset: number;
  /** Records that were read but cannot be proven to be on the disk: to be written again, with the same offsets. */
  readonly carried: readonly RecordBlock[];
  readonly losses: readonly Loss[];
  /** Bytes at the end of what was never synced: no loss of anything promised. */
  readonly tornBytes: number;
}

/**
 * The records above what each file proves, and whatever else lies behind the first of these, so that memory holds an
 * unbroken end of the log. Each offset once, in order, still with the ids of their blocks.
 */
async function collectCarried(scans: readonly Scan[], isDone: (offset: number) => boolean): Promise<RecordBlock[]> {
  let lowest = Number.POSITIVE_INFINITY;
  for (const found of scans) {
    for await (const block of recordsIn(found, 0, ({ position }) => position >= found.segment.provenLength)) {
      for (const { offset } of block.records()) if (!isDone(offset)) lowest = Math.min(lowest, offset);
    }
  }
  const pieces: RecordBlock[] = [];
  const seen = new RangeSet();
  for (const found of scans) {
    for await (const whole of recordsIn(found, 0, ({ header }) => header.origin + header.span >= lowest)) {
      const fresh = whole.without((offset) => offset < lowest || seen.has(offset) || isDone(offset)).measure();
      if (!fresh.hasRecords) continue;
      for (const { offset } of fresh.records()) seen.add(offset, offset + 1);
      pieces.push(fresh);
    }
  }
  return inOrder(pieces);
}

/**
 * @param expectedId the id this log should have; another is adopted when the whole folder has it (a restored backup)
 * @throws {NewerFormatError} when a segment was written by a newer version
 */
export async function recover(
  folder: string,
  expectedId: Buffer,
  files: Files,
  compression: Compression,
): Promise<Recovered> {
  const listed: Listed[] = [];
  for (const file of await files.list(folder)) {
    const name = parseSegmentName(file);
    if (name === undefined) continue;
    const path = `${folder}/${file}`;
    const size = await files.size(path);
    if (size === undefined) continue; // somebody's folder: no bytes of ours are in it
    listed.push({ ...name, path, size });
  }
  const readable = await withHeaders(listed, files);
  const newer = readable.find(({ header }) => header !== undefined && header.version > FORMAT_VERSION);
  if (newer !== undefined) {
    const message = `${newer.path} was written by a newer version of this package (format ${newer.header!.version})`;
    throw new NewerFormatError(`${message}. Update the package, or move the folder away. Nothing was changed.`);
  }
  const { all, copies } = identified(readable);
  const logId = ownerOf(all, expectedId);
  const isForeign = ({ header }: Identified): boolean => header?.logId.equals(logId) === false;
  const generation = mainGeneration(
    all.map((file) => ({ size: file.size, header: isForeign(file) ? undefined : file.header })),
  );
  const segments: Segment[] = [];
  const others: (Segment & { readonly generation: number })[] = [];
  const foreign = copies.map(({ path }) => path);
  for (const found of all) {
    const { header, ...file } = found;
    if (isForeign(found)) {
      foreign.push(file.path);
      continue;
    }
    // A header that cannot be read might have said that its file repeats others.
    const carries = header?.carries ?? true;
    const unknown = { end: undefined, provenLength: 0, judged: false, knownBad: [], growing: false };
    const own = header?.generation ?? UNKNOWN_GENERATION;
    if (own === UNKNOWN_GENERATION || own === generation) segments.push({ ...file, carries, ...unknown });
    else others.push({ ...file, carries, ...unknown, generation: own });
  }

  const scans = await scanNewest(segments, files, compression);
  const cursors = cursorsIn(scans);
  let nextOffset = 0;
  let tornBytes = 0;
  scans.forEach((found, i) => {
    const { segment, snapshot } = found;
    segment.provenLength = Math.max(found.syncedTo, toldOf(found, scans.slice(i + 1))?.provenLength ?? 0);
    segment.judged = true;
    if (segment.provenLength > segment.size) found.bad.push({ from: segment.size, to: segment.provenLength });
    segment.knownBad = found.bad;
    const lastBlock = found.records.at(-1)?.block.header;
    segment.end = lastBlock === undefined ? segment.base : lastBlock.origin + lastBlock.span + 1;
    for (const { block } of found.records) {
      segment.end = Math.max(segment.end, block.header.origin + block.header.span + 1);
    }
    nextOffset = Math.max(nextOffset, found.records.length > 0 ? segment.end : 0, snapshot?.nextOffset ?? 0);
  });
  for (const { base } of segments) nextOffset = Math.max(nextOffset, base);
  for (const { offset, ranges } of cursors.values()) nextOffset = Math.max(nextOffset, offset, ranges.at(-1)?.to ?? 0);

  const isDone = (offset: number): boolean =>
    cursors.size > 0 && [...cursors.values()].every((cursor) => isConfirmedBy(cursor, offset));
  const hasSnapshot = scans.some(({ snapshot }) => snapshot !== undefined);
  // A file that the log had deleted and somebody has brought back: everything in it was done.
  const first = scans.findLast(({ snapshot }) => snapshot !== undefined)?.snapshot?.firstSequence ?? 0;
  for (const segment of segments) if (segment.sequence < first) segment.end = 0;

  const newcomerOffset = newcomer(scans, segments, hasSnapshot, nextOffset);
  // A consumer that no cursor names may need what all the named ones have done.
  const carried = await collectCarried(scans, (offset) => offset < newcomerOffset && isDone(offset));
  for (const { segment, bad } of scans) {
    for (const { from, to } of bad) tornBytes += Math.max(0, to - Math.max(from, segment.provenLength));
  }

  const places = scans.length === segments.length ? passHoles(cursors, scans, nextOffset) : cursors;
  const back = await takeBack(others, { cursors: places, nextOffset, newcomerOffset }, files, compression);

  return {
    logId,
    generation,
    segments,
    restored: back.restored,
    foreign,
    nextSequence: (segments.at(-1)?.sequence ?? 0) + 1,
    nextOffset: back.nextOffset,
    cursors: back.cursors,
    newcomerOffset: back.newcomerOffset,
    carried: [...carried, ...back.carried],
    // Of a generation that was brought back itself, any file may be missing: nobody knows which one that is.
    losses: lossesOf(scans, segments, cursors, hasSnapshot).filter(
      ({ kind }) => kind === "damage" || others.length === 0,
    ),
    tornBytes,
  };
}

/**
 * Moves cursors over offsets that no record has: those are done for everyone. Consumers that are opened do so by
 * themselves; one that nobody opens would otherwise seem to wait for files that were deleted because nothing is in them.
 */
function passHoles(cursors: Cursors, scans: readonly Scan[], nextOffset: number): Cursors {
  const blocks = scans.flatMap(({ records }) => records.map(({ block: { header } }) => header));
  const passed = new Map<string, Cursor>();
  for (const [id, cursor] of cursors) {
    let to = nextOffset;
    for (const { origin, span } of blocks) {
      if (origin + span >= cursor.offset) to = Math.min(to, Math.max(origin, cursor.offset));
    }
    const confirmed = RangeSet.of(cursor.ranges);
    confirmed.add(cursor.offset, to);
    const offset = confirmed.firstGap(cursor.offset);
    confirmed.removeBelow(offset);
    passed.set(id, { ...cursor, offset, ranges: [...confirmed] });
  }
  return passed;
}

/**
 * A consumer without a cursor is new and starts at the present; unless its cursor may have been lost to damage: then at
 * the first intact record behind the damage, or at the oldest record when nothing is known of anyone.
 */
function newcomer(scans: readonly Scan[], segments: readonly Segment[], known: boolean, nextOffset: number): number {
  if (segments.length === 0) return nextOffset;
  if (!known) return Math.min(...segments.map(({ base }) => base));
  const newest = scans.findLast(({ snapshot }) => snapshot !== undefined)!;
  for (const found of scans.slice(scans.indexOf(newest))) {
    const damage = found.bad[0];
    if (damage === undefined) continue;
    const after = found.records.find(({ position }) => position >= damage.to);
    if (after !== undefined) return after.block.header.origin;
  }
  return nextOffset;
}

function lossesOf(scans: readonly Scan[], segments: readonly Segment[], cursors: Cursors, known: boolean): Loss[] {
  const losses: Loss[] = [];
  const lowest = Math.min(...[...cursors.values()].map(({ offset }) => offset));
  const needsBelow = (offset: number): boolean => cursors.size === 0 || lowest < offset;

  const newestSnapshot = scans.findLast(({ snapshot }) => snapshot !== undefined)?.snapshot;
  let expected = newestSnapshot?.firstSequence;
  if (expected !== undefined) {
    for (const { sequence, base, path } of segments) {
      if (sequence > expected && needsBelow(base)) losses.push({ kind: "missing-segment", path, from: 0, bytes: 0 });
      if (sequence >= expected) expected = sequence + 1;
    }
  }
  scans.forEach((found, i) => {
    const { segment } = found;
    const toldBad = RangeSet.of(toldOf(found, scans.slice(i + 1))?.badRanges ?? []);
    for (const range of found.bad) {
      const bytes = Math.min(range.to, segment.provenLength) - range.from;
      if (bytes <= 0 || toldBad.countIn(range.from, range.from + bytes) >= bytes) continue;
      const after = found.records.find(({ position }) => position >= range.to)?.block.header.origin;
      if (!known || needsBelow(after ?? segments[segments.indexOf(segment) + 1]?.base ?? Number.POSITIVE_INFINITY)) {
        losses.push({ kind: "damage", path: segment.path, from: range.from, bytes });
      }
    }
  });
  return losses;
}
