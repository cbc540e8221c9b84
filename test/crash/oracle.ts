/**
 * What a log has promised so far, record by record and consumer by consumer: kept beside the log by the explorer, and
 * held against what the next life finds. Records are numbered in order of acceptance; the number is in the payload.
 */

/** What is known of one record for one consumer. */
const BORN = 1; // accepted while the consumer existed
const CONFIRMED = 2; // its target has it
const SETTLED = 4; // and keeps it through a power cut
const WRITTEN = 8; // a write round that began after it ended well
const SYNCED = 16;
const DONE_WRITTEN = 32; // its confirmation stood in a written cursor
const DONE_DURABLE = 64; // and in a synced one
const GONE = 128; // an earlier life could not find it, and had not promised it

export type Crash = "kill" | "power";

/** A promise that was not kept: a loss, a repeat, an invention, a wrong report. */
export class Violation extends Error {
  override readonly name = "Violation";
}

/** What someone did to the files before the next life, as far as it matters to the promises. */
export interface Harmed {
  /** True when the bytes of this record are intact somewhere. */
  isIntact(n: number): boolean;
  /** An old file has come back: what nobody had confirmed in it comes again, behind the rest. */
  readonly isAncient: boolean;
}

interface Known {
  readonly flags: Uint8Array;
  /** Records below this were accepted before the consumer existed. */
  since: number;
}

export class Oracle {
  count = 0;

  /** A full disk made the log delete before the cursors were durable: a later life may take that for a loss. */
  freedFirst = false;
  readonly #known = new Map<string, Known>();
  /** Removed at some time: a crash may undo that, so they may see records from before they were added again. */
  readonly #removed = new Set<string>();
  static readonly #most = 512;

