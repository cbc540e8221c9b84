/**
 * How far one reader of a log is: what is confirmed, and what of that its target has made durable, which is all that may
 * be written down.
 */
import type { Cursor } from "../format/cursor.js";
import { RangeSet } from "../format/ranges.js";
import { SettleLateError } from "./settling.js";

export class Progress {
  /** Everything below is confirmed. */
  #cursor: number;
  readonly #confirmed: RangeSet;
  #state: Buffer | undefined;
  /** What may be written down: the target has made it durable. */
  #settled: Cursor;
  #version = 0;
  #settledVersion = 0;
  /** A target that was too late has ended: nobody has been told that it is well again. */
  #hasSettledLate = false;
  /** Has the target make durable what it has. Undefined: it has no such step. */
  settle: (() => Promise<void>) | undefined;

  constructor(cursor: Cursor) {
    this.#cursor = cursor.offset;
    this.#confirmed = RangeSet.of(cursor.ranges);
    this.#state = cursor.state;
    this.#settled = cursor;
  }

  /** Everything below is confirmed. */
  get offset(): number {
    return this.#cursor;
  }

  /** Of the target, stored with the cursor. */
  get state(): Uint8Array | undefined {
    return this.#state;
  }

  /** How many ranges above the cursor are confirmed. */
  get rangeCount(): number {
    return this.#confirmed.size;
  }

  isConfirmed(offset: number): boolean {
    return offset < this.#cursor || this.#confirmed.has(offset);
  }

  countConfirmedIn(from: number, to: number): number {
    const start = Math.min(Math.max(from, this.#cursor), to);
    return start - from + this.#confirmed.countIn(start, to);
  }

  hasConfirmedIn(from: number, to: number): boolean {
    return from < this.#cursor || this.#confirmed.countIn(from, to) > 0;
  }

  isAllConfirmed(from: number, to: number): boolean {
    return this.#confirmed.firstGap(Math.max(from, this.#cursor)) >= to;
  }

  /** Notes `[from, to)` as confirmed; `advance` then moves the cursor. */
  add(from: number, to: number): void {
    this.#confirmed.add(from, to);
  }

  /** Moves the cursor over what is confirmed next to it, and takes in a new state of the target. */
  advance(state: Uint8Array | undefined): void {
    const lowest = this.#confirmed.first;
    if (lowest !== undefined && lowest.from <= this.#cursor) {
      this.#cursor = Math.max(this.#cursor, lowest.to);
      this.#confirmed.removeBelow(this.#cursor);
    }
    if (state !== undefined) this.#state = Buffer.from(state);
    this.#version++;
  }

  /**
   * Goes back to another place, of which it takes over what waits below `end`; beside it stays what is confirmed here.
   * @param mostRanges with more than this the holes of that place are forgotten, and some records come again
   */
  goBackTo({ offset, ranges }: Cursor, end: number, mostRanges: number): void {
    const done = RangeSet.of([...this.#confirmed]);
    done.add(end, this.#cursor);
    const kept = ranges.length + done.size < mostRanges ? ranges : [];
    for (const { from, to } of kept) done.add(from, Math.min(to, end));
    this.#confirmed.clear();
    for (const { from, to } of done) this.#confirmed.add(from, to);
    this.#cursor = offset;
  }

  /** True when something was confirmed that is not settled yet, as far as is told. */
  get isUnsettled(): boolean {
    return this.#settledVersion !== this.#version || this.#hasSettledLate;
  }

  /** More is confirmed than is settled; a new state alone is not more. */
  get isAheadOfSettled(): boolean {
    const { offset, ranges } = this.#settled;
    return this.#cursor !== offset || this.#confirmed.size !== ranges.length;
  }

  /** How far this reader is for sure: what a cursor block says of it. */
  get settled(): Cursor {
    const isBehind = this.#settledVersion !== this.#version;
    if (this.settle === undefined && isBehind) this.presumeSettled();
    return this.#settled;
  }

  #current(): Cursor {
    return { offset: this.#cursor, ranges: [...this.#confirmed], state: this.#state };
  }

  #settleAt(version: number, cursor: Cursor): void {
    this.#settled = cursor;
    this.#settledVersion = version;
  }

  /** Counts what is confirmed as settled. */
  presumeSettled(): void {
    this.#settleAt(this.#version, this.#current());
  }

  /** Has the target make durable what it confirmed, and only then counts it. @throws when it cannot, or is too late */
  async settleNow(): Promise<void> {
    this.#hasSettledLate = false;
    if (this.settle === undefined || !this.isUnsettled) return;
    const version = this.#version;
    const cursor = this.#current();
    try {
      await this.settle();
      this.#settleAt(version, cursor);
    } catch (error) {
      if (error instanceof SettleLateError && error.waitedMs > 0) void this.#settleLate(error.ended, version, cursor);
      throw error;
    }
  }

  /** Better late than never: a disk that is always slow would else never count as having anything. */
  async #settleLate(ended: Promise<void>, version: number, cursor: Cursor): Promise<void> {
    try {
      await ended;
      if (version > this.#settledVersion) this.#settleAt(version, cursor);
    } catch {
      /* the next attempt says what is the matter */
    }
    this.#hasSettledLate = true;
  }
}
