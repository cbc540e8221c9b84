/**
 * The limits of a file in lines and bytes: what still fits, and how much has to go. Pure counting; who makes the room
 * is `target.ts`.
 */
import type { Excess } from "./drop-oldest.js";
import { countLineEnds } from "./lines.js";
import type { LineFormat } from "./lines.js";

/** After the oldest lines went, so much of the limit is left: each rewrite makes room for a tenth of the file. */
const KEPT_SHARE = 0.9;

export interface Amount {
  readonly lines: number;
  readonly bytes: number;
}

export class Room {
  readonly #limit: Amount;
  readonly #format: LineFormat;

  constructor(limit: Amount, format: LineFormat) {
    this.#limit = limit;
    this.#format = format;
  }

  get isLimited(): boolean {
    return this.#limit.lines !== Infinity || this.#limit.bytes !== Infinity;
  }

  get countsLines(): boolean {
    return this.#limit.lines !== Infinity;
  }

  sizeOf(body: Buffer): Amount {
    const { lineEnd } = this.#format;
    return {
      lines: this.countsLines ? countLineEnds(body, lineEnd) + 1 : 1,
      bytes: body.length + lineEnd.length,
    };
  }

  /** True when not even an empty file would take it. */
  isTooLarge(body: Buffer): boolean {
    return this.#fitting({ lines: 0, bytes: this.#format.header.length }, [body]) === 0;
  }

  /** How many of the next lines fit behind `used`. */
  fitting(used: Amount, bodies: readonly Buffer[]): number {
    return this.isLimited ? this.#fitting(used, bodies) : bodies.length;
  }

  /** How many of these lines, the first ones, would have to go again for those behind them, even from an empty file. */
  outlived(bodies: readonly Buffer[]): number {
    if (!this.isLimited) return 0;
    return bodies.length - this.#fitting({ lines: 0, bytes: this.#format.header.length }, bodies.toReversed());
  }

  /** What has to go from `used` so that as many of the next lines fit as an empty file would take. */
  excess(used: Amount, bodies: readonly Buffer[]): Excess {
    const empty = { lines: 0, bytes: this.#format.header.length };
    const wanted = this.#sum(bodies.slice(0, this.#fitting(empty, bodies)));
    const { lines, bytes } = this.#limit;
    return {
      lines: Math.max(0, used.lines - Math.min(Math.floor(lines * KEPT_SHARE), lines - wanted.lines)),
      bytes: Math.max(0, used.bytes - Math.min(Math.floor(bytes * KEPT_SHARE), bytes - wanted.bytes)),
    };
  }

  #fitting(used: Amount, bodies: readonly Buffer[]): number {
    let { lines, bytes } = used;
    for (let i = 0; i < bodies.length; i++) {
      const size = this.sizeOf(bodies[i]!);
      lines += size.lines;
      bytes += size.bytes;
      if (lines > this.#limit.lines || bytes > this.#limit.bytes) return i;
    }
    return bodies.length;
  }

  #sum(bodies: readonly Buffer[]): Amount {
    let lines = 0;
    let bytes = 0;
    for (const body of bodies) {
      const size = this.sizeOf(body);
      lines += size.lines;
      bytes += size.bytes;
    }
    return { lines, bytes };
  }
}
