/** How fast the engine accepts when it never ends and the target is away: everything goes to the disk and is synced. */
import { AwayTarget, openEngine, sendAll } from "../engine.js";
import { atLeast, type Figure, type Measured } from "../figure.js";
import { compare, perSecond, rateOf, rateUntil } from "../measure.js";
import { type Reading, readings100, readings1k } from "../readings.js";
import { stringifyInto } from "../stringify-loop.js";

async function sustain(readings: readonly Reading[], count: number, bound: number): Promise<Measured[]> {
  const toTheDisk = async (): Promise<number> => {
    const { exporter, close } = await openEngine({ target: new AwayTarget(), flush: { overflow: "refuse" } });
    return rateUntil(count, async () => {
      await sendAll(exporter, readings, count);
      await close(); // ends with a sync
    });
  };
  const { rates, ratios } = await compare([toTheDisk, () => rateOf(count, () => stringifyInto(readings, count))], 5, 2);
  const peer = `JSON.stringify into a Buffer: ${perSecond(rates[1]!)}, here ${perSecond(rates[0]!)} until the last is synced`;
  return [atLeast(ratios[1]!, bound, "x", peer)];
}

export const figures: readonly Figure[] = [
  {
    name: "sustained-100",
    what: "accepts 100 B JSON objects without end, target away, until the last is synced",
    measure: () => sustain(readings100(), 600_000, 0.6),
  },
  {
    name: "sustained-1k",
    what: "accepts 1 KiB JSON objects without end, target away, until the last is synced",
    measure: () => sustain(readings1k(), 100_000, 0.4),
  },
];
