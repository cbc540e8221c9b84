/**
 * Time as the engine sees it. The only place that reads clocks or starts timers, so that tests can hold both.
 */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { uptime } from "node:os";
import { hrtime } from "node:process";

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Monotonic ms since the machine booted (shared by all processes of one boot). For every duration. */
  elapsedMs(): number;
  /** Wall time in ms since 1970. Only labels records; it may be wrong and it may jump. */
  wallMs(): number;
  /**
   * Wall time is plausible, and a time server has set it or it has been steady for a while. Before that nothing is deleted
   * or corrected by it.
   */
  readonly isWallTrusted: boolean;
  /**
   * Identifies this boot of the machine, and how long it has slept in it: two readings of `elapsedMs` can be compared only
   * under the same id. 8 bytes.
   */
  readonly bootId: Uint8Array;
  /** Calls `then` once after `ms`. The timer never keeps the process alive. */
  after(ms: number, then: () => void): Timer;
}

/** Resolves after `ms`; rejects with the signal's reason when that aborts first. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason as Error);
    const onAbort = (): void => {
      timer.cancel();
      reject(signal?.reason as Error);
    };
    const timer = clock.after(ms, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

function readBootId(): Uint8Array {
  try {
    return Buffer.from(
      readFileSync("/proc/sys/kernel/random/boot_id", "latin1").replaceAll("-", "").slice(0, 16),
      "hex",
    );
  } catch {
    // Not Linux: every process counts as a boot of its own, so nothing is corrected across a restart.
    return randomBytes(8);
  }
}

/** A board without a clock battery boots in the past: no time before this can be right. */
const PLAUSIBLE_FROM_MS = Date.UTC(2026, 0, 1);

/** False for a time that a clock without a battery shows before anyone has set it. */
export function isPlausibleWall(wallMs: number): boolean {
  return wallMs >= PLAUSIBLE_FROM_MS;
}

/** How long the wall clock must have run evenly: a time server corrects it within minutes of the network's coming. */
const STEADY_MS = 10 * 60_000;
/** A larger difference between the two clocks is a jump, not drift. */
const JUMP_MS = 2_000;

/**
 * Touched by systemd-timesyncd, which sets the clock of most Raspberry Pis, whenever it has done so; gone with the boot.
 * See systemd-timesyncd.service(8).
 */
const SYNCHRONIZED = "/run/systemd/timesync/synchronized";
/** How often it is looked whether it is there. */
const SYNCHRONIZED_LOOK_MS = 1_000;

/** Watches whether the wall clock runs evenly beside the monotonic one, or has been set by a time server. */
export class WallWatch {
  readonly #isSynchronized: () => boolean;
  #differenceMs: number | undefined;
  #steadySinceMs = 0;
  #wasSynchronized = false;
  #synchronizedLookAtMs = Number.NEGATIVE_INFINITY;

  /** @param isSynchronized whether a time server has set the clock in this boot, as far as anyone tells */
  constructor(isSynchronized: () => boolean = () => false) {
    this.#isSynchronized = isSynchronized;
  }

  /** Looks at both clocks, and tells whether the wall clock can be trusted. */
  look(elapsedMs: number, wallMs: number): boolean {
    const differenceMs = wallMs - elapsedMs;
    if (this.#differenceMs === undefined || Math.abs(differenceMs - this.#differenceMs) > JUMP_MS) {
      this.#steadySinceMs = elapsedMs;
    }
    this.#differenceMs = differenceMs;
    if (!isPlausibleWall(wallMs)) return false;
    return elapsedMs - this.#steadySinceMs >= STEADY_MS || this.#hasJustSynchronized(elapsedMs);
  }

  /** Counts once: a clock that jumps after that has been set by somebody else, and has to run evenly again. */
  #hasJustSynchronized(elapsedMs: number): boolean {
    if (this.#wasSynchronized || elapsedMs < this.#synchronizedLookAtMs) return false;
    this.#synchronizedLookAtMs = elapsedMs + SYNCHRONIZED_LOOK_MS;
    if (!this.#isSynchronized()) return false;
    this.#wasSynchronized = true;
    this.#steadySinceMs = Number.NEGATIVE_INFINITY;
    return true;
  }
}

/** Sleep is told this finely; less than that is how far two readings may be apart. */
const SLEEP_STEP_MS = 10_000;
/** How often it is looked whether the machine has slept. */
const SLEEP_LOOK_MS = 1_000;

/**
 * The id of this boot. It changes with each sleep of the machine: the monotonic clock stands still meanwhile, so that what
 * it says of a record from before would make a time of acceptance that was right wrong by the length of the sleep.
 */
export class BootWatch {
  readonly #boot: Uint8Array;
  #id: Uint8Array;
  #slept = 0;
  #lookAtMs = Number.NEGATIVE_INFINITY;

  constructor(boot: Uint8Array) {
    this.#boot = boot;
    this.#id = boot;
  }

  /** @param uptimeMs since the boot, sleep included */
  id(elapsedMs: number, uptimeMs: () => number): Uint8Array {
    if (elapsedMs < this.#lookAtMs) return this.#id;
    this.#lookAtMs = elapsedMs + SLEEP_LOOK_MS;
    const slept = Math.round((uptimeMs() - elapsedMs) / SLEEP_STEP_MS);
    if (slept === this.#slept) return this.#id;
    this.#slept = slept;
    this.#id = createHash("sha256").update(this.#boot).update(String(slept)).digest().subarray(0, 8);
    return this.#id;
  }
}

const wallWatch = new WallWatch(() => existsSync(SYNCHRONIZED));
const bootWatch = new BootWatch(readBootId());

export const systemClock: Clock = {
  get isWallTrusted() {
    return wallWatch.look(this.elapsedMs(), this.wallMs());
  },
  elapsedMs() {
    const [seconds, nanoseconds] = hrtime(); // not by way of the global `process`, which is a getter: called for each record
    return seconds * 1_000 + nanoseconds / 1e6;
  },
  wallMs: () => Date.now(),
  get bootId() {
    return bootWatch.id(this.elapsedMs(), () => uptime() * 1_000);
  },
  after(ms, then) {
    const timer = setTimeout(then, ms);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Longest time that a timer can have: it is only there to be there. */
const HOLDING_MS = 2 ** 31 - 1;

/** Keeps the process from ending by itself. Returns the way to undo that. */
export function holdProcess(): () => void {
  const timer = setInterval(() => undefined, HOLDING_MS);
  return () => clearInterval(timer);
}
