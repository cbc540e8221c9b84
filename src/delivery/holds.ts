/**
 * Destinations that wait while others go on: each with its own back-off, each tried again with one batch at a time.
 * Their records are back in the log; what is kept here is a name, a reason and a time.
 */
import { backoffMs } from "./backoff.js";
import type { BackoffRange, Random } from "./backoff.js";

export interface HeldDestination {
  readonly destination: string;
  readonly cause: Error;
  /** Held by the reject guard, not at the target's word. */
  readonly byGuard: boolean;
  /** Monotonic, ms. */
  readonly heldSinceMs: number;
  readonly attempt: number;
  readonly state: { readonly kind: "waiting"; readonly untilMs: number } | { readonly kind: "trying" };
}

export class Holds {
  readonly #random: Random;
  readonly #held = new Map<string, HeldDestination>();

  constructor(random: Random) {
    this.#random = random;
  }

  get size(): number {
    return this.#held.size;
  }

  list(): HeldDestination[] {
    return [...this.#held.values()];
  }

  /** True when this is a new hold, false when an old one goes on. */
  hold(destination: string, cause: Error, byGuard: boolean, nowMs: number, range: BackoffRange): boolean {
    const before = this.#held.get(destination);
    const attempt = before === undefined ? 0 : before.attempt + 1;
    const untilMs = nowMs + backoffMs(attempt, range, this.#random);
    const heldSinceMs = before?.heldSinceMs ?? nowMs;
    this.#held.set(destination, {
      destination,
      cause,
      byGuard,
      heldSinceMs,
      attempt,
      state: { kind: "waiting", untilMs },
    });
    return before === undefined;
  }

  /** True when nothing may be sent there: its time has not come, or a try is under way. */
  isHeld(destination: string, nowMs: number): boolean {
    const state = this.#held.get(destination)?.state;
    return state !== undefined && (state.kind === "trying" || nowMs < state.untilMs);
  }

  /** Called when a batch leaves. True when it is a try of a held destination: no second one beside it. */
  beginTry(destination: string): boolean {
    const held = this.#held.get(destination);
    if (held === undefined) return false;
    this.#held.set(destination, { ...held, state: { kind: "trying" } });
    return true;
  }

  /** A try ended without saying anything of the destination (the target went away, delivery was paused). */
  endTry(destination: string, nowMs: number): void {
    const held = this.#held.get(destination);
    if (held?.state.kind === "trying") {
      this.#held.set(destination, { ...held, state: { kind: "waiting", untilMs: nowMs } });
    }
  }

  /** True when it was held. */
  letGo(destination: string): boolean {
    return this.#held.delete(destination);
  }

  /** Held ones are tried at once: the user has changed something. */
  tryAllNow(nowMs: number): void {
    for (const held of this.list()) {
      if (held.state.kind !== "waiting") continue;
      this.#held.set(held.destination, { ...held, state: { kind: "waiting", untilMs: nowMs } });
    }
  }

  /** True when a destination may be tried now. */
  hasDue(nowMs: number): boolean {
    for (const { state } of this.#held.values()) if (state.kind === "waiting" && state.untilMs <= nowMs) return true;
    return false;
  }

  /** When the next destination may be tried that may not yet; Infinity when none. */
  nextTryAtMs(nowMs: number): number {
    let next = Infinity;
    for (const { state } of this.#held.values()) {
      if (state.kind === "waiting" && state.untilMs > nowMs) next = Math.min(next, state.untilMs);
    }
    return next;
  }
}