  copy(): Oracle {
    const copy = new Oracle();
    copy.count = this.count;
    copy.freedFirst = this.freedFirst;
    for (const [id, { flags, since }] of this.#known) copy.#known.set(id, { flags: Uint8Array.from(flags), since });
    for (const id of this.#removed) copy.#removed.add(id);
    return copy;
  }

  get consumers(): string[] {
    return [...this.#known.keys()];
  }

  has(id: string): boolean {
    return this.#known.has(id);
  }

  addConsumer(id: string): void {
    if (this.#known.has(id)) return;
    const since = this.#removed.has(id) ? 0 : this.count;
    this.#known.set(id, { flags: new Uint8Array(Oracle.#most), since });
  }

  /** Nobody knows where it stood. */
  mayGetOlder(id: string): void {
    this.#known.get(id)!.since = 0;
  }

  removeConsumer(id: string): void {
    this.#known.delete(id);
    this.#removed.add(id);
  }

  accepted(): number {
    const n = this.count++;
    for (const { flags } of this.#known.values()) flags[n] = BORN;
    return n;
  }

  get isFull(): boolean {
    return this.count >= Oracle.#most - 64;
  }

  /** `settled`: the target keeps it through a power cut; otherwise `settled()` says when it does. */
  confirmed(id: string, n: number, settled: boolean): void {
    const { flags } = this.#known.get(id)!;
    flags[n]! |= settled ? CONFIRMED | SETTLED : CONFIRMED;
  }

  /** It was accepted for this consumer, which has not confirmed it. */
  waitsFor(id: string, n: number): boolean {
    return (this.#known.get(id)!.flags[n]! & (BORN | CONFIRMED | GONE)) === BORN;
  }

  countWaiting(id: string): number {
    let waiting = 0;
    for (let n = 0; n < this.count; n++) if (this.waitsFor(id, n)) waiting++;
    return waiting;
  }

  settled(id: string): void {
    const { flags } = this.#known.get(id)!;
    for (let n = 0; n < this.count; n++) if ((flags[n]! & CONFIRMED) !== 0) flags[n]! |= SETTLED;
  }

  /** All below `count` were written, or synced. */
  wrote(count: number, synced: boolean): void {
    for (const { flags } of this.#known.values()) {
      for (let n = 0; n < count; n++) flags[n]! |= synced ? WRITTEN | SYNCED : WRITTEN;
    }
  }

  /** A cursor of this consumer that says `isConfirmed` is written, or durable. */
  cursor(id: string, isConfirmed: (n: number) => boolean, durable: boolean): void {
    const flags = this.#known.get(id)?.flags;
    if (flags === undefined) return;
    const wanted = durable ? DONE_WRITTEN | DONE_DURABLE : DONE_WRITTEN;
    for (let n = 0; n < this.count; n++) {
      const f = flags[n]!;
      if ((f & CONFIRMED) === 0 || (f & wanted) === wanted || !isConfirmed(n)) continue;
      if ((f & SETTLED) === 0) throw new Violation(`the cursor of ${id} covers ${n}, which its target may still lose`);
      flags[n] = f | wanted;
    }
  }

  /**
   * Holds what a consumer got after a crash against what was promised.
   * @param isPlaced false when torn bytes may have held its cursor: then it may see records from before it existed
   * @returns the promised records that are missing, all of them harmed by someone
   */
  check(id: string, found: readonly number[], crash: Crash, harmed: Harmed | undefined, isPlaced = true): number[] {
    const known = this.#known.get(id);
    if (known === undefined) return [];
    const { flags, since } = known;
    const done = crash === "kill" ? DONE_WRITTEN : DONE_DURABLE;
    let last = -1;
    for (const n of found) {
      if (!(n < this.count)) throw new Violation(`${id} got ${n}, which nobody had sent`);
      if (n <= last && harmed?.isAncient !== true) throw new Violation(`${id} got ${n} after ${last}`);
      last = n;
      const f = flags[n]!;
      if ((f & GONE) !== 0 && isPlaced && !this.#removed.has(id))
        throw new Violation(`${id} got ${n}, which an earlier life had not found`);
      if (harmed !== undefined) continue;
      if ((f & done) !== 0) throw new Violation(`${id} got ${n} again, below its ${crash} cursor`);
      if (n < since && isPlaced) throw new Violation(`${id} got ${n}, from before it existed`);
    }
    const promised = BORN | (crash === "kill" ? WRITTEN : SYNCED);
    const excused = GONE | (crash === "kill" ? CONFIRMED : SETTLED);
    const got = new Set(found);
    const missing: number[] = [];
    for (let n = 0; n < this.count; n++) {
      const f = flags[n]!;
      if ((f & promised) !== promised || (f & excused) !== 0 || got.has(n)) continue;
      if (harmed === undefined) throw new Violation(`${id} lost ${n} (${crash})`);
      if (harmed.isIntact(n)) throw new Violation(`${id} lost ${n}, whose bytes are intact (${crash}, harmed by hand)`);
      if ((f & SYNCED) !== 0) missing.push(n);
    }
    return missing;
  }

  /** A record that is there for one is there for all who still wait for it. */
  checkShared(found: ReadonlyMap<string, readonly number[]>): void {
    const there = new Set([...found.values()].flat());
    for (const [id, numbers] of found) {
      const flags = this.#known.get(id)?.flags;
      if (flags === undefined) continue;
      const got = new Set(numbers);
      for (const n of there) {
        const waits = (flags[n]! & (BORN | CONFIRMED | GONE)) === BORN;
        if (waits && !got.has(n)) throw new Violation(`${id} did not get ${n}, which others got`);
      }
    }
  }

  /** The next life begins with what it found. */
  nextLife(id: string, found: readonly number[], crash: Crash): void {
    const known = this.#known.get(id);
    if (known === undefined) return;
    const { flags } = known;
    known.since = Math.min(known.since, found[0] ?? known.since);
    const got = new Set(found);
    for (let n = 0; n < this.count; n++) {
      const f = flags[n]!;
      if (got.has(n)) {
        // Its target has had it for good: it comes again, but nobody depends on that.
        const isSafe = (f & SETTLED) !== 0 && crash === "kill";
        const kept = f & ~(CONFIRMED | SETTLED | DONE_WRITTEN | DONE_DURABLE | (isSafe ? SYNCED : 0));
        flags[n] = kept | WRITTEN | (crash === "power" ? SYNCED : 0);
      } else if ((f & SETTLED) !== 0) continue;
      else if ((f & CONFIRMED) !== 0 && crash === "kill")
        flags[n]! |= SETTLED; // its target has it and looks after it
      else flags[n]! |= GONE;
    }
  }
}
