/**
 * Reads records from the segments of a log in order of offset. Segments overlap when one repeats what another could not
 * prove; where one of them is damaged the other may still have the record, so neighbours are merged, block by block.
 */
import type { Files } from "../../files.js";
import type { RecordBlock } from "../format/block.js";
import { BytesError } from "../format/bytes.js";
import type { Compression } from "../format/compression.js";
import { decodeSnapshot, type Predecessor, type Snapshot } from "../format/cursor.js";
import { DamageWatch } from "./damage.js";
import { BLOCK_HEADER_BYTES, BLOCK_KINDS } from "../format/frame.js";
import type { BlockSource } from "../consumer/consumer.js";
import type { Range } from "../format/ranges.js";
import { type FoundBlock, type Segment, SegmentReader, unpackRecords } from "./segment.js";

/** The segments to read from, as they are now. */
export interface SegmentList {
  readonly segments: readonly Segment[];
  /** One past the last offset that may be in a segment, as far as is known. */
  endOf(segment: Segment): number;
  /**
   * Bad bytes that no one has told of, found while reading: what lay there had been safe, and is lost.
   * @returns a promise that keeps the reader where it is, and with it the file
   */
  onDamage(segment: Segment, range: Range): Promise<void>;
}

/** Blocks read and inflated while the records of one are used: as many as keep the disk and two cores busy. */
const BLOCKS_AHEAD = 2;

/** A block as it was found. */
interface Loaded {
  readonly found: FoundBlock;
  /** The bad ranges in front of it. */
  readonly bad: readonly Range[];
  /** Only where it has records that are wanted. */
  readonly body: Promise<Buffer> | undefined;
}

class Stream {
  readonly #reader: SegmentReader;
  readonly #damage: DamageWatch;
  /** The blocks behind `peeked`, in order; undefined where there was none when it was looked for. */
  readonly #ahead: Promise<Loaded | undefined>[] = [];
  #loading: Promise<unknown> = Promise.resolve();
  peeked: RecordBlock | undefined;

  constructor(reader: SegmentReader, damage: DamageWatch) {
    this.#reader = reader;
    this.#damage = damage;
  }

  /** Moves `peeked` to the first block that reaches `offset`; false when there is none. */
  async advanceTo(offset: number, lowestWanted: number): Promise<boolean> {
    while (this.peeked === undefined || this.peeked.last < offset) {
      const loaded = await this.#next(offset);
      await this.#damage.passed(loaded?.bad ?? this.#reader.bad, loaded?.found.header, lowestWanted);
      if (loaded === undefined) {
        this.peeked = undefined;
        return false;
      }
      await this.#use(loaded);
      if (this.peeked !== undefined) this.#lookAhead(this.peeked.last + 1);
    }
    return true;
  }

  async #next(offset: number): Promise<Loaded | undefined> {
    for (let ahead = this.#ahead.shift(); ahead !== undefined; ahead = this.#ahead.shift()) {
      const loaded = await ahead;
      if (loaded !== undefined) return loaded; // otherwise the file may have grown since
    }
    return this.#load(offset);
  }

  #lookAhead(offset: number): void {
    while (this.#ahead.length < BLOCKS_AHEAD) {
      const loading = this.#load(offset);
      loading.catch(() => undefined); // whoever comes for the block hears of it
      this.#ahead.push(loading);
    }
  }

  /** Finds the next block, and begins to inflate it. One after the other: that is the order of the file. */
  #load(offset: number): Promise<Loaded | undefined> {
    const loading = this.#loading.then(async (): Promise<Loaded | undefined> => {
      const found = await this.#reader.next();
      if (found === undefined) return undefined;
      const { kind, origin, span } = found.header;
      const isWanted = kind === BLOCK_KINDS.records && origin + span >= offset;
      const body = isWanted ? found.body() : undefined;
      body?.catch(() => undefined); // the same
      return { found, bad: this.#reader.bad.slice(), body };
    });
    this.#loading = loading.catch(() => undefined);
    return loading;
  }

  /** Makes its records the ones at hand, if it has any. */
  async #use({ found: { header, position }, body }: Loaded): Promise<void> {
    if (body === undefined) return;
    try {
      this.peeked = unpackRecords(await body, header);
    } catch (error) {
      if (!(error instanceof BytesError)) throw error;
      await this.#damage.undecodable({ from: position, to: position + BLOCK_HEADER_BYTES + header.storedLength });
    }
  }

  async close(): Promise<void> {
    await this.#loading; // its file is not closed under it
    await this.#reader.close();
  }
}

export class LogReader implements BlockSource {
  readonly #list: SegmentList;
  readonly #files: Files;
  readonly #compression: Compression;
  readonly #streams = new Map<Segment, Stream>();
  /** Read to their end. */
  readonly #finished = new Set<Segment>();
  #turn: Promise<unknown> = Promise.resolve();
  #lastWanted = 0;
  #lowestWanted = Number.POSITIVE_INFINITY;
  #isClosed = false;

