/**
 * Bad bytes met while reading a segment: which of them had been safe, and are a loss to tell of, and which are only
 * what a crash had torn. What was safe is known by the blocks behind them, and by the file that came next.
 */
import type { Predecessor } from "../format/cursor.js";
import { BLOCK_KINDS, type BlockHeader } from "../format/frame.js";
import { type Range, RangeSet } from "../format/ranges.js";
import type { Segment } from "./segment.js";

export interface ProofSources {
  told(): Promise<Predecessor | undefined>;
  /** The highest `syncedTo` of all its blocks. */
  syncedTo(): Promise<number>;
}

export class DamageWatch {
  readonly #segment: Segment;
  /** What the successor of the segment noted of it, and what its own blocks tell further behind. */
  readonly #sources: ProofSources;
  readonly #onDamage: (range: Range) => Promise<void>;
  /** How many of the bad ranges were judged already. */
  #judged = 0;
  #syncedTo = 0;

  constructor(segment: Segment, sources: ProofSources, onDamage: (segment: Segment, range: Range) => Promise<void>) {
    this.#segment = segment;
    this.#sources = sources;
    this.#onDamage = (range) => onDamage(segment, range);
  }

  /**
   * Called at every block, and at the end without one.
   * @param bad what was found so far
   * @param lowestWanted what lies below is nobody's loss
   */
  async passed(bad: readonly Range[], next: BlockHeader | undefined, lowestWanted: number): Promise<void> {
    const segment = this.#segment;
    this.#syncedTo = Math.max(this.#syncedTo, next?.syncedTo ?? 0);
    const isEnd = next === undefined;
    if (isEnd ? segment.growing : next.kind !== BLOCK_KINDS.records) return;
    if (this.#judged === bad.length && !(isEnd && !segment.judged) && segment.provenLength <= segment.size) return;
    if (!segment.judged) await this.#judge(isEnd);
    segment.provenLength = Math.max(segment.provenLength, this.#syncedTo);
    const missing = isEnd ? [{ from: segment.size, to: Number.POSITIVE_INFINITY }] : [];
    const isWanted = isEnd || next.origin > lowestWanted;
    for (const range of [...bad.slice(this.#judged), ...missing]) if (isWanted) await this.#tell(range);
    this.#judged = bad.length;
  }

  /** Bytes whose crc is right and whose content is not: as good as lost. */
  async undecodable(range: Range): Promise<void> {
    await this.#tell({ from: range.from, to: Math.min(range.to, this.#segment.size) }, range.to);
  }

  async #judge(isEnd: boolean): Promise<void> {
    const told = await this.#sources.told();
    // A block that has not been passed yet may tell more: after damage, which is rare, they are all looked at.
    if (!isEnd) this.#syncedTo = Math.max(this.#syncedTo, await this.#sources.syncedTo());
    this.#segment.provenLength = told?.provenLength ?? 0;
    this.#segment.knownBad = [...this.#segment.knownBad, ...(told?.badRanges ?? [])];
    this.#segment.judged = true;
  }

  async #tell({ from, to }: Range, provenLength = this.#segment.provenLength): Promise<void> {
    const damageTo = Math.min(to, provenLength);
    const known = RangeSet.of(this.#segment.knownBad);
    if (damageTo > from && known.countIn(from, damageTo) < damageTo - from) {
      await this.#onDamage({ from, to: damageTo });
    }
  }
}
