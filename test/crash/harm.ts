/**
 * What someone, or a failing card, does to the files between two lives; and what can be known of it afterwards: which
 * records are still intact (those must be delivered), and whether the loss of the others can be found at all.
 */
import type { Compression } from "../../src/log/format/compression.js";
import { RecordBlock } from "../../src/log/format/block.js";
import { decodeSnapshot, type Snapshot } from "../../src/log/format/cursor.js";
import { BLOCK_HEADER_BYTES, BLOCK_KINDS, parseSegmentName, SEGMENT_HEADER_BYTES } from "../../src/log/format/frame.js";
import { type Segment, SegmentReader } from "../../src/log/segments/segment.js";
import { Inode, type Random, type SimDisk } from "../support/sim-disk.js";
import type { Harmed } from "./oracle.js";

interface KnownBlock {
  readonly path: string;
  readonly sequence: number;
  readonly position: number;
  readonly bytes: Buffer;
  readonly syncedTo: number;
  readonly records: readonly number[];
  readonly snapshot: Snapshot | undefined;
}

/** Every valid block of a disk, before it is harmed. */
export class Inventory {
  readonly #blocks: readonly KnownBlock[];

  private constructor(blocks: readonly KnownBlock[]) {
    this.#blocks = blocks;
  }

  static async take(disk: SimDisk, compression: Compression, numberOf: (bytes: Buffer) => number): Promise<Inventory> {
    const blocks: KnownBlock[] = [];
    for (const [path, inode] of disk.names) {
      const name = parseSegmentName(path.slice(path.lastIndexOf("/") + 1));
      if (name === undefined) continue;
      const segment: Segment = {
        ...name,
        path,
        size: inode.cache.length,
        carries: false,
        end: undefined,
        provenLength: 0,
        judged: true,
        knownBad: [],
        growing: false,
      };
      const reader = new SegmentReader(segment, disk, compression);
      for (let block = await reader.next(); block !== undefined; block = await reader.next()) {
        const { header, position } = block;
        const bytes = inode.cache.subarray(position, position + BLOCK_HEADER_BYTES + header.storedLength);
        const records: number[] = [];
        if (header.kind === BLOCK_KINDS.records) {
          const decoded = RecordBlock.decode(await block.body(), header.origin, header.baseTimeMs);
          for (const record of decoded.records()) records.push(numberOf(record.bytes));
        }
        const snapshot = header.kind === BLOCK_KINDS.snapshot ? decodeSnapshot(await block.body()) : undefined;
        const { syncedTo } = header;
        blocks.push({ path, sequence: name.sequence, position, bytes, syncedTo, records, snapshot });
      }
      await reader.close();
    }
    return new Inventory(blocks);
  }

  after(disk: SimDisk, harm: Harm): Aftermath {
    const intact = this.#blocks.filter(({ path, position, bytes }) => {
      const now = disk.names.get(path)?.cache;
      return now !== undefined && now.subarray(position, position + bytes.length).equals(bytes);
    });
    return new Aftermath(this.#blocks, intact, harm);
  }
}

export interface Harm {
  readonly path: string;
  /** First byte that changed; undefined when the file is gone. */
  readonly from: number | undefined;
  /** A file came back that may have been of another time of the log. */
  readonly isAncient?: boolean;
}

export class Aftermath implements Harmed {
  readonly #all: readonly KnownBlock[];
  readonly #intact: readonly KnownBlock[];
  readonly #harm: Harm;
  readonly #records = new Set<number>();
  /** Below this it is known that bytes of the harmed file are missing: 0 when nothing that is left speaks of them. */
  readonly #provenLength: number;

  constructor(all: readonly KnownBlock[], intact: readonly KnownBlock[], harm: Harm) {
    this.#all = all;
    this.#intact = intact;
    this.#harm = harm;
    for (const { records } of intact) for (const n of records) this.#records.add(n);
    const sequence = all.find(({ path }) => path === harm.path)?.sequence;
    this.#provenLength = sequence === undefined ? 0 : this.#provenOf(sequence, harm);
  }

