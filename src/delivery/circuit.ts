/**
 * Whether a target can be used right now. Only the state and its rules: `loop.ts` opens, probes and waits.
 */
import type { TargetConfigError, TargetUnavailableError } from "../targets/target.js";
import { backoffMs, longestBackoffMs } from "./backoff.js";
import type { BackoffRange, Random } from "./backoff.js";

export type CircuitState =
  /** Never opened in this life. */
  | { readonly kind: "starting" }
  | { readonly kind: "closed"; readonly closedAtMs: number; readonly lastAttempt: number }
  | {
      readonly kind: "open";
      readonly openedAtMs: number;
      /** Attempts that failed, from 0. */
      readonly attempt: number;
      readonly failedAtMs: number;
      readonly retryAtMs: number;
      readonly cause: TargetUnavailableError | TargetConfigError;
    }
  /** The probe came back: one small batch is let through. */
  | { readonly kind: "halfOpen"; readonly openedAtMs: number; readonly attempt: number };

/** A target that fails again this soon after it came back has not really been back: its wait goes on from half-way. */
const FLAPPING_MS = 30_000;

/** A new record may ask for a look at the target this long after the last one, however long the wait has become. */
export const NUDGE_AFTER_MS = 30_000;

/** Spread of the wake-ups when the network returns. */
const WAKE_JITTER_MS = 5_000;

export class Circuit {
  readonly #random: Random;
  #state: CircuitState = { kind: "starting" };

  constructor(random: Random) {
    this.#random = random;
  }

  get state(): CircuitState {
    return this.#state;
  }

  /** Batches may be sent: all of them, or the one that tries. */
  get isUsable(): boolean {
    return this.#state.kind === "closed" || this.#state.kind === "halfOpen";
  }

  /** Opens, or stays open for longer. True when it was usable, or starting, before. */
  trip(error: TargetUnavailableError | TargetConfigError, nowMs: number, range: BackoffRange): boolean {
    const before = this.#state;
    const attempt = nextAttempt(before, nowMs);
    const waitMs =
      error.name === "TargetConfigError"
        ? longestBackoffMs(range, this.#random)
        : Math.max(backoffMs(attempt, range, this.#random), error.retryAfterMs ?? 0);
    this.#state = {
      kind: "open",
      openedAtMs: before.kind === "open" || before.kind === "halfOpen" ? before.openedAtMs : nowMs,
      attempt,
      failedAtMs: nowMs,
      retryAtMs: nowMs + waitMs,
      cause: error,
    };
    return before.kind !== "open";
  }

  /** The target can be reached again: after an outage one small batch finds out whether it can be used. */
  letOneThrough(nowMs: number): void {
    const before = this.#state;
    if (before.kind === "open")
      this.#state = { kind: "halfOpen", openedAtMs: before.openedAtMs, attempt: before.attempt };
    else this.#state = { kind: "closed", closedAtMs: nowMs, lastAttempt: 0 };
  }

  /** The target has answered. Returns how long it was away when this ends an outage. */
  close(nowMs: number): number | undefined {
    const before = this.#state;
    if (before.kind !== "halfOpen") return undefined;
    this.#state = { kind: "closed", closedAtMs: nowMs, lastAttempt: before.attempt };
    return nowMs - before.openedAtMs;
  }

  /** The network is back: try soon, whatever was wrong (behind a captive portal even certificates look wrong). */
  hurry(nowMs: number): boolean {
    // Everyone who comes back is such news to the others: drawing lots again each time would end in a stampede.
    if (this.#state.kind === "open" && this.#state.retryAtMs <= nowMs + WAKE_JITTER_MS) return false;
    return this.#retryAt(nowMs + this.#random() * WAKE_JITTER_MS);
  }

  /** There is something new to deliver: try earlier, within reason. What only the user can mend is left alone. */
  nudge(nowMs: number): boolean {
    const state = this.#state;
    if (state.kind !== "open" || state.cause.name === "TargetConfigError") return false;
    const earliestMs = state.failedAtMs + Math.max(NUDGE_AFTER_MS, state.cause.retryAfterMs ?? 0);
    if (state.retryAtMs <= earliestMs + WAKE_JITTER_MS) return false;
    return this.#retryAt(Math.max(nowMs, earliestMs) + this.#random() * WAKE_JITTER_MS);
  }

  /** The user asks: try now. */
  tryNow(nowMs: number): boolean {
    return this.#retryAt(nowMs);
  }

  #retryAt(retryAtMs: number): boolean {
    const state = this.#state;
    if (state.kind !== "open" || state.retryAtMs <= retryAtMs) return false;
    this.#state = { ...state, retryAtMs };
    return true;
  }
}

function nextAttempt(before: CircuitState, nowMs: number): number {
  switch (before.kind) {
    case "starting":
      return 0;
    case "closed":
      return nowMs - before.closedAtMs < FLAPPING_MS ? Math.ceil(before.lastAttempt / 2) : 0;
    case "open":
    case "halfOpen":
      return before.attempt + 1;
    default:
      return before satisfies never;
  }
}
