/** What reaches the disk, by the counters of a block device of its own. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { FaultyDisk, whyNoFaultyDisk } from "../../support/faulty-disk.js";
import { output } from "../../support/servers-cache.js";
import { AwayTarget, benchFolder, mustBeTaken, NullTarget, type Opened, openEngine, sendAll } from "../engine.js";
import { atMost, type Figure, type Measured, skipped } from "../figure.js";
import { pause } from "../measure.js";
import { averageBytes, readings100, readings1k } from "../readings.js";
import type { Target } from "../../../src/targets/target.js";

const ROUTING = {};
const DAY_S = 24 * 60 * 60;

/** Sends evenly for so long, as much as is due at each look. Resolves to how many bytes of payload that was. */
async function sendEvenly({ exporter }: Opened, perSecond: number, seconds: number): Promise<number> {
  const readings = readings100();
  const startedMs = performance.now();
  let sent = 0;
  let bytes = 0;
  for (;;) {
    const elapsedS = (performance.now() - startedMs) / 1_000;
    for (const due = Math.min(elapsedS, seconds) * perSecond; sent < due; sent++) {
      const reading = readings[sent % readings.length]!;
      bytes += Buffer.byteLength(JSON.stringify(reading));
      exporter.send(reading, ROUTING, mustBeTaken);
    }
    if (elapsedS >= seconds) return bytes;
    await pause(10);
  }
}

async function flushed(disk: FaultyDisk): Promise<number> {
  await output("sync", ["-f", disk.folder], "/");
  return (await disk.counters()).bytes;
}

interface Wear {
  readonly written: number;
  readonly payload: number;
}

/** Bytes that reached the device while so much was sent, with the defaults. */
async function wearOf(target: Target, perSecond: number, seconds: number): Promise<Wear> {
  const disk = await FaultyDisk.ext4("96m");
  try {
    const opened = await openEngine({ target, folder: join(disk.folder, "queue") });
    await sendEvenly(opened, perSecond, 2); // the first record makes what is made once
    let before = await flushed(disk);
    // A file system that was just made goes on writing its own tables for a while.
    for (let settled = 0; settled < 2;) {
      await pause(1_000);
      const now = await flushed(disk);
      settled = now === before || !(target instanceof AwayTarget) ? settled + 1 : 2;
      before = now;
    }
    const payload = await sendEvenly(opened, perSecond, seconds);
    const written = (await flushed(disk)) - before;
    await opened.close();
    return { written, payload };
  } finally {
    await disk.remove();
  }
}

async function onDisk(unit: string, bound: number, measure: () => Promise<Measured[]>): Promise<Measured[]> {
  const why = whyNoFaultyDisk();
  return why === undefined ? measure() : [skipped(unit, `<= ${bound}`, why)];
}

const idle = (): Promise<Measured[]> =>
  onDisk("bytes", 0, async () => {
    const { written, payload } = await wearOf(new NullTarget(), 1_000, 20);
    return [atMost(written, 0, "bytes", `${payload} bytes sent in 20 s, target up`)];
  });

const outage = (): Promise<Measured[]> =>
  onDisk("x", 0.25, async () => {
    const { written, payload } = await wearOf(new AwayTarget(), 1_000, 30);
    return [atMost(written / payload, 0.25, "x payload", `${written} bytes written for ${payload} of payload in 30 s`)];
  });

const outageDay = (): Promise<Measured[]> =>
  onDisk("GB/day", 0.25, async () => {
    const seconds = 60;
    const { written, payload } = await wearOf(new AwayTarget(), 10, seconds);
    const perDay = (written * DAY_S) / seconds / 1e9;
    return [atMost(perDay, 0.25, "GB/day", `${written} bytes written for ${payload} of payload in ${seconds} s`)];
  });

async function backlogSize(): Promise<Measured[]> {
  const found: Measured[] = [];
  for (const [size, readings, count] of [
    ["100 B", readings100(), 200_000],
    ["1 KiB", readings1k(), 20_000],
  ] as const) {
    const folder = benchFolder();
    const { exporter, close } = await openEngine({ target: new AwayTarget(), folder, flush: { overflow: "refuse" } });
    await sendAll(exporter, readings, count);
    await close();
    const payload = averageBytes(readings) * count;
    const stored = segmentBytes(folder);
    const peer = `${(stored / count).toFixed(1)} bytes a record of ${size}`;
    found.push(atMost(stored / payload, 0.25, "x payload", peer));
  }
  return found;
}

function segmentBytes(folder: string): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.name.endsWith(".seg")) bytes += statSync(join(entry.parentPath, entry.name)).size;
  }
  return bytes;
}

export const figures: readonly Figure[] = [
  { name: "idle-writes", what: "disk written with the target up, 1,000 records/s", measure: idle },
  { name: "outage-writes", what: "disk written in an outage, 1,000 records/s of 100 B", measure: outage },
  { name: "outage-gb-day", what: "disk written in an outage, 10 records/s of 100 B, defaults", measure: outageDay },
  { name: "backlog-size", what: "size of a backlog on disk", measure: backlogSize },
];
