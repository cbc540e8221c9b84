/**
 * The oracle: what was promised over many lives of a process, held against what has arrived.
 */
import type { Accepted } from "./witness.js";
import { isIntact } from "./flow.js";

/** What an arrived record must be, beside intact. */
export interface Guarantee {
  /** Arrives in order of acceptance. */
  readonly inOrder: boolean;
}

export interface Verdict {
  /** Promised records that were looked for. */
  readonly checked: number;
  readonly arrived: number;
  /** In words, at most a few of each kind. Empty: everything held. */
  readonly violations: readonly string[];
}

const SHOWN = 5;

interface Promised {
  readonly life: number;
  readonly ageMs: number;
}

export class Ledger {
  readonly #promised = new Map<number, Promised>();
  #lives = 0;
  accepted = 0;

  get lives(): number {
    return this.#lives;
  }

  get promised(): number {
    return this.#promised.size;
  }

  /**
   * A life has ended.
   * @param promiseMs a record accepted longer ago than this when it ended must not be lost; 0 after an orderly end
   */
  endLife(accepted: readonly Accepted[], endedAtMs: number, promiseMs: number): void {
    this.#lives++;
    this.accepted += accepted.length;
    for (const { n, atMs } of accepted) {
      const ageMs = endedAtMs - atMs;
      if (ageMs >= promiseMs) this.#promised.set(n, { life: this.#lives, ageMs: Math.round(ageMs) });
    }
  }

  /** @param arrived what the target holds, in its order */
  async check(arrived: AsyncIterable<unknown> | Iterable<unknown>, { inOrder }: Guarantee): Promise<Verdict> {
    const violations = new Violations();
    const seen = new Map<number, number>();
    let highest = -1;
    let place = 0;
    for await (const value of arrived) {
      if (!isIntact(value)) {
        violations.add("not what was sent", JSON.stringify(value)?.slice(0, 80) ?? "undefined");
        continue;
      }
      const { n } = value;
      place++;
      const before = seen.get(n);
      if (before !== undefined) violations.add("arrived twice", `${n} in places ${before} and ${place}`);
      else if (inOrder && n < highest) violations.add("out of order", `${n} after ${highest}`);
      seen.set(n, place);
      highest = Math.max(highest, n);
    }
    for (const [n, { life, ageMs }] of this.#promised) {
      if (!seen.has(n)) violations.add("lost", `${n} of life ${life}, accepted ${ageMs} ms before its end`);
    }
    return { checked: this.#promised.size, arrived: seen.size, violations: violations.told() };
  }
}

class Violations {
  readonly #byKind = new Map<string, { count: number; examples: string[] }>();

  add(kind: string, example: string): void {
    const known = this.#byKind.get(kind) ?? { count: 0, examples: [] };
    known.count++;
    if (known.examples.length < SHOWN) known.examples.push(example);
    this.#byKind.set(kind, known);
  }

  told(): string[] {
    return [...this.#byKind].map(([kind, { count, examples }]) => `${count} ${kind}: ${examples.join("; ")}`);
  }
}