  /** Whether the loss of this record can be known. */
  isFindable(n: number): boolean {
    const { path } = this.#harm;
    return this.#all.some(
      (block) =>
        block.path === path && block.records.includes(n) && block.position + block.bytes.length <= this.#provenLength,
    );
  }

  isIntact(n: number): boolean {
    return this.#records.has(n);
  }

  /** Every block is where it was: bytes were added, or a header was hit, which costs nothing. */
  get isHarmless(): boolean {
    const { from, isAncient } = this.#harm;
    return from !== undefined && isAncient !== true && this.#intact.length === this.#all.length;
  }

  get isAncient(): boolean {
    return this.#harm.isAncient === true;
  }

  /** For the one who has to find out what went wrong. */
  toString(): string {
    const { path, from } = this.#harm;
    const lines = this.#all.map((block) => {
      const what = block.snapshot === undefined ? block.records.join() : JSON.stringify(block.snapshot);
      const state = this.#intact.includes(block) ? "" : " (harmed)";
      return `  ${block.path} at ${block.position} +${block.bytes.length}, synced to ${block.syncedTo}: ${what}${state}`;
    });
    return [`harmed: ${path} from ${from ?? "its start, deleted"}`, ...lines].join("\n");
  }

  #provenOf(sequence: number, { path, from }: Harm): number {
    const newest = this.#intact.findLast(({ snapshot }) => snapshot !== undefined)?.snapshot;
    if (from === undefined) {
      // A deleted file is missed when a later one speaks of it; one that repeats it may have all of it.
      const later = this.#intact.filter((block) => block.sequence > sequence && block.snapshot !== undefined);
      const isMissed = newest !== undefined && newest.firstSequence <= sequence;
      return isMissed && later.some((block) => !block.snapshot!.carries) ? Number.POSITIVE_INFINITY : 0;
    }
    let proven = 0;
    for (const block of this.#intact) {
      if (block.path === path) proven = Math.max(proven, block.syncedTo);
      const told = block.snapshot?.predecessor;
      if (told !== undefined && block.sequence === sequence + 1) proven = Math.max(proven, told.provenLength);
    }
    return proven;
  }
}

type Way = (disk: SimDisk, bytes: Buffer, random: Random) => Buffer | undefined;

const nothing = Buffer.alloc(0);

/** Undefined: the file is deleted. */
const WAYS: readonly Way[] = [
  () => undefined,
  () => nothing,
  flipBit,
  flipBit,
  (_, bytes, random) => Buffer.from(bytes).fill(0, place(bytes, random)),
  (_, bytes, random) => {
    const at = place(bytes, random);
    return Buffer.from(bytes).fill(0, at, Math.min(bytes.length, at + 64));
  },
  (_, bytes, random) => bytes.subarray(0, place(bytes, random)),
  (_, bytes) => Buffer.concat([bytes, Buffer.alloc(100)]),
  (disk, bytes, random) => {
    // Bytes of another file behind these.
    const others = [...disk.names.values()];
    return Buffer.concat([bytes, others[Math.floor(random() * others.length)]!.cache.subarray(SEGMENT_HEADER_BYTES)]);
  },
];

function place(bytes: Buffer, random: Random): number {
  return Math.floor(random() * bytes.length);
}

function flipBit(_: SimDisk, bytes: Buffer, random: Random): Buffer {
  const flipped = Buffer.from(bytes);
  if (bytes.length > 0) flipped[place(bytes, random)]! ^= 1 << Math.floor(random() * 8);
  return flipped;
}

/** Harms one file; undefined when there was nothing to harm. */
export function harm(disk: SimDisk, random: Random): Harm | undefined {
  const files = [...disk.names];
  const chosen = files[Math.floor(random() * files.length)];
  if (chosen === undefined) return undefined;
  const [path, inode] = chosen;
  const back = disk.removed[Math.floor(random() * disk.removed.length)];
  if (back !== undefined && random() < 0.1) {
    // An old file comes back from a backup: nothing is harmed by that.
    if (files.every(([other]) => other > back.path)) put(disk, back.path, back.inode.cache);
    return { path: back.path, from: Number.POSITIVE_INFINITY };
  }
  const ancient = disk.ancient[Math.floor(random() * disk.ancient.length)];
  if (ancient !== undefined && random() < 0.5 && !disk.names.has(ancient.path)) {
    put(disk, ancient.path, ancient.inode.cache);
    return { path: ancient.path, from: Number.POSITIVE_INFINITY, isAncient: true };
  }
  const before = inode.cache;
  const after = WAYS[Math.floor(random() * WAYS.length)]!(disk, before, random);
  if (after === undefined) {
    disk.names.delete(path);
    disk.durableNames.delete(path);
    disk.nameChanges = disk.nameChanges.filter((change) => change.path !== path);
    return { path, from: undefined };
  }
  put(disk, path, after);
  let from = 0;
  while (from < after.length && from < before.length && after[from] === before[from]) from++;
  return { path, from };
}

function put(disk: SimDisk, path: string, bytes: Buffer): void {
  const inode = new Inode();
  inode.cache = inode.durable = bytes;
  disk.names.set(path, inode);
  disk.durableNames.set(path, inode);
  disk.nameChanges = disk.nameChanges.filter((change) => change.path !== path);
}
