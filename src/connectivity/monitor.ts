/**
 * Whether the network is there, for all exporters of a runtime together. The targets themselves are the signal: nothing
 * is asked while they answer. Only while one is away the general probe, if there is one, tells "no network" from "the
 * target is down", and notices the return.
 */
import type { Clock } from "../clock.js";
import type { Connectivity } from "../delivery/connectivity.js";
import type { Probe } from "./probe.js";

export type NetworkState =
  /** Nobody has tried anything yet. */
  | { readonly kind: "unknown" }
  | { readonly kind: "online"; readonly sinceMs: number }
  /**
   * Nothing can be reached. `proof`: the general probe has failed; or, where there is none, no target answers, which may
   * just as well be the targets.
   */
  | { readonly kind: "offline"; readonly sinceMs: number; readonly cause: Error; readonly proof: "probe" | "targets" };

export interface MonitorParts {
  readonly clock: Clock;
  /** The general probe; none by default. */
  readonly probe?: Probe;
  /** Offline: a return is noticed within this, in ms. Default 5_000. Online with a target away it is asked less often. */
  readonly probeIntervalMs?: number;
  /** Hears each change; must not throw. */
  readonly onChange?: (state: NetworkState, before: NetworkState) => void;
}

const LOOK_OFFLINE_MS = 5_000;

/** Online, with a target away: whether the network has gone as well is no hurry. */
const ONLINE_FACTOR = 6;

/** A target that has answered this lately proves more than a probe that fails: a firewall may refuse that one alone. */
const ANSWER_COUNTS_MS = 60_000;

export class Monitor implements Connectivity {
  readonly #clock: Clock;
  readonly #probe: Probe | undefined;
  readonly #lookMs: number;
  readonly #onChange: MonitorParts["onChange"];
  /** Who uses the network, and why its target is away; undefined when it is not. */
  readonly #users = new Map<object, Error | undefined>();
  readonly #listeners = new Set<() => void>();
  readonly #closing = new AbortController();
  #state: NetworkState = { kind: "unknown" };
  #probing: Promise<void> | undefined;
  #endWait: (() => void) | undefined;
  #lookedAtMs = -Infinity;
  #answeredAtMs = -Infinity;

  constructor(parts: MonitorParts) {
    this.#clock = parts.clock;
    this.#probe = parts.probe;
    this.#lookMs = parts.probeIntervalMs ?? LOOK_OFFLINE_MS;
    this.#onChange = parts.onChange;
  }

  get state(): NetworkState {
    return this.#state;
  }

  /** Why a target that is away is away, as far as can be told. */
  get blame(): "network" | "target" | "unknown" {
    if (this.#state.kind === "offline") return this.#state.proof === "probe" ? "network" : "unknown";
    return this.#state.kind === "online" && this.#probe !== undefined ? "target" : "unknown";
  }

  up(who: object): void {
    this.#answeredAtMs = this.#clock.elapsedMs();
    const wasDown = this.#users.get(who) !== undefined;
    // Told with every batch: nearly always there is no news in it.
    if (!wasDown && this.#state.kind === "online") return void this.#users.set(who, undefined);
    this.#users.set(who, undefined);
    if (this.#closing.signal.aborted) return;
    const wasOffline = this.#state.kind === "offline";
    if (this.#state.kind !== "online") this.#become({ kind: "online", sinceMs: this.#clock.elapsedMs() });
    // One that has come back is good news for the others, even where no probe has seen them go.
    if (wasDown || wasOffline) this.#wake();
    if (!this.#isSomeoneDown()) this.#endWait?.();
  }

  down(who: object, cause: Error): void {
    this.#users.set(who, cause);
    if (this.#closing.signal.aborted) return;
    if (this.#probe !== undefined) {
      if (this.#probing === undefined) this.#probing = this.#watch(this.#probe);
      // It was about to look anyway, but this is news, unless a target merely comes and goes.
      else if (this.#clock.elapsedMs() - this.#lookedAtMs >= this.#lookMs) this.#endWait?.();
    } else if (this.#state.kind !== "offline" && [...this.#users.values()].every((error) => error !== undefined)) {
      this.#become({ kind: "offline", sinceMs: this.#clock.elapsedMs(), cause, proof: "targets" });
    }
  }

  forget(who: object): void {
    this.#users.delete(who);
    if (!this.#isSomeoneDown()) this.#endWait?.();
  }

  onOnline(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Ends the probe under way. Safe to call twice. */
  async close(): Promise<void> {
    this.#closing.abort(new Error("the monitor is being closed"));
    this.#endWait?.();
    await this.#probing;
  }

  /** Looks again and again while someone is away; ends when all are back. */
  async #watch(probe: Probe): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted && this.#isSomeoneDown()) {
      this.#lookedAtMs = this.#clock.elapsedMs();
      try {
        await probe(signal);
        if (this.#isClosing()) break;
        const wasOffline = this.#state.kind === "offline";
        if (this.#state.kind !== "online") this.#become({ kind: "online", sinceMs: this.#clock.elapsedMs() });
        if (wasOffline) this.#wake();
      } catch (error) {
        if (this.#isClosing()) break;
        const cause = error instanceof Error ? error : new Error(String(error));
        const hasAnswer = this.#clock.elapsedMs() - this.#answeredAtMs < ANSWER_COUNTS_MS;
        if (this.#state.kind !== "offline" && this.#isSomeoneDown() && !hasAnswer) {
          this.#become({ kind: "offline", sinceMs: this.#clock.elapsedMs(), cause, proof: "probe" });
        }
      }
      await this.#wait(this.#state.kind === "online" ? this.#lookMs * ONLINE_FACTOR : this.#lookMs);
    }
    this.#probing = undefined;
  }

  #wait(ms: number): Promise<void> {
    if (this.#isClosing() || !this.#isSomeoneDown()) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#clock.after(ms, () => this.#endWait?.());
      this.#endWait = () => {
        this.#endWait = undefined;
        timer.cancel();
        resolve();
      };
    });
  }

  #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  #isSomeoneDown(): boolean {
    for (const cause of this.#users.values()) if (cause !== undefined) return true;
    return false;
  }

  #become(state: NetworkState): void {
    const before = this.#state;
    this.#state = state;
    this.#onChange?.(state, before);
  }

  #wake(): void {
    for (const listener of this.#listeners) listener();
  }
}
