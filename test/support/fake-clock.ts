/**
 * A clock that stands still until a test moves it. Between two timers everything that is ready to run runs, so a week
 * passes in the order a real one would.
 */
import type { Clock, Timer } from "../../src/clock.js";

/** How long what is neither a timer nor under way at the file system may take before a test is said to be stuck. */
const MOST_REAL_WORK_MS = 30_000;

interface Alarm {
  readonly atMs: number;
  readonly order: number;
  /** Not `then`: a promise that is resolved with an alarm would take it for another promise. */
  readonly ring: () => void;
}

/** Lets promises, and whatever they start, come to rest. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export class FakeClock implements Clock {
  readonly bootId = new Uint8Array(8);
  isWallTrusted = true;
  #nowMs = 1_000;
  #order = 0;
  #wallMs: number;
  readonly #alarms = new Set<Alarm>();

  constructor(wallMs = Date.UTC(2025, 0, 1)) {
    this.#wallMs = wallMs;
  }

  elapsedMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#wallMs;
  }

  /** Timers that are set: 0 when nothing is left running. */
  get pendingTimers(): number {
    return this.#alarms.size;
  }

  after(ms: number, then: () => void): Timer {
    const alarm: Alarm = { atMs: this.#nowMs + Math.max(0, ms), order: this.#order++, ring: then };
    this.#alarms.add(alarm);
    return { cancel: () => this.#alarms.delete(alarm) };
  }

  /** Moves only the wall, as a time server does. */
  setWall(wallMs: number): void {
    this.#wallMs = wallMs;
  }

  /** Lets `ms` pass: every timer that falls due runs at its own time, in order. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      const alarm = this.#next();
      if (alarm === undefined || alarm.atMs > endMs) break;
      this.#alarms.delete(alarm);
      this.#moveTo(alarm.atMs);
      alarm.ring();
      await settle();
    }
    this.#moveTo(endMs);
    await settle();
  }

  /** Lets time pass, timer by timer, until `isDone`; fails when nothing is left that could make it so. */
  async advanceUntil(isDone: () => boolean, limitMs = 86_400_000): Promise<void> {
    const limit = this.#nowMs + limitMs;
    await settle();
    while (!isDone()) {
      // On a slow machine a day of timers may ring while a file is being opened: time stands still meanwhile.
      while (isFileWorkUnderWay() && !isDone()) await settle();
      const alarm = this.#next() ?? (await this.#nextAfterRealWork(isDone));
      if (isDone()) return;
      if (alarm === undefined) throw new Error("nothing is left to wait for");
      if (alarm.atMs > limit) throw new Error(`not done after ${limitMs} ms`);
      this.#alarms.delete(alarm);
      this.#moveTo(alarm.atMs);
      alarm.ring();
      await settle();
    }
  }

  /** Inflating a block, say, is done by another thread, and takes real time; a sync takes as long as the disk wants. */
  async #nextAfterRealWork(isDone: () => boolean): Promise<Alarm | undefined> {
    let givesUpAtMs = performance.now() + MOST_REAL_WORK_MS;
    while (performance.now() < givesUpAtMs && !isDone() && this.#alarms.size === 0) {
      await settle();
      if (isFileWorkUnderWay()) givesUpAtMs = performance.now() + MOST_REAL_WORK_MS;
    }
    return this.#next();
  }

  #moveTo(atMs: number): void {
    this.#wallMs += atMs - this.#nowMs;
    this.#nowMs = atMs;
  }

  #next(): Alarm | undefined {
    let next: Alarm | undefined;
    for (const alarm of this.#alarms) {
      if (next === undefined || alarm.atMs < next.atMs || (alarm.atMs === next.atMs && alarm.order < next.order)) {
        next = alarm;
      }
    }
    return next;
  }
}

function isFileWorkUnderWay(): boolean {
  return process.getActiveResourcesInfo().some((resource) => resource.startsWith("FSReq"));
}

/** Numbers that look random and are the same in every run (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
