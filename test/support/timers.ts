/**
 * Knows which timers started by code of this project are still ticking. `process.getActiveResourcesInfo` would not do:
 * the engine's timers are unref'd, and those it leaves out.
 */
import { join, sep } from "node:path";

type Start = (then: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) => NodeJS.Timeout;

const PROJECT = join(__dirname, "..", "..") + sep;
const THIS_FILE = __filename;
/** Above this many, those that have ended are dropped, so that a test with a million timers does not hold them all. */
const SWEEP_AT = 1_000;

const started = new Map<NodeJS.Timeout, string>();

/** From now on every `setTimeout` and `setInterval` is noted. */
export function watchTimers(): void {
  globalThis.setTimeout = watched(globalThis.setTimeout) as typeof setTimeout;
  globalThis.setInterval = watched(globalThis.setInterval) as typeof setInterval;
}

/** Timers from before, a server of the whole suite for example, are not the next test's. */
export function forgetTimers(): void {
  started.clear();
}

/** Where each timer was started that has neither fired for the last time nor been cancelled. */
export function liveTimers(): string[] {
  sweep();
  return [...started.values()];
}

function watched(start: Start): Start {
  const watching: Start = (then, ms, ...args) => {
    const timer = start(then, ms, ...args);
    const caller = callerInProject();
    if (caller !== undefined) {
      if (started.size >= SWEEP_AT) sweep();
      started.set(timer, caller);
    }
    return timer;
  };
  // `util.promisify(setTimeout)` looks for a symbol on the function.
  return Object.defineProperties(watching, Object.getOwnPropertyDescriptors(start));
}

/** The line that started the timer, when it is ours and not a dependency's. */
function callerInProject(): string | undefined {
  const frames = new Error("started here").stack?.split("\n").slice(1) ?? [];
  const caller = frames.find((frame) => !frame.includes(THIS_FILE));
  const isOurs = caller?.includes(PROJECT) === true && !caller.includes("node_modules");
  return isOurs ? caller.trim().replace(PROJECT, "") : undefined;
}

function sweep(): void {
  for (const timer of started.keys()) if (hasEnded(timer)) started.delete(timer);
}

function hasEnded(timer: NodeJS.Timeout): boolean {
  // Node's own mark (lib/internal/timers.js): set when a timer fires for the last time or is cleared.
  return (timer as NodeJS.Timeout & { _destroyed: boolean })._destroyed;
}
