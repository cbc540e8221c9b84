/** Whether a slow card takes the thread pool from everyone else: a name looked up by another flow meanwhile. */
import { lookup } from "node:dns/promises";
import { join } from "node:path";
import { FaultyDisk, whyNoFaultyDisk } from "../../support/faulty-disk.js";
import { AwayTarget, engine, mustBeTaken } from "../engine.js";
import { atMost, type Figure, type Measured, skipped } from "../figure.js";
import { pause } from "../measure.js";
import { readings100 } from "../readings.js";

const EXPORTERS = 50;
const WRITES_PER_SECOND = 40;
const SECONDS = 20;
const MOST_MS = 50;
const ROUTING = {};

async function dns(): Promise<Measured[]> {
  const why = whyNoFaultyDisk();
  if (why !== undefined) return [skipped("ms", `<= ${MOST_MS}`, why)];
  const disk = await FaultyDisk.ext4("96m");
  try {
    const flush = engine.DEFAULT_FLUSH;
    const runtime = await engine.Runtime.open({ folder: join(disk.folder, "queue"), flush });
    const opening = Array.from({ length: EXPORTERS }, (_, i) =>
      runtime.openExporter({ id: `exporter-${i}`, target: new AwayTarget(), flush }),
    );
    const exporters = await Promise.all(opening);
    try {
      await disk.throttle(WRITES_PER_SECOND, process.pid);
    } catch (error) {
      await runtime.close();
      return [skipped("ms", `<= ${MOST_MS}`, `the disk cannot be throttled: ${(error as Error).message.trim()}`)];
    }
    const before = (await lookups(SECONDS / 2)).at(-1)!;
    const readings = readings100();
    let sent = 0;
    const timer = setInterval(() => {
      for (const exporter of exporters) exporter.send(readings[sent++ % readings.length], ROUTING, mustBeTaken);
    }, 100);
    const waits = await lookups(SECONDS);
    clearInterval(timer);
    await runtime.close();
    const p99 = waits[Math.floor(waits.length * 0.99)]!;
    const peer = `longest of ${waits.length} lookups; p99 ${p99.toFixed(1)} ms, ${sent} records sent; longest before that ${before.toFixed(1)} ms`;
    return [atMost(waits.at(-1)!, MOST_MS, "ms", peer)];
  } finally {
    await disk.remove();
  }
}

/** Looks a name up for so long, and resolves to how long each look-up took, the longest last. */
async function lookups(seconds: number): Promise<number[]> {
  const waits: number[] = [];
  for (const endMs = performance.now() + seconds * 1_000; performance.now() < endMs;) {
    const startedMs = performance.now();
    await lookup("localhost");
    waits.push(performance.now() - startedMs);
    await pause(10);
  }
  return waits.sort((a, b) => a - b);
}

export const figures: readonly Figure[] = [
  {
    name: "dns",
    what: `a name looked up while ${EXPORTERS} exporters are down on a disk of ${WRITES_PER_SECOND} writes/s`,
    measure: dns,
  },
];
