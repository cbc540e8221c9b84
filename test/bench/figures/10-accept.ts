/** How fast the engine accepts a burst that fits its share of memory, beside the least that anyone can do. */
import { mustBeTaken, NullTarget, openEngine } from "../engine.js";
import { atLeast, type Figure, type Measured, skipped } from "../figure.js";
import { compare, perSecond, rateOf } from "../measure.js";
import { sqliteOrReason } from "../peers/sqlite.js";
import { averageBytes, type Reading, readings100, readings1k } from "../readings.js";
import { stringifyInto } from "../stringify-loop.js";

/** A log is written before its time when this much is unwritten. */
const MEMORY_SHARE_BYTES = 2 * 1024 * 1024;
const ROUTING = {};

async function accept(readings: readonly Reading[], sqliteBound: number): Promise<Measured[]> {
  const count = Math.floor((MEMORY_SHARE_BYTES * 0.9) / (averageBytes(readings) + 5));
  const peer = await sqliteOrReason("NORMAL", readings);
  const target = new NullTarget();
  const { exporter, delivered, close } = await openEngine({ target });
  const burst = async (): Promise<number> => {
    const rate = rateOf(count, () => {
      for (let i = 0; i < count; i++) exporter.send(readings[i % readings.length], ROUTING, mustBeTaken);
    });
    await delivered();
    return rate;
  };
  const sides = [burst, () => rateOf(count, () => stringifyInto(readings, count))];
  if ("sqlite" in peer) sides.push(() => peer.sqlite.insert(Math.min(count, 4_000)));
  const { rates, ratios } = await compare(sides, 21, 8);
  await close();
  if ("sqlite" in peer) peer.sqlite.close();
  const beside = (name: string, i: number): string => `${name} ${perSecond(rates[i]!)}, here ${perSecond(rates[0]!)}`;
  return [
    atLeast(ratios[1]!, 0.75, "x", beside("JSON.stringify into a Buffer:", 1)),
    "why" in peer
      ? skipped("x", `>= ${sqliteBound}`, peer.why)
      : atLeast(ratios[2]!, sqliteBound, "x", beside("SQLite, WAL, NORMAL, a row each:", 2)),
  ];
}

export const figures: readonly Figure[] = [
  { name: "accept-100", what: "accepts a burst of 100 B JSON objects", measure: () => accept(readings100(), 10) },
  { name: "accept-1k", what: "accepts a burst of 1 KiB JSON objects", measure: () => accept(readings1k(), 3) },
];
