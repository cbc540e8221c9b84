/**
 * What the delivery loop needs of a log: records in order, taken until they are confirmed or given back.
 * `log/consumer/consumer.ts` is the real one; the loop knows no more of the log than this.
 */
import type { LogRecord } from "./record.js";

export interface TakeLimits {
  readonly records: number;
  /** Payload bytes. A first record larger than this is taken alone. */
  readonly bytes: number;
  /**
   * Passes over the records for which this is true: they stay where they are, and a later `take` may give them. How far
   * the source looks ahead is its own bound; what it cannot reach counts as not there. Asked synchronously within
   * `take`, and again of every record that arrives while it waits.
   */
  readonly skip?: (record: LogRecord) => boolean;
  /**
   * Only records that came in lately (see `untakenLive`): the backlog waits, unless there are none that may be given.
   * Never set for a source without it.
   */
  readonly live?: boolean;
}

export interface Backlog {
  /** Accepted and not yet confirmed, taken ones included. */
  readonly records: number;
  readonly bytes: number;
  /** Wall time of acceptance of the oldest of them; undefined when there is none. */
  readonly oldestAcceptedAtMs: number | undefined;
}

export interface RecordSource {
  /** Records that `take` could give right now: the loop waits a moment for more when a batch is small. */
  readonly untaken: number;
  /** Of these, the ones in memory that have never been on disk. Absent when the source cannot give them first. */
  readonly untakenLive?: number;
  /**
   * Takes the next records in order of acceptance, at least one; waits for it. What was taken is held by the caller,
   * and not given again, until `confirm` or `release`. One call at a time.
   * @throws the signal's reason when it aborts
   */
  take(limits: TakeLimits, signal: AbortSignal): Promise<LogRecord[]>;
  /** The records have reached their end (delivered, or durable in the dead letters). Any subset of what was taken. */
  confirm(records: readonly LogRecord[], state?: Uint8Array): void;
  /** Gives records back: a later `take` gives them again, in their order. */
  release(records: readonly LogRecord[]): void;
  /** Reads what is not confirmed, from the start, taking nothing. For a target that resumes. */
  unconfirmed(): AsyncIterable<LogRecord>;
  /** The target state stored with the cursor. */
  readonly state: Uint8Array | undefined;
  /**
   * Stores a state with the place as it is, confirming nothing. Resolves when no record that is on disk could be read
   * back by a next life without it; at once when none is.
   */
  note?(state: Uint8Array): Promise<void>;
  backlog(): Backlog;
  /** Calls back when records become available after `untaken` was 0; returns the way to stop that. */
  onAvailable(listener: () => void): () => void;
}
