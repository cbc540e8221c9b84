/**
 * One exporter may deliver from several queues: its own, and those of the pools it is a member of. People see one status.
 */
import type { ExporterStatus } from "../../src/runtime/exporter.js";

const CIRCUITS: readonly ExporterStatus["circuit"][] = ["open", "halfOpen", "closed"];

/** Sums what can be summed, and takes the worst of the rest. Undefined without any. */
export function combined(statuses: readonly ExporterStatus[]): ExporterStatus | undefined {
  const [first, ...rest] = statuses;
  return first === undefined ? undefined : rest.reduce(both, first);
}

function both(a: ExporterStatus, b: ExporterStatus): ExporterStatus {
  return {
    ...a,
    waiting: a.waiting + b.waiting,
    waitingBytes: a.waitingBytes + b.waitingBytes,
    oldestAgeMs: older(a.oldestAgeMs, b.oldestAgeMs),
    circuit: CIRCUITS.find((circuit) => circuit === a.circuit || circuit === b.circuit) ?? "closed",
    paused: a.paused || b.paused,
    problem: b.problem?.configuration === true ? b.problem : (a.problem ?? b.problem),
    storage: a.storage ?? b.storage,
    deadLetters: a.deadLetters + b.deadLetters,
    delivered: a.delivered + b.delivered,
    dropped: a.dropped + b.dropped,
    filtered: a.filtered + b.filtered,
    onDisk: a.onDisk || b.onDisk,
  };
}

function older(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.max(a, b);
}
