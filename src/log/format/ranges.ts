/**
 * A set of whole numbers as sorted, disjoint, non-touching ranges `[from, to)`. Small by design: a handful of ranges is
 * usual, a few thousand the most.
 */
export interface Range {
  readonly from: number;
  readonly to: number;
}

export class RangeSet {
  /** from0, to0, from1, to1, ... ascending. */
  readonly #edges: number[] = [];

  static of(ranges: Iterable<Range>): RangeSet {
    const set = new RangeSet();
    for (const { from, to } of ranges) set.add(from, to);
    return set;
  }

  get size(): number {
    return this.#edges.length / 2;
  }

  /** The lowest range. */
  get first(): Range | undefined {
    return this.size === 0 ? undefined : { from: this.#edges[0]!, to: this.#edges[1]! };
  }

  *[Symbol.iterator](): Generator<Range> {
    for (let i = 0; i < this.#edges.length; i += 2) yield { from: this.#edges[i]!, to: this.#edges[i + 1]! };
  }

  /** Index of the first edge above `value`. Odd: `value` lies inside a range. */
  #edgeAbove(value: number): number {
    let low = 0;
    let high = this.#edges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#edges[middle]! <= value) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  has(value: number): boolean {
    return this.#edges.length > 0 && (this.#edgeAbove(value) & 1) === 1;
  }

  /** The first value at or above `value` that is not in the set. */
  firstGap(value: number): number {
    const edge = this.#edgeAbove(value);
    return (edge & 1) === 1 ? this.#edges[edge]! : value;
  }

  add(from: number, to: number): void {
    if (from >= to) return;
    const edges = this.#edges;
    // Appending at the end, or growing the last range, is nearly every call.
    const last = edges.length - 1;
    if (last < 0 || from > edges[last]!) {
      edges.push(from, to);
      return;
    }
    if (from === edges[last]!) {
      edges[last] = to;
      return;
    }
    let start = this.#edgeAbove(from);
    if ((start & 1) === 0 && start > 0 && edges[start - 1] === from) start--; // touches the range below
    let end = this.#edgeAbove(to); // a range that begins exactly at `to` is swallowed: its edge is not above
    const low = (start & 1) === 1 ? edges[start - 1]! : from;
    const high = (end & 1) === 1 ? edges[end]! : to;
    const cutFrom = start & ~1;
    const cutTo = (end + 1) & ~1;
    end = cutTo;
    edges.splice(cutFrom, end - cutFrom, low, high);
  }

  remove(from: number, to: number): void {
    if (from >= to || this.#edges.length === 0) return;
    const edges = this.#edges;
    const start = this.#edgeAbove(from);
    const end = this.#edgeAbove(to - 1);
    const kept: number[] = [];
    const startsInside = (start & 1) === 1;
    const endsInside = (end & 1) === 1;
    if (startsInside && edges[start - 1]! < from) kept.push(edges[start - 1]!, from);
    if (endsInside && edges[end]! > to) kept.push(to, edges[end]!);
    edges.splice(start & ~1, ((end + 1) & ~1) - (start & ~1), ...kept);
  }

  /** Drops everything below `value`. */
  removeBelow(value: number): void {
    if (this.#edges.length > 0 && this.#edges[0]! < value) this.remove(this.#edges[0]!, value);
  }

  /** How many values of `[from, to)` are in the set. */
  countIn(from: number, to: number): number {
    let count = 0;
    for (let edge = this.#edgeAbove(from) & ~1; edge < this.#edges.length && this.#edges[edge]! < to; edge += 2) {
      count += Math.max(0, Math.min(to, this.#edges[edge + 1]!) - Math.max(from, this.#edges[edge]!));
    }
    return count;
  }

  clear(): void {
    this.#edges.length = 0;
  }
}
