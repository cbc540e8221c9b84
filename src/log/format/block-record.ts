/** A record of a block, as whoever reads it holds it. Blocks are `block.ts`. */
import type { CodecTag, LogRecord, Offset, Routing } from "../../record.js";
import { idAt } from "../../uuid.js";

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

/** What a record needs of the block that it lies in, and so keeps in memory. */
export interface BlockPage extends Pick<BlockOrigin, "origin" | "idBase" | "baseTimeMs"> {
  readonly page: Buffer;
  readonly replayed: boolean;
}

/** A record as a consumer holds it: where it lies. A hundred thousand of them are no load for the garbage collector. */
export class BlockRecord implements LogRecord {
  readonly offset: Offset;
  readonly codec: CodecTag;
  readonly routing: Routing;
  readonly start: number;
  readonly size: number;
  /** First offset that confirming this record settles: offsets between two records are done for everyone. */
  readonly coversFrom: number;
  readonly #block: BlockPage;
  readonly #sinceMs: number;
  readonly #time: BlockTime;

  /** @param sinceMs how long after the first record of the block it was accepted */
  constructor(
    block: BlockPage,
    offset: number,
    coversFrom: number,
    start: number,
    size: number,
    codec: CodecTag,
    routing: Routing,
    sinceMs: number,
    time: BlockTime,
  ) {
    this.#block = block;
    this.offset = offset as Offset;
    this.coversFrom = coversFrom;
    this.start = start;
    this.size = size;
    this.codec = codec;
    this.routing = routing;
    this.#sinceMs = sinceMs;
    this.#time = time;
  }

  get page(): Buffer {
    return this.#block.page;
  }

  get bytes(): Buffer {
    return this.#block.page.subarray(this.start, this.start + this.size);
  }

  get acceptedAtMs(): number {
    return this.#block.baseTimeMs + this.#sinceMs + this.#time.shiftMs;
  }

  get replayed(): boolean {
    return this.#block.replayed;
  }

  get isTimeDoubtful(): boolean {
    return this.#time.isDoubtful;
  }

  get id(): Buffer {
    return idAt(this.#block.idBase, this.offset - this.#block.origin);
  }

  /** The same record with bytes of its own: one that is kept for long must not hold its whole block. */
  detached(): BlockRecord {
    const { origin, idBase, baseTimeMs, replayed, page } = this.#block;
    const own = Buffer.from(page.subarray(this.start, this.start + this.size + 1));
    const block = { origin, idBase: Buffer.from(idBase), baseTimeMs, replayed, page: own };
    return this.#as(block, 0, this.routing);
  }

  /** The same record with another routing. */
  routed(routing: Routing): BlockRecord {
    return this.#as(this.#block, this.start, routing);
  }

  #as(block: BlockPage, start: number, routing: Routing): BlockRecord {
    const { offset, coversFrom, size, codec } = this;
    return new BlockRecord(block, offset, coversFrom, start, size, codec, routing, this.#sinceMs, this.#time);
  }
}
