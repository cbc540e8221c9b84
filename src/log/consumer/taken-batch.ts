import type { TakeLimits } from "../../record-source.js";
import type { LogRecord } from "../../record.js";

/** The records of one `take`, within its limits. */
export class TakenBatch {
  readonly records: LogRecord[] = [];
  readonly #limits: TakeLimits;
  #bytes = 0;

  constructor(limits: TakeLimits) {
    this.#limits = limits;
  }

  get isFull(): boolean {
    return (
      this.records.length >= this.#limits.records || (this.#bytes >= this.#limits.bytes && this.records.length > 0)
    );
  }

  skips(record: LogRecord): boolean {
    return this.#limits.skip?.(record) === true;
  }

  /** False when the record does not fit behind others. */
  add(record: LogRecord): boolean {
    if (this.records.length > 0 && this.#bytes + record.size > this.#limits.bytes) return false;
    this.#bytes += record.size;
    this.records.push(record);
    return true;
  }
}
