/**
 * What all deliveries of a runtime together may hold of records that they have read back from disk. What was just
 * accepted is in memory anyway, and bounded where it is accepted; without this bound, fifty exporters whose targets come
 * back at one time would read fifty times their batches.
 */

/** A delivery never takes less at a time, or none would get on. A larger record travels alone. */
const LEAST_BYTES = 64 * 1024;

export interface Reader {
  /** Bytes of records that it has read back and still holds. */
  readonly readBytes: number;
}

export class ReadShare {
  readonly #mostBytes: number;
  readonly #readers = new Set<Reader>();

  /** @param mostBytes beyond it each delivery has one batch under way, of at most 64 KiB or one record */
  constructor(mostBytes = Infinity) {
    this.#mostBytes = mostBytes;
  }

  enter(reader: Reader): void {
    this.#readers.add(reader);
  }

  leave(reader: Reader): void {
    this.#readers.delete(reader);
  }

  get #freeBytes(): number {
    let free = this.#mostBytes;
    for (const { readBytes } of this.#readers) free -= readBytes;
    return free;
  }

  /** Whether one who has a batch under way may take another beside it. */
  get hasRoom(): boolean {
    return this.#freeBytes >= LEAST_BYTES;
  }

  /** How much may be taken of `bytes`. */
  within(bytes: number): number {
    return Math.min(bytes, Math.max(LEAST_BYTES, this.#freeBytes));
  }
}
