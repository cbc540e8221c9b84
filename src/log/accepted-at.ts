/**
 * When a record was accepted: what its block noted, or what the wall clock of today makes of it when that had been wrong
 * and can be trusted by now. The time inside an id stays what it was: an id that changed between two attempts would be
 * another record to the target, a duplicate.
 */
import type { Clock } from "../clock.js";
import { type BlockOrigin, type BlockTime, timeAsNoted } from "./format/block-record.js";

/** A wall clock that was off by less was right: it merely ran a little fast or slow since. */
const WRONG_CLOCK_MS = 30_000;

/** How the times of a block are to be read, as far as the clock knows by now. */
export function timeOf(block: BlockOrigin, clock: Clock): BlockTime {
  // Only within one boot can the clocks of then and now be compared.
  if (!clock.isWallTrusted || !block.bootId.equals(clock.bootId)) return timeAsNoted(block);
  const shiftMs = clock.wallMs() - clock.elapsedMs() - (block.baseTimeMs - block.baseElapsedMs);
  return { shiftMs: Math.abs(shiftMs) > WRONG_CLOCK_MS ? shiftMs : 0, isDoubtful: false };
}
