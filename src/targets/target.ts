/**
 * What a target is: the one small interface between the delivery loop and the outside world. The loop queues, batches,
 * retries and decides when; a target knows its protocol and judges each answer by its own table of verdicts.
 */
import type { LogRecord } from "../record.js";

/** Why a record can never be delivered: kept beside it in the dead letters and shown to the user. */
export interface Rejection {
  /** A code where the target has one ("121", "document_parsing_exception", "too-large"). */
  readonly code: string;
  /** What happened, in words for the user, without credentials. */
  readonly message: string;
  /** HTTP status or server code as a number, for Catch nodes. */
  readonly statusCode?: number;
  /** The user has asked for it (a file that is full and takes no more): many of them are no sign of a wrong setting. */
  readonly byChoice?: true;
}

/** The fate of one record in a batch. */
export type Outcome =
  | { readonly kind: "delivered" }
  /** Already there under the record's own id: an earlier attempt got through. Counts as delivered. */
  | { readonly kind: "duplicate" }
  /**
   * Again later, with the same id. `alone`: nothing is known of this code, so it is sent by itself, and after five such
   * attempts rejected with `cause`.
   */
  | { readonly kind: "retry"; readonly cause: Error; readonly alone?: boolean }
  | { readonly kind: "rejected"; readonly cause: Rejection };

export const DELIVERED: Outcome = { kind: "delivered" };
export const DUPLICATE: Outcome = { kind: "duplicate" };

/** What an answer means beyond its records. */
export type Consequence =
  /** The target is up but asks for less: halve batch and concurrency, back off, wait at least `retryAfterMs`. */
  | { readonly kind: "throttle"; readonly cause: Error; readonly retryAfterMs?: number }
  /** The batch is too large: try it in two halves. A single record that is still too large is rejected. */
  | { readonly kind: "split"; readonly cause: Rejection }
  /** This destination waits and is tried again later; others go on. */
  | { readonly kind: "hold"; readonly cause: Error };

export interface Answer {
  /** One per record of the batch, in the same order. */
  readonly outcomes: readonly Outcome[];
  readonly consequence?: Consequence;
  /** What the target wants to find again at `open` after a restart: at most 64 bytes, stored with the cursor. */
  readonly state?: Uint8Array;
}

/** Thrown by `open`, `deliver` and `probe`: the target cannot be used. Opens the circuit; the records wait. */
export class TargetUnavailableError extends Error {
  override readonly name = "TargetUnavailableError";
  readonly code: string;
  /** The target asked to be left alone for this long. */
  readonly retryAfterMs: number | undefined;
  constructor(message: string, options: { code?: string; cause?: unknown; retryAfterMs?: number } = {}) {
    super(message, { cause: options.cause });
    this.code = options.code ?? "unavailable";
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Thrown likewise: only the user can mend this (wrong login, wrong certificate). The longest back-off, red status. */
export class TargetConfigError extends Error {
  override readonly name = "TargetConfigError";
  readonly code: string;
  constructor(message: string, options: { code?: string; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.code = options.code ?? "config";
  }
}

/** What the delivery loop must respect for this kind of target. */
export interface TargetTraits {
  /** One batch in flight and strict order, whatever the user's concurrency (files; update modes). */
  readonly ordered: boolean;
  /** Hard ceilings of one batch, below which the user's limits and the adaptive size move. */
  readonly maxBatchRecords: number;
  readonly maxBatchBytes: number;
  /** The answer's `state` must be read back and checked before the first delivery of a life (the file target). */
  readonly resumes: boolean;
  /** Not reached over the network: whether it can be used says nothing of that. Default false. */
  readonly isLocal?: boolean;
}

/** What a target that `resumes` gets at open: its state at the cursor, and a way to see what waits behind it. */
export interface ResumePoint {
  /** The state stored with the cursor; undefined when there is none. */
  readonly state: Uint8Array | undefined;
  /** Reads records behind the cursor from the start, in order, as long as wanted; takes nothing. */
  records(): AsyncIterable<LogRecord>;
  /** Says that the records up to and including this one are already in the target. */
  confirm(upTo: LogRecord, state: Uint8Array): void;
  /**
   * Stores the state with the cursor as it stands, confirming nothing. Valid until the next `open`, within deliveries
   * too. Resolves when no record that is on disk could be read back by a next life without this state (at once when
   * none is on disk). Absent where the source cannot: then a crash may repeat the lines of a file just begun.
   */
  note?(state: Uint8Array): Promise<void>;
}

export interface Target {
  readonly traits: TargetTraits;
  /** What a batch is grouped by. The same text for the same destination. */
  destinationOf(record: LogRecord): string;
  /**
   * Makes the target usable. Called before the first delivery, again after it has thrown, and again after a delivery has
   * thrown and `probe` has resolved since. Never twice at once, never while a delivery is under way.
   * @throws {TargetUnavailableError | TargetConfigError}
   */
  open(signal: AbortSignal, resume?: ResumePoint): Promise<void>;
  /**
   * Delivers one batch of one destination. Ends within the target's own deadline and at the signal's abort.
   * @throws {TargetUnavailableError | TargetConfigError} nothing is known about any record of the batch.
   */
  deliver(batch: readonly LogRecord[], signal: AbortSignal): Promise<Answer>;
  /**
   * Makes what was delivered survive a power cut, where the target has such a step (files: fdatasync).
   * The log stores no cursor and deletes no segment before it has resolved.
   */
  settle?(): Promise<void>;
  /** Cheap and without side effects: resolves when the target seems usable again. */
  probe(signal: AbortSignal): Promise<void>;
  /**
   * Where the target hears by itself that the other end has come (back): calls back then, so that nobody has to wait
   * for the next probe. Returns the way to stop that.
   */
  onReachable?(listener: () => void): () => void;
  /** Bounded in time; safe to call twice and while `deliver` is under way. */
  close(): Promise<void>;
}
