/**
 * A log without a disk, strict about its contract: a record has one fate, and only who took it may decide it.
 */
import type { Backlog, RecordSource, TakeLimits } from "../../src/record-source.js";
import type { Encoded, LogRecord, Offset, Routing } from "../../src/record.js";

/** How far `take` looks ahead past what it is told to skip. */
const MOST_PASSED_OVER = 1_500;

export interface RecordParts {
  readonly payload?: unknown;
  readonly encoded?: Encoded;
  readonly routing?: Routing;
  readonly acceptedAtMs?: number;
  readonly replayed?: boolean;
  readonly isTimeDoubtful?: boolean;
}

/** A record as the log would give it; its payload is `{"n": n}` unless said otherwise, its id is made of `n`. */
export function recordOf(n: number, parts: RecordParts = {}): LogRecord {
  const id = Buffer.alloc(16);
  id.writeUIntBE(Date.UTC(2025, 0, 1) + n, 0, 6);
  id[6] = 0x70;
  id[8] = 0x80;
  id.writeUInt32BE(n, 12);
  const { codec, bytes } = parts.encoded ?? {
    codec: 0 as const,
    bytes: Buffer.from(JSON.stringify(parts.payload ?? { n })),
  };
  return {
    offset: n as Offset,
    id,
    codec,
    bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    size: bytes.byteLength,
    routing: parts.routing ?? {},
    acceptedAtMs: parts.acceptedAtMs ?? Date.UTC(2025, 0, 1),
    replayed: parts.replayed ?? false,
    isTimeDoubtful: parts.isTimeDoubtful ?? false,
  };
}

export class MemorySource implements RecordSource {
  /** Not confirmed and not taken, ascending. Taken from `#head` on. */
  #untaken: LogRecord[] = [];
  #head = 0;
  /** Passed over by `skip`, ascending: no longer counted as untaken, and only so many. */
  #passedOver: LogRecord[] = [];
  readonly #taken = new Set<LogRecord>();
  readonly #listeners = new Set<() => void>();
  #wanted: (() => void) | undefined;
  #state: Uint8Array | undefined;
  #bytes = 0;
  /** From this offset on records are new; what lies below is the backlog. Undefined: it cannot give the new ones first. */
  liveFrom: number | undefined;
  /** Offsets in the order of their confirmation. */
  readonly confirmed: number[] = [];
  /** Most payload bytes that were ever taken at one time. */
  mostTakenBytes = 0;
  #takenBytes = 0;

  get untaken(): number {
    return this.#untaken.length - this.#head;
  }

  get untakenLive(): number {
    const { liveFrom } = this;
    if (liveFrom === undefined) return 0;
    return this.#untaken.slice(this.#head).filter((record) => record.offset >= liveFrom).length;
  }

  get taken(): number {
    return this.#taken.size;
  }

  get state(): Uint8Array | undefined {
    return this.#state;
  }

  append(...records: readonly LogRecord[]): void {
    const wasEmpty = this.untaken === 0;
    for (const record of records) {
      this.#untaken.push(record);
      this.#bytes += record.bytes.length;
    }
    this.#arrived(wasEmpty);
  }

  async take(limits: TakeLimits, signal: AbortSignal): Promise<LogRecord[]> {
    if (this.#wanted !== undefined) throw new Error("take was called while another take waits");
    for (;;) {
      if (signal.aborted) throw signal.reason as Error;
      const batch = this.#takeNow(limits);
      if (batch.length > 0) return batch;
      await new Promise<void>((resolve) => {
        this.#wanted = (): void => {
          signal.removeEventListener("abort", this.#wanted!);
          this.#wanted = undefined;
          resolve();
        };
        signal.addEventListener("abort", this.#wanted);
      });
    }
  }

  confirm(records: readonly LogRecord[], state?: Uint8Array): void {
    for (const record of records) {
      this.#give(record, "confirmed");
      this.#bytes -= record.bytes.length;
      this.confirmed.push(record.offset);
    }
    if (state !== undefined) this.#state = state;
  }

  release(records: readonly LogRecord[]): void {
    const wasEmpty = this.untaken === 0;
    for (const record of records) this.#give(record, "released");
    this.#untaken = [...records, ...this.#waiting()].sort((a, b) => a.offset - b.offset);
    this.#passedOver = [];
    this.#head = 0;
    this.#arrived(wasEmpty);
  }

  async *unconfirmed(): AsyncIterable<LogRecord> {
    const all = [...this.#taken, ...this.#waiting()].sort((a, b) => a.offset - b.offset);
    yield* all;
  }

  backlog(): Backlog {
    let oldest: number | undefined;
    const firsts = [this.#untaken[this.#head], this.#passedOver[0]].filter((record) => record !== undefined);
    for (const record of [...firsts, ...this.#taken]) oldest = Math.min(oldest ?? Infinity, record.acceptedAtMs);
    const records = this.#taken.size + this.untaken + this.#passedOver.length;
    return { records, bytes: this.#bytes, oldestAcceptedAtMs: oldest };
  }

  onAvailable(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #takeNow(limits: TakeLimits): LogRecord[] {
    const batch: LogRecord[] = [];
    let bytes = 0;
    const fits = (record: LogRecord): boolean =>
      batch.length < limits.records && (batch.length === 0 || bytes + record.bytes.length <= limits.bytes);
    const take = (record: LogRecord): void => {
      bytes += record.bytes.length;
      batch.push(record);
      this.#taken.add(record);
    };
    if (this.#passedOver.length > 0) {
      this.#passedOver = this.#passedOver.filter((record) => {
        if (limits.skip?.(record) === true || !fits(record)) return true;
        take(record);
        return false;
      });
    }
    if (limits.live === true) {
      const from = this.liveFrom ?? 0;
      const live = this.#untaken
        .slice(this.#head)
        .filter((record) => record.offset >= from && limits.skip?.(record) !== true);
      for (const record of live) if (fits(record)) take(record);
      this.#untaken = this.#untaken.filter((record) => !this.#taken.has(record));
    }
    while (limits.live !== true && this.#head < this.#untaken.length && this.#passedOver.length < MOST_PASSED_OVER) {
      const record = this.#untaken[this.#head]!;
      if (limits.skip?.(record) === true) this.#passedOver.push(record);
      else if (fits(record)) take(record);
      else break;
      this.#head++;
    }
    if (this.#head > 4_096) {
      this.#untaken = this.#untaken.slice(this.#head);
      this.#head = 0;
    }
    this.#takenBytes += bytes;
    this.mostTakenBytes = Math.max(this.mostTakenBytes, this.#takenBytes);
    return batch;
  }

  #waiting(): LogRecord[] {
    return [...this.#passedOver, ...this.#untaken.slice(this.#head)];
  }

  #give(record: LogRecord, fate: string): void {
    if (!this.#taken.delete(record)) throw new Error(`record ${record.offset} was ${fate} without being taken`);
    this.#takenBytes -= record.bytes.length;
  }

  #arrived(wasEmpty: boolean): void {
    if (this.untaken === 0) return;
    this.#wanted?.();
    if (wasEmpty) for (const listener of this.#listeners) listener();
  }
}
