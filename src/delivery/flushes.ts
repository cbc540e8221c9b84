/**
 * Sends on request that are under way: each ends when what waited at its start has been offered to the target once.
 */
import type { DeliveryCounters, FlushReport } from "./events.js";

interface Flush {
  /** Records yet to be offered. */
  left: number;
  readonly before: DeliveryCounters;
  readonly resolve: (report: FlushReport) => void;
}

export class Flushes {
  #flushes: Flush[] = [];

  get isEmpty(): boolean {
    return this.#flushes.length === 0;
  }

  /** @param untried records that wait and have not been offered yet */
  add(untried: number, before: DeliveryCounters): Promise<FlushReport> {
    return new Promise((resolve) => this.#flushes.push({ left: untried, before, resolve }));
  }

  tried(records: number): void {
    for (const flush of this.#flushes) flush.left -= records;
  }

  /** Nothing more can be tried now. */
  exhaust(): void {
    for (const flush of this.#flushes) flush.left = 0;
  }

  /** Ends those that have tried everything. True when there were any. */
  endDone(now: DeliveryCounters, waiting: number): boolean {
    const done = this.#flushes.filter((flush) => flush.left <= 0);
    if (done.length === 0) return false;
    this.#flushes = this.#flushes.filter((flush) => flush.left > 0);
    for (const flush of done) flush.resolve(reportOf(flush.before, now, waiting, "tried"));
    return true;
  }

  endAll(end: FlushReport["end"], now: DeliveryCounters, waiting: number): void {
    for (const flush of this.#flushes.splice(0)) flush.resolve(reportOf(flush.before, now, waiting, end));
  }
}

export function reportOf(
  before: DeliveryCounters,
  now: DeliveryCounters,
  waiting: number,
  end: FlushReport["end"],
): FlushReport {
  return {
    end,
    delivered: now.delivered - before.delivered,
    duplicates: now.duplicates - before.duplicates,
    rejected: now.rejected - before.rejected,
    dropped: now.dropped - before.dropped,
    waiting,
  };
}