  constructor(list: SegmentList, files: Files, compression: Compression) {
    this.#list = list;
    this.#files = files;
    this.#compression = compression;
  }

  /** The block with the lowest record in `[offset, below)`, or undefined. */
  blockAt(offset: number, below: number): Promise<RecordBlock | undefined> {
    return this.#inTurn(() => this.#blockAt(offset, below));
  }

  /** Two may read at the same time, or one while a file is deleted: none closes a file under the other's hands. */
  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const running = this.#turn.then(step);
    this.#turn = running.catch(() => undefined); // whoever asked hears of it
    return running;
  }

  async #blockAt(offset: number, below: number): Promise<RecordBlock | undefined> {
    if (this.#isClosed) throw new Error("the queue is closed");
    if (offset < this.#lastWanted) await this.#letGo();
    this.#lastWanted = offset;
    this.#lowestWanted = Math.min(this.#lowestWanted, offset);
    let best: RecordBlock | undefined;
    let bestFirst = below;
    for (const segment of this.#list.segments.slice()) {
      if (this.#finished.has(segment) || segment.base >= bestFirst) continue;
      if (this.#list.endOf(segment) <= offset) {
        if (!segment.growing) await this.#finish(segment);
        continue;
      }
      const block = await this.#peek(segment, offset);
      if (block === undefined) continue;
      const first = block.firstFrom(offset);
      if (first < bestFirst) [best, bestFirst] = [block, first];
      if (bestFirst === offset) break;
    }
    return best;
  }

  async #peek(segment: Segment, offset: number): Promise<RecordBlock | undefined> {
    let stream = this.#streams.get(segment);
    if (stream === undefined) {
      const sources = { told: () => this.#toldOf(segment), syncedTo: () => this.#syncedToOf(segment) };
      const damage = new DamageWatch(segment, sources, (where, range) => this.#list.onDamage(where, range));
      stream = new Stream(new SegmentReader(segment, this.#files, this.#compression, true), damage);
      this.#streams.set(segment, stream);
    }
    if (await stream.advanceTo(offset, this.#lowestWanted)) return stream.peeked;
    if (!segment.growing) await this.#finish(segment);
    return undefined;
  }

  /** Lets go of a segment that is deleted. */
  forget(segment: Segment): Promise<void> {
    return this.#inTurn(async () => {
      const stream = this.#streams.get(segment);
      this.#streams.delete(segment);
      this.#finished.delete(segment);
      await stream?.close();
    });
  }

  /** Everything that is wanted of this segment was read. */
  async #finish(segment: Segment): Promise<void> {
    const stream = this.#streams.get(segment);
    this.#streams.delete(segment);
    this.#finished.add(segment);
    await stream?.close();
  }

  /** What the successor of a segment noted of it. */
  async #toldOf(segment: Segment): Promise<Predecessor | undefined> {
    const { segments } = this.#list;
    for (const successor of segments.slice(segments.indexOf(segment) + 1)) {
      const snapshot = await this.#snapshotOf(successor);
      // One that nothing was written to says nothing.
      if (snapshot !== undefined)
        return snapshot.predecessor?.epoch === segment.epoch ? snapshot.predecessor : undefined;
    }
    return undefined;
  }

  async #snapshotOf(segment: Segment): Promise<Snapshot | undefined> {
    const reader = new SegmentReader(segment, this.#files, this.#compression);
    try {
      const first = await reader.next();
      return first?.header.kind === BLOCK_KINDS.snapshot ? decodeSnapshot(await first.body()) : undefined;
    } catch (error) {
      if (error instanceof BytesError) return undefined; // damaged as well: nobody knows
      throw error;
    } finally {
      await reader.close();
    }
  }

  async #syncedToOf(segment: Segment): Promise<number> {
    const reader = new SegmentReader(segment, this.#files, this.#compression);
    let syncedTo = 0;
    try {
      for (let found = await reader.next(); found !== undefined; found = await reader.next()) {
        syncedTo = Math.max(syncedTo, found.header.syncedTo);
      }
    } finally {
      await reader.close();
    }
    return syncedTo;
  }

  /** Forgets where it stands and lets go of its files, until it is asked again. */
  rest(): Promise<void> {
    return this.#inTurn(() => this.#letGo());
  }

  /** The same for good: who goes on asking must not open files that nobody would close. */
  close(): Promise<void> {
    this.#isClosed = true;
    return this.rest();
  }

  async #letGo(): Promise<void> {
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    this.#finished.clear();
    this.#lastWanted = 0;
    for (const stream of streams) await stream.close();
  }
}
