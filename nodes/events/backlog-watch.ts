/**
 * Sees a backlog grow beyond what the user thinks is normal, and fall back. Whoever owns it calls `look` now and then.
 */
import type { ExporterStatus } from "../../src/runtime/member.js";
import type { Happening } from "./happening.js";

/** 0: no limit. */
export interface Thresholds {
  readonly records: number;
  readonly bytes: number;
  readonly ageMs: number;
}

/** A backlog that stays around its threshold is told once: it has to fall this far below to be normal again. */
const NORMAL_SHARE = 0.8;

export class BacklogWatch {
  readonly #thresholds: Thresholds;
  readonly #high = new Set<string>();

  constructor(thresholds: Thresholds) {
    this.#thresholds = thresholds;
  }

  /** False: there is nothing to look for. */
  get isNeeded(): boolean {
    const { records, bytes, ageMs } = this.#thresholds;
    return records > 0 || bytes > 0 || ageMs > 0;
  }

  /** What has changed for one place in a queue since the last look. */
  look(queue: string, exporter: string, status: ExporterStatus): Happening | undefined {
    const key = `${queue} ${exporter}`;
    const { waiting: records, waitingBytes: bytes, oldestAgeMs: ageMs = 0 } = status;
    const isHigh = this.#high.has(key);
    const share = isHigh ? NORMAL_SHARE : 1;
    const { records: mostRecords, bytes: mostBytes, ageMs: mostAgeMs } = this.#thresholds;
    const reached = [
      ...(mostRecords > 0 && records >= mostRecords * share ? ["records"] : []),
      ...(mostBytes > 0 && bytes >= mostBytes * share ? ["bytes"] : []),
      ...(mostAgeMs > 0 && ageMs >= mostAgeMs * share ? ["age"] : []),
    ];
    if (reached.length > 0 === isHigh) return undefined;
    if (isHigh) this.#high.delete(key);
    else this.#high.add(key);
    const details = { records, bytes, ageMs, ...(isHigh ? {} : { reached }) };
    return { group: "backlog", kind: isHigh ? "backlogNormal" : "backlogHigh", queue, exporter, details };
  }

  /** Forgets what is no longer there, so that it is told of anew when it comes back. */
  keep(places: ReadonlySet<string>): void {
    for (const key of this.#high) if (!places.has(key)) this.#high.delete(key);
  }
}
