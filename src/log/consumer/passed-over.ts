/**
 * Records that one reader has read and left lying, since their destination waits: they are taken first when it does not
 * any more. Each is held in memory, so there may not be many of them.
 */
import type { BlockRecord } from "../format/block-record.js";
import type { TakenBatch } from "./taken-batch.js";

/** How far a reader looks past records whose destination waits. */
const MAX_RECORDS = 1_000;
const MAX_BYTES = 1024 * 1024;

export class PassedOver {
  /** In order. */
  #records: BlockRecord[] = [];
  #bytes = 0;

  get isFull(): boolean {
    return this.#records.length >= MAX_RECORDS || this.#bytes >= MAX_BYTES;
  }

  add(record: BlockRecord): void {
    const own = record.detached();
    this.#records.push(own);
    this.#bytes += own.size;
  }

  /** Moves into the batch what it takes. @param onTaken told of each */
  takeInto(batch: TakenBatch, onTaken: (record: BlockRecord) => void): void {
    this.#keep((record) => {
      if (batch.isFull || batch.skips(record) || !batch.add(record)) return true;
      onTaken(record);
      return false;
    });
  }

  /** Forgets those in `[from, to)`. */
  forget(from: number, to = Number.POSITIVE_INFINITY): void {
    this.#keep(({ offset }) => offset < from || offset >= to);
  }

  #keep(isKept: (record: BlockRecord) => boolean): void {
    if (this.#records.length === 0) return;
    this.#records = this.#records.filter(isKept);
    this.#bytes = this.#records.reduce((sum, { size }) => sum + size, 0);
  }
}
