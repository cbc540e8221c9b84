/**
 * A log as the file target sees it: records in order, confirmed in memory at once, and stored (with the state) when the
 * test says so. `crash` forgets what was not stored.
 */
import { encode } from "../../../src/codec.js";
import type { LogRecord, Routing } from "../../../src/record.js";
import type { ResumePoint, Target } from "../../../src/targets/target.js";
import { recordOf } from "../../support/memory-source.js";
import { Pages } from "../../support/pages.js";

export class LogModel {
  readonly records: LogRecord[] = [];
  readonly #pages = new Pages();
  /** Offsets that are confirmed in memory. */
  #confirmed = new Set<number>();
  #state: Uint8Array | undefined;
  #storedConfirmed = new Set<number>();
  #storedState: Uint8Array | undefined;
  /** Read through `resume().records()` so far. */
  recordsRead = 0;
  notes = 0;
  readonly rejections: { readonly offset: number; readonly code: string; readonly message: string }[] = [];

  add(payload: unknown, routing: Routing = {}): LogRecord {
    const offset = this.records.length;
    const encoded = encode(payload);
    const alone = recordOf(offset, { encoded, routing });
    // Most as the log gives them. Some lie alone, like one that is passed over.
    const record = offset % 10 === 9 ? alone : this.#pages.add(offset, encoded, routing, alone);
    this.records.push(record);
    return record;
  }

  waiting(): LogRecord[] {
    return this.records.filter(({ offset }) => !this.#confirmed.has(offset));
  }

  get state(): Uint8Array | undefined {
    return this.#state;
  }

  /** The cursor reaches the disk as it stands. */
  store(): void {
    this.#storedConfirmed = new Set(this.#confirmed);
    this.#storedState = this.#state;
  }

  /** Confirmed records that were never written are unknown to the next life. Returns how many there were. */
  crashElided(): number {
    const elided = this.records.filter(
      ({ offset }) => this.#confirmed.has(offset) && !this.#storedConfirmed.has(offset),
    );
    this.crash();
    for (const { offset } of elided) for (const set of [this.#confirmed, this.#storedConfirmed]) set.add(offset);
    return elided.length;
  }

  crash(): void {
    this.#confirmed = new Set(this.#storedConfirmed);
    this.#state = this.#storedState;
  }

  resume(): ResumePoint {
    const confirmed = this.#confirmed;
    const waiting = (): LogRecord[] => this.waiting();
    const read = (): void => void this.recordsRead++;
    return {
      state: this.#state,
      async *records() {
        for (const record of waiting()) {
          read();
          yield record;
        }
      },
      confirm: (upTo, state) => {
        for (const { offset } of this.records) if (offset <= upTo.offset) confirmed.add(offset);
        this.#state = state;
      },
      note: (state) => {
        this.notes++;
        this.#state = state;
        this.store();
        return Promise.resolve();
      },
    };
  }

  open(target: Target): Promise<void> {
    return target.open(new AbortController().signal, this.resume());
  }

  /**
   * Offers the next records of the first waiting one's destination; returns how many reached their end.
   * `isUnheard`: the process dies before it hears the answer.
   */
  async deliver(target: Target, most = Infinity, isUnheard = false): Promise<number> {
    const waiting = this.waiting();
    const first = waiting[0];
    if (first === undefined) return 0;
    const destination = target.destinationOf(first);
    const batch = waiting.filter((record) => target.destinationOf(record) === destination).slice(0, most);
    const answer = await target.deliver(batch, new AbortController().signal);
    if (isUnheard) return 0;
    let ended = 0;
    answer.outcomes.forEach((outcome, i) => {
      if (outcome.kind === "retry") return;
      const { offset } = batch[i]!;
      if (outcome.kind === "rejected") {
        this.rejections.push({ offset, code: outcome.cause.code, message: outcome.cause.message });
      }
      this.#confirmed.add(offset);
      ended++;
    });
    if (answer.state !== undefined) this.#state = answer.state;
    return ended;
  }

  async deliverAll(target: Target, most = Infinity): Promise<void> {
    while (this.waiting().length > 0) {
      if ((await this.deliver(target, most)) === 0) throw new Error("nothing was delivered");
    }
  }
}
