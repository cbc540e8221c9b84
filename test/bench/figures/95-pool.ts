/** A pool of three beside one exporter: disk in an outage, and what accepting costs. */
import { rmSync } from "node:fs";
import type { Exporter } from "../../../src/runtime/exporter.js";
import type { Pool } from "../../../src/runtime/pool.js";
import { AwayTarget, benchFolder, engine, openEngine, sendAll } from "../engine.js";
import { atLeast, atMost, type Figure, type Measured } from "../figure.js";
import { compare, perSecond, rateUntil } from "../measure.js";
import { readings100 } from "../readings.js";

const COUNT = 100_000;

interface Entry {
  readonly entry: Pick<Exporter, "send" | "queue">;
  close(): Promise<void>;
}

async function openPool(folder: string): Promise<Entry> {
  const flush = engine.DEFAULT_FLUSH;
  const runtime = await engine.Runtime.open({ folder, flush });
  const pool: Pool = await runtime.openPool({ id: "pool", flush });
  for (const id of ["a", "b", "c"]) await pool.addMember({ id, target: new AwayTarget(), flush });
  return { entry: pool, close: () => runtime.close() };
}

async function openOne(folder: string): Promise<Entry> {
  const { exporter, close } = await openEngine({ target: new AwayTarget(), folder });
  return { entry: exporter, close };
}

async function measured(open: (folder: string) => Promise<Entry>): Promise<{ rate: number; bytes: number }> {
  const folder = benchFolder();
  const { entry, close } = await open(folder);
  const rate = await rateUntil(COUNT, () => sendAll(entry as Exporter, readings100(), COUNT));
  await entry.queue.log.sync();
  const bytes = entry.queue.log.diskBytes;
  await close();
  rmSync(folder, { recursive: true });
  return { rate, bytes };
}

async function poolDisk(): Promise<Measured[]> {
  const one = (await measured(openOne)).bytes;
  const three = (await measured(openPool)).bytes;
  const peer = `${COUNT} records waiting for one exporter: ${one} bytes, for three members of a pool: ${three} bytes`;
  return [atMost(three / one, 1.02, "x", peer)];
}

async function poolAccept(): Promise<Measured[]> {
  const pool = async (): Promise<number> => (await measured(openPool)).rate;
  const one = async (): Promise<number> => (await measured(openOne)).rate;
  const { rates, ratios } = await compare([pool, one], 7, 2);
  const peer = `one exporter: ${perSecond(rates[1]!)}, a pool of three: ${perSecond(rates[0]!)}`;
  return [atLeast(ratios[1]!, 0.9, "x", peer)];
}

export const figures: readonly Figure[] = [
  { name: "pool-disk", what: "disk of a pool of three in an outage", measure: poolDisk },
  { name: "pool-accept", what: "a pool of three accepts", measure: poolAccept },
];
