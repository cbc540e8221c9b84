/**
 * Files that somebody has brought back, from a backup of another time of the same log. A log whose files have all gone
 * begins again with the first sequence and the first offset; so neither these, nor a clock that may have been wrong,
 * tell which of two such files is the newer. None of them is hidden by the other: what nobody had confirmed in the files
 * of the smaller part is taken over behind the newest record, under new offsets and with the ids it has, written with
 * the others, and only then are these files removed. What comes twice by that has the same id.
 */
import type { Files } from "../../files.js";
import type { RecordBlock } from "../format/block.js";
import type { Compression } from "../format/compression.js";
import { type Cursor, type Cursors, isConfirmedBy } from "../format/cursor.js";
import { type SegmentHeader, UNKNOWN_GENERATION } from "../format/frame.js";
import { RangeSet } from "../format/ranges.js";
import { cursorsIn, recordsIn, inOrder, scan, scanNewest } from "./scan.js";
import type { Segment } from "./segment.js";

/** Bytes of files that are taken over at one open: they are in memory until they are written. The next open goes on. */
const MOST_BYTES = 32 * 1024 * 1024;

export interface Restored {
  /** To be removed when nothing below `end` is in memory any more. */
  readonly files: readonly string[];
  readonly end: number;
  readonly records: number;
}

/** What a life found without them, and then with them. */
export interface Place {
  readonly cursors: Cursors;
  readonly nextOffset: number;
  /** Where a consumer that no cursor names begins. */
  readonly newcomerOffset: number;
}

interface TakenBack extends Place {
  readonly restored: Restored;
  readonly carried: readonly RecordBlock[];
}

/** The generation with the most bytes: it goes on, and the others are taken over. */
export function mainGeneration(
  files: readonly { readonly size: number; readonly header: SegmentHeader | undefined }[],
): number | undefined {
  const bytes = new Map<number, number>();
  for (const { size, header } of files) {
    if (header === undefined || header.generation === UNKNOWN_GENERATION) continue;
    bytes.set(header.generation, (bytes.get(header.generation) ?? 0) + size);
  }
  let main: number | undefined;
  for (const [generation, size] of bytes) if (main === undefined || size >= bytes.get(main)!) main = generation;
  return main;
}

/** @param others files of other generations, in order of sequence */
export async function takeBack(
  others: readonly (Segment & { readonly generation: number })[],
  found: Place,
  files: Files,
  compression: Compression,
): Promise<TakenBack> {
  let place = found;
  const carried: RecordBlock[] = [];
  const taken: string[] = [];
  let records = 0;
  let bytes = 0;
  for (const generation of new Set(others.map((other) => other.generation))) {
    const segments = others.filter((other) => other.generation === generation);
    const cursors = cursorsIn(await scanNewest(segments, files, compression));
    const isDone = (offset: number): boolean =>
      cursors.size > 0 && [...cursors.values()].every((cursor) => isConfirmedBy(cursor, offset));
    const blocks: RecordBlock[] = [];
    const seen = new RangeSet();
    // Never downwards: a block may begin far below the first of its records that was still needed, and so below zero.
    const shift = Math.max(0, place.nextOffset - Math.min(...segments.map(({ base }) => base)));
    for (const segment of segments) {
      bytes += segment.size;
      if (bytes > MOST_BYTES && taken.length > 0) break;
      for await (const whole of recordsIn(await scan(segment, files, compression), shift)) {
        const fresh = whole.without((offset) => seen.has(offset) || isDone(offset - shift)).measure();
        for (const { offset } of fresh.records()) {
          seen.add(offset, offset + 1);
          records++;
        }
        if (fresh.hasRecords) blocks.push(fresh);
      }
      taken.push(segment.path);
    }
    const ordered = inOrder(blocks);
    carried.push(...ordered);
    place = behind(place, cursors, shift, (ordered.at(-1)?.last ?? place.nextOffset - 1) + 1);
  }
  return { ...place, carried, restored: { files: taken, end: place.nextOffset, records } };
}

/** Where all stand when a part is added behind the rest, of which `cursors` tells who had what. */
function behind(
  { cursors: before, nextOffset: from, newcomerOffset }: Place,
  cursors: Cursors,
  shift: number,
  to: number,
): Place {
  const places = new Map<string, Cursor>();
  for (const id of new Set([...before.keys(), ...cursors.keys()])) {
    const { offset, ranges, state } = before.get(id) ?? { offset: newcomerOffset, ranges: [], state: undefined };
    const confirmed = RangeSet.of(ranges);
    const there = cursors.get(id);
    // Who was not there then has nothing to get from it; unless nobody knows who was.
    if (there !== undefined) {
      confirmed.add(from, Math.min(to, there.offset + shift));
      for (const range of there.ranges)
        confirmed.add(Math.max(from, range.from + shift), Math.min(to, range.to + shift));
    } else if (cursors.size > 0) {
      confirmed.add(from, to);
    }
    const lowest = confirmed.firstGap(offset);
    confirmed.removeBelow(lowest);
    places.set(id, { offset: lowest, ranges: [...confirmed], state });
  }
  const isKnown = newcomerOffset < from || places.size === 0;
  return { cursors: places, nextOffset: to, newcomerOffset: isKnown ? newcomerOffset : to };
}
