/**
 * What a delivery tells about itself: what happens, as it happens, and how it stands, when asked.
 */
import type { LogRecord } from "../record.js";
import type { Outcome, Rejection } from "../targets/target.js";
import type { CircuitState } from "./circuit.js";
import type { HeldDestination } from "./holds.js";
import type { Repeats } from "./quiet.js";
import type { Rates } from "./throughput.js";

export type DeliveryEvent =
  /** The target can be used, for the first time in this life, and was not away before. */
  | { readonly kind: "opened" }
  /** The target cannot be used. `isConfig`: only the user can mend it. */
  | { readonly kind: "circuitOpened"; readonly cause: Error; readonly isConfig: boolean }
  /** The target is usable again after so many ms. */
  | { readonly kind: "circuitClosed"; readonly downMs: number }
  /** What was asked of the target is without an answer for long; undefined: it has answered, or failed, since. */
  | { readonly kind: "silent"; readonly cause: Error | undefined }
  | { readonly kind: "held"; readonly destination: string; readonly cause: Error; readonly byGuard: boolean }
  | { readonly kind: "letGo"; readonly destination: string }
  | { readonly kind: "throttled"; readonly cause: Error; readonly waitMs: number }
  /** The answer to one batch, before rejected records are set aside. `outcomes[i]` is of `records[i]`. */
  | {
      readonly kind: "answered";
      readonly destination: string;
      readonly records: readonly LogRecord[];
      readonly outcomes: readonly Outcome[];
    }
  /** This record is in the dead letters now. */
  | { readonly kind: "rejected"; readonly record: LogRecord; readonly rejection: Rejection }
  /** Not delivered, and not kept because the user said so. */
  | { readonly kind: "dropped"; readonly records: number; readonly bytes: number; readonly cause: Error }
  /** A rejected record could not be kept in the dead letters: it waits in the log. */
  | { readonly kind: "setAsideFailed"; readonly cause: Error }
  /** The log could not be read; it is tried again. */
  | { readonly kind: "sourceFailed"; readonly cause: Error }
  /** A fault of ours: this delivery has stopped. Its records are in the log. */
  | { readonly kind: "stopped"; readonly cause: Error };

/**
 * Hears every event; must not throw. `logging` is there when the event is worth a line in a log: at most one a minute
 * of each cause.
 */
export type DeliveryListener = (event: DeliveryEvent, logging: Repeats | undefined) => void;

export interface DeliveryCounters {
  readonly delivered: number;
  /** Were there already under their own id: an earlier attempt had got through. */
  readonly duplicates: number;
  /** In the dead letters. */
  readonly rejected: number;
  /** Outcomes `retry`, counted each time. */
  readonly retried: number;
  /** Given up by the user's choice not to keep what could not be sent. */
  readonly dropped: number;
  /** Batches offered to the target. */
  readonly batches: number;
}

export interface DeliveryStatus {
  readonly circuit: CircuitState;
  readonly isPaused: boolean;
  readonly isClosed: boolean;
  /** Nothing is sent because the wall clock cannot be trusted yet, and the user wants to wait for that. */
  readonly waitsForClock: boolean;
  readonly lastError: { readonly message: string; readonly code: string; readonly atWallMs: number } | undefined;
  readonly held: readonly HeldDestination[];
  /** Taken from the log and not yet at their end. */
  readonly inFlight: { readonly batches: number; readonly records: number; readonly bytes: number };
  /** The target has asked for less, and has taken nothing without complaint since; `lastError` says why. */
  readonly isThrottled: boolean;
  /** How long the oldest question to the target has been without an answer, in ms; 0 when there is none. */
  readonly unansweredMs: number;
  /** What the next batch may hold, and how many may be under way. */
  readonly batch: { readonly records: number; readonly bytes: number };
  readonly concurrency: number;
  readonly rates: Rates;
  readonly counters: DeliveryCounters;
}

/** What a flush came to. */
export interface FlushReport {
  /** Everything that waited has been tried; the target went away; or the delivery was paused or closed. */
  readonly end: "tried" | "unavailable" | "stopped";
  readonly delivered: number;
  readonly duplicates: number;
  readonly rejected: number;
  readonly dropped: number;
  /** In the log and not delivered now, what came in meanwhile included. */
  readonly waiting: number;
}

/** The text and code of an error as a user may see them. */
export function codeOf(error: unknown): string {
  if (error instanceof Error && "code" in error) {
    if (typeof error.code === "string") return error.code;
    if (typeof error.code === "number") return String(error.code);
  }
  return "unknown";
}
