/**
 * What a log has promised so far, record by record and consumer by consumer: kept beside the log by the explorer, and
 * held against what the next life finds. Records are numbered in order of acceptance; the number is the payload.
 */

/** What is known of one record for one consumer. */
const BORN = 1; // accepted while the consumer existed
const CONFIRMED = 2;
const WRITTEN = 4; // a write round that began after it ended well
const SYNCED = 8;
const DONE_WRITTEN = 16; // its confirmation stood in a written cursor
const DONE_DURABLE = 32; // and in a synced one
const GONE = 64; // an earlier life could not find it, and had not promised it

export type Crash = "kill" | "power";

/** Any smaller thing than this cannot be told apart from a repeat, a loss or an invention. */
export class Violation extends Error {
  override readonly name = "Violation";
}

export class Oracle {
  count = 0;
  consumers = new Map<string, Uint8Array>();
  static readonly #most = 512;

  copy(): Oracle {
    const copy = new Oracle();
    copy.count = this.count;
    for (const [id, flags] of this.consumers) copy.consumers.set(id, Uint8Array.from(flags));
    return copy;
  }

  addConsumer(id: string): void {
    if (!this.consumers.has(id)) this.consumers.set(id, new Uint8Array(Oracle.#most));
  }

  removeConsumer(id: string): void {
    this.consumers.delete(id);
  }

  accepted(): number {
    const n = this.count++;
    for (const flags of this.consumers.values()) flags[n] = BORN;
    return n;
  }

  get isFull(): boolean {
    return this.count >= Oracle.#most - 64;
  }

  confirmed(id: string, n: number): void {
    this.consumers.get(id)![n]! |= CONFIRMED;
  }

  /** All below `count` were written, or synced. */
  wrote(count: number, synced: boolean): void {
    for (const flags of this.consumers.values()) {
      for (let n = 0; n < count; n++) flags[n]! |= synced ? WRITTEN | SYNCED : WRITTEN;
    }
  }

  /** A cursor of this consumer that says `isConfirmed` is written, or durable. */
  cursor(id: string, isConfirmed: (n: number) => boolean, durable: boolean): void {
    const flags = this.consumers.get(id);
    if (flags === undefined) return;
    for (let n = 0; n < this.count; n++) {
      if ((flags[n]! & CONFIRMED) !== 0 && isConfirmed(n))
        flags[n]! |= durable ? DONE_WRITTEN | DONE_DURABLE : DONE_WRITTEN;
    }
  }

  /** Holds what a consumer got after a crash against what was promised. `damaged`: someone has harmed the files. */
  check(id: string, found: readonly number[], crash: Crash, damaged: boolean): void {
    const flags = this.consumers.get(id);
    if (flags === undefined) return;
    const promised = crash === "kill" ? WRITTEN : SYNCED;
    const done = crash === "kill" ? DONE_WRITTEN : DONE_DURABLE;
    let last = -1;
    for (const n of found) {
      if (n >= this.count) throw new Violation(`${id} got ${n}, which nobody had sent`);
      if (n <= last) throw new Violation(`${id} got ${n} after ${last}`);
      if (!damaged && (flags[n]! & done) !== 0) throw new Violation(`${id} got ${n} again, below its ${crash} cursor`);
      if ((flags[n]! & GONE) !== 0) throw new Violation(`${id} got ${n}, which an earlier life had not found`);
      last = n;
    }
    if (damaged) return;
    const got = new Set(found);
    for (let n = 0; n < this.count; n++) {
      const f = flags[n]!;
      if ((f & BORN) !== 0 && (f & promised) !== 0 && (f & (CONFIRMED | GONE)) === 0 && !got.has(n)) {
        throw new Violation(`${id} lost ${n} (${crash})`);
      }
    }
  }

  /** The next life begins with what it found. */
  nextLife(id: string, found: readonly number[], crash: Crash): void {
    const flags = this.consumers.get(id);
    if (flags === undefined) return;
    const got = new Set(found);
    for (let n = 0; n < this.count; n++) {
      if (got.has(n))
        flags[n] =
          (flags[n]! & ~(CONFIRMED | DONE_WRITTEN | DONE_DURABLE)) | BORN | WRITTEN | (crash === "power" ? SYNCED : 0);
      else if ((flags[n]! & CONFIRMED) === 0) flags[n]! |= GONE;
    }
  }

  /** A consumer that no cursor names any more: nothing is promised of what came before. */
  forget(id: string): void {
    this.consumers.set(id, new Uint8Array(Oracle.#most));
  }
}
