/**
 * All who read a log: the consumers that are open, and the orphans, which the folder knows and nobody has opened. Where
 * each stands, and what all of them together have done with. What a single one does is `consumer.ts`.
 */
import { type ConsumerLog, LogConsumer } from "./consumer/consumer.js";
import { type Cursor, type Cursors, movedTo, unconfirmedIn } from "./format/cursor.js";
import { DoneByAll, SettledByAll } from "./done.js";
import type { LogReader } from "./segments/reader.js";
import type { Segment } from "./segments/segment.js";
import type { Done } from "./tail.js";

export class Readership {
  readonly #consumers = new Map<string, LogConsumer>();
  readonly #orphans: Map<string, Cursor>;
  /** What each open consumer reads files with. */
  readonly #readers = new Map<string, LogReader>();
  readonly #log: ConsumerLog;
  readonly #newReader: () => LogReader;
  /** What everyone has confirmed, orphans included. */
  readonly done: Done;
  /** The same, as far as their targets have settled it. */
  readonly settled: Done;

  /** @param known those that the folder knows: orphans until somebody opens them */
  constructor(known: Cursors, log: ConsumerLog, newReader: () => LogReader) {
    this.#orphans = new Map(known);
    this.#log = log;
    this.#newReader = newReader;
    const next = (): number => log.nextOffset;
    this.done = new DoneByAll(this.#consumers, this.#orphans, next);
    this.settled = new SettledByAll(this.#consumers, this.#orphans, next);
  }

  get consumers(): ReadonlyMap<string, LogConsumer> {
    return this.#consumers;
  }

  /** They keep their place. */
  get orphans(): Cursors {
    return this.#orphans;
  }

  /** @throws when nobody of that name is open */
  get(id: string): LogConsumer {
    const consumer = this.#consumers.get(id);
    if (consumer === undefined) throw new Error(`the log has no consumer ${id}`);
    return consumer;
  }

  /** Opens one, unless it is open; one that nobody knows begins at `newcomerOffset`. */
  open(id: string, newcomerOffset: number): LogConsumer {
    const known = this.#consumers.get(id);
    if (known !== undefined) return known;
    const place = this.#orphans.get(id) ?? { offset: newcomerOffset, ranges: [], state: undefined };
    const reader = this.#newReader();
    const consumer = new LogConsumer(id, place, this.#log, reader);
    this.#orphans.delete(id);
    this.#consumers.set(id, consumer);
    this.#readers.set(id, reader);
    return consumer;
  }

  /** Gives one that nobody knows a place, as an orphan. */
  reserve(id: string, newcomerOffset: number): void {
    if (this.#consumers.has(id) || this.#orphans.has(id)) return;
    this.#orphans.set(id, { offset: newcomerOffset, ranges: [], state: undefined });
  }

  /** Closes one: it keeps its place as an orphan. */
  release(id: string): void {
    const consumer = this.#consumers.get(id);
    if (consumer === undefined) return;
    this.#orphans.set(id, consumer.settled);
    this.#leave(consumer);
  }

  /** Forgets one, open or orphan, and where it was. */
  remove(id: string): void {
    const consumer = this.#consumers.get(id);
    this.#orphans.delete(id);
    if (consumer !== undefined) this.#leave(consumer);
  }

  #leave(consumer: LogConsumer): void {
    this.#consumers.delete(consumer.id);
    this.#readers.delete(consumer.id);
    void consumer.close();
  }

  /** Has all let go of a file that is about to be removed. */
  async forget(segment: Segment): Promise<void> {
    for (const reader of this.#readers.values()) await reader.forget(segment);
  }

  /** Where everyone stands, as it may be written down. */
  cursors(): Map<string, Cursor> {
    const view = new Map<string, Cursor>(this.#orphans);
    for (const [id, consumer] of this.#consumers) view.set(id, consumer.settled);
    return view;
  }

  /** Where the one stands that is furthest ahead; of the orphans when nobody is open. */
  get best(): number {
    const places: Iterable<{ readonly offset: number }> =
      this.#consumers.size > 0 ? this.#consumers.values() : this.#orphans.values();
    let best = 0;
    for (const { offset } of places) best = Math.max(best, offset);
    return best;
  }

  get size(): number {
    return this.#consumers.size + this.#orphans.size;
  }

  /** All who are open have confirmed it. While nobody is it is not. */
  isDelivered(offset: number): boolean {
    for (const consumer of this.#consumers.values()) if (!consumer.isConfirmed(offset)) return false;
    return this.#consumers.size > 0;
  }

  /** A target has yet to make durable what it confirmed. */
  get isUnsettled(): boolean {
    for (const { settle, isUnsettled } of this.#consumers.values())
      if (settle !== undefined && isUnsettled) return true;
    return false;
  }

  /** Has every target make durable what it confirmed, and resolves to the errors: where one fails the others go on. */
  async settle(which: (consumer: LogConsumer) => boolean = () => true): Promise<readonly Error[]> {
    const failures: Error[] = [];
    for (const consumer of this.#consumers.values()) {
      if (!which(consumer)) continue;
      try {
        await consumer.settleNow();
      } catch (error) {
        failures.push(error instanceof Error ? error : new Error(String(error))); // its cursor stays where it was
      }
    }
    return failures;
  }

  /** Counts what is confirmed as settled. For a process that is about to end, and has no time to settle. */
  presumeSettled(): void {
    for (const consumer of this.#consumers.values()) consumer.presumeSettled();
  }

  /** Gives up what lies below `end`, for all who still need it. Returns how many records that was, for all together. */
  dropBelow(end: number): number {
    let dropped = 0;
    for (const consumer of this.#consumers.values()) dropped += consumer.drop(consumer.offset, end);
    for (const [id, cursor] of this.#orphans) {
      if (cursor.offset >= end) continue;
      dropped += unconfirmedIn(cursor, cursor.offset, end);
      this.#orphans.set(id, movedTo(cursor, end));
    }
    return dropped;
  }

  /** Gives up `[from, to)`, which no file has. Returns as `dropBelow`. */
  dropFromMemory(from: number, to: number): number {
    let dropped = 0;
    for (const consumer of this.#consumers.values()) dropped += consumer.drop(from, to);
    for (const cursor of this.#orphans.values()) dropped += unconfirmedIn(cursor, from, to);
    return dropped;
  }

  async close(): Promise<void> {
    for (const consumer of this.#consumers.values()) await consumer.close();
  }
}
