/**
 * Time as the engine sees it. The only place that reads clocks or starts timers, so that tests can hold both.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Monotonic ms since the machine booted (shared by all processes of one boot). For every duration. */
  elapsedMs(): number;
  /** Wall time in ms since 1970. Only labels records; it may be wrong and it may jump. */
  wallMs(): number;
  /** Identifies this boot of the machine: two readings of `elapsedMs` can be compared only under the same id. 8 bytes. */
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

export const systemClock: Clock = {
  elapsedMs() {
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1_000 + nanoseconds / 1e6;
  },
  wallMs: () => Date.now(),
  bootId: readBootId(),
  after(ms, then) {
    const timer = setTimeout(then, ms);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
