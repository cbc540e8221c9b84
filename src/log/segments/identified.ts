/**
 * Which files of a folder are of the log, and in what order, by what their headers say. What follows from the files is
 * `recovery.ts`.
 */
import type { Files } from "../../files.js";
import {
  decodeSegmentHeader,
  SEGMENT_HEADER_BYTES,
  segmentFileName,
  type SegmentHeader,
  type SegmentName,
} from "../format/frame.js";

/** A file by its name. */
export interface Listed extends SegmentName {
  readonly path: string;
  readonly size: number;
}

/** With what its header says, where that can be read. */
export interface Identified extends Listed {
  readonly header: SegmentHeader | undefined;
}

/** How many header reads are under way at once: few, since libuv has four threads for everyone. */
const HEADERS_AT_ONCE = 2;

export async function withHeaders(listed: readonly Listed[], files: Files): Promise<Identified[]> {
  const found: Identified[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < listed.length; i = next++) {
      const file = await files.open(listed[i]!.path);
      try {
        const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
        found[i] = { ...listed[i]!, header: decodeSegmentHeader(bytes.subarray(0, await file.read(bytes, 0))) };
      } finally {
        await file.close();
      }
    }
  };
  await Promise.all(Array.from({ length: HEADERS_AT_ONCE }, worker));
  return found;
}

/**
 * In order, each once. A file is what its header says, whatever name somebody gave it: by a wrong epoch none of its
 * blocks would be believed, and in a wrong place it would seem to end the files before it.
 */
export function identified(found: readonly Identified[]): {
  readonly all: readonly Identified[];
  readonly copies: readonly Identified[];
} {
  const own = found.map((file) => {
    const { sequence, base, epoch } = file.header ?? file;
    return { ...file, sequence, base, epoch };
  });
  const isRenamed = (file: Listed): boolean => !file.path.endsWith(segmentFileName(file));
  const byName = new Map<string, Identified>();
  const copies: Identified[] = [];
  // Those that have their names first: of two that say the same, the other one is the copy.
  for (const file of [...own.filter((one) => !isRenamed(one)), ...own.filter(isRenamed)]) {
    const name = segmentFileName(file);
    if (byName.has(name)) copies.push(file);
    else byName.set(name, file);
  }
  const all = [...byName.values()].sort((a, b) => a.sequence - b.sequence || a.epoch - b.epoch);
  return { all, copies };
}

/** The log that most files belong to; the expected one if any does. */
export function ownerOf(all: readonly Identified[], expected: Buffer): Buffer {
  const votes = new Map<string, { id: Buffer; count: number }>();
  for (const { header } of all) {
    if (header === undefined) continue;
    if (header.logId.equals(expected)) return expected;
    const key = header.logId.toString("hex");
    const vote = votes.get(key) ?? { id: header.logId, count: 0 };
    vote.count++;
    votes.set(key, vote);
  }
  let best: { id: Buffer; count: number } | undefined;
  for (const vote of votes.values()) if (best === undefined || vote.count >= best.count) best = vote;
  return best?.id ?? expected;
}
