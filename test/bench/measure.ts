/** How sides are compared: interleaved, so that whatever else the machine does meets all of them; medians; warm. */

/** Measures one thing once and resolves to records per second. */
export type Side = () => Promise<number> | number;

export interface Compared {
  /** Median rate of each side, records/s. */
  readonly rates: readonly number[];
  /** Median over the rounds of the first side's rate divided by that of each side. */
  readonly ratios: readonly number[];
}

/** Runs the sides in turn, `warmUps` rounds for nothing and then `rounds` that count. */
export async function compare(sides: readonly Side[], rounds: number, warmUps: number): Promise<Compared> {
  const seen: number[][] = [];
  for (let round = -warmUps; round < rounds; round++) {
    const rates: number[] = [];
    // Without a collection in between: V8 gives up compiled code in one, and the next side would begin cold.
    for (const side of sides) rates.push(await side());
    if (round >= 0) seen.push(rates);
  }
  return {
    rates: sides.map((_, i) => median(seen.map((rates) => rates[i]!))),
    ratios: sides.map((_, i) => median(seen.map((rates) => rates[0]! / rates[i]!))),
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Runs it and returns how many times a second `count` things were done. */
export function rateOf(count: number, run: () => void): number {
  const startedMs = performance.now();
  run();
  return (count / (performance.now() - startedMs)) * 1_000;
}

/** The same for what takes its time. */
export async function rateUntil(count: number, run: () => Promise<void>): Promise<number> {
  const startedMs = performance.now();
  await run();
  return (count / (performance.now() - startedMs)) * 1_000;
}

export function perSecond(rate: number): string {
  return `${Math.round(rate).toLocaleString("en-US")}/s`;
}

/** Resolves once `isSo`, looked at every few ms. @throws after a minute, saying what was waited for. */
export async function until(what: string, isSo: () => boolean, timeoutMs = 60_000): Promise<void> {
  const startedMs = performance.now();
  while (!isSo()) {
    if (performance.now() - startedMs > timeoutMs) throw new Error(`${what} did not happen within ${timeoutMs} ms`);
    await pause(2);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
