/**
 * Records and bytes per second over the last ten seconds, for status and metrics.
 */
const SLOTS = 10;
const SLOT_MS = 1_000;

export interface Rates {
  readonly recordsPerSecond: number;
  readonly bytesPerSecond: number;
}

export class Throughput {
  readonly #records = new Float64Array(SLOTS);
  readonly #bytes = new Float64Array(SLOTS);
  #slot = 0;

  add(records: number, bytes: number, nowMs: number): void {
    this.#moveTo(nowMs);
    this.#records[this.#slot % SLOTS]! += records;
    this.#bytes[this.#slot % SLOTS]! += bytes;
  }

  rates(nowMs: number): Rates {
    this.#moveTo(nowMs);
    const seconds = (SLOTS * SLOT_MS) / 1_000;
    return { recordsPerSecond: sum(this.#records) / seconds, bytesPerSecond: sum(this.#bytes) / seconds };
  }

  #moveTo(nowMs: number): void {
    const slot = Math.floor(nowMs / SLOT_MS);
    const passed = Math.min(slot - this.#slot, SLOTS);
    for (let i = 1; i <= passed; i++) {
      this.#records[(slot - passed + i) % SLOTS] = 0;
      this.#bytes[(slot - passed + i) % SLOTS] = 0;
    }
    this.#slot = Math.max(slot, this.#slot);
  }
}

function sum(slots: Float64Array): number {
  return slots.reduce((total, slot) => total + slot, 0);
}
