/**
 * When a record was accepted: what its block noted, or what the wall clock of today makes of it when that had been wrong
 * and can be trusted by now. The time inside an id stays what it was: an id that changed between two attempts would be
 * another record to the target, a duplicate.
 */
import type { Clock } from "../clock.js";
import type { AcceptedAt, BlockOrigin } from "./block.js";

/** A wall clock that was off by less was right: it merely ran a little fast or slow since. */
const WRONG_CLOCK_MS = 30_000;
/** How often the clock is asked whether it can be trusted: to ask for each record would cost more than the record. */
const ASK_MS = 1_000;

export function acceptedAtBy(clock: Clock): AcceptedAt {
  let askedAtMs = Number.NEGATIVE_INFINITY;
  let isTrusted = false;
  const wallIsTrusted = (): boolean => {
    const nowMs = clock.elapsedMs();
    if (nowMs - askedAtMs >= ASK_MS) [askedAtMs, isTrusted] = [nowMs, clock.isWallTrusted];
    return isTrusted;
  };
  // Only within one boot can the clocks of then and now be compared.
  const mayCorrect = ({ bootId }: BlockOrigin): boolean => wallIsTrusted() && bootId.equals(clock.bootId);
  const acceptedAt = (block: BlockOrigin, elapsedMs: number): number => {
    const noted = block.baseTimeMs + (elapsedMs - block.baseElapsedMs);
    if (!mayCorrect(block)) return noted;
    const corrected = clock.wallMs() - (clock.elapsedMs() - elapsedMs);
    return Math.abs(corrected - noted) > WRONG_CLOCK_MS ? corrected : noted;
  };
  return Object.assign(acceptedAt, { isSure: mayCorrect });
}
