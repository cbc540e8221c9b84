/**
 * How long to wait after a failure: exponential with full jitter, so that a thousand devices that lost the same target
 * do not come back in step. See "Exponential Backoff And Jitter", AWS Architecture Blog.
 */

/** A number in [0, 1). A port like the clock, so that a test can repeat a run. */
export type Random = () => number;

export interface BackoffRange {
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
}

/** Full jitter may come out near nothing; a share of the shortest wait keeps it from being a hammer. */
const LEAST_SHARE = 0.1;

/** @param attempt failures so far, from 0 */
export function backoffMs(attempt: number, range: BackoffRange, random: Random): number {
  // 2 ** 30 s is 34 years: the exponent is bounded so that a long outage cannot reach Infinity * 0.
  const ceilingMs = Math.min(range.backoffMaxMs, range.backoffMinMs * 2 ** Math.min(attempt, 30));
  return Math.max(random() * ceilingMs, Math.min(range.backoffMinMs, ceilingMs) * LEAST_SHARE);
}

/** The longest wait, for what only the user can mend: from half of it to all, still without step. */
export function longestBackoffMs(range: BackoffRange, random: Random): number {
  return range.backoffMaxMs * (0.5 + random() / 2);
}
