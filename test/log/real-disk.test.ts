/** The log on real disks that fill up, turn read-only, lie about a sync or lose power: loud, nothing lost, and mended by itself. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/clock.js";
import { systemFiles } from "../../src/files.js";
import { deflateCompression } from "../../src/log/format/compression.js";
import { type FlushPolicy, type Flushed, Flusher } from "../../src/log/flush.js";
import { Log } from "../../src/log/log.js";
import { FaultyDisk, whyNoFaultyDisk } from "../support/faulty-disk.js";
import { skipBecause } from "../support/skip.js";

const POLICY: FlushPolicy = { writeIntervalMs: 10, syncIntervalMs: 100, memoryShareBytes: 4_000_000 };
/** After a failure the flusher waits before its next round, twice as long each time: while the mending takes, too. */
const MENDED_WITHIN_MS = 60_000;

describe("the log on a real disk", () => {
  let disk: FaultyDisk;
  let folder: string;
  let flusher: Flusher;
  let log: Log;
  let flushed: Flushed;
  let appended = 0;
  /** Of the last round, and of any round. */
  let trouble: Error | undefined;
  const troubles = new Set<string>();

  before(function () {
    const why = whyNoFaultyDisk();
    if (why !== undefined) skipBecause(this, why);
  });
  afterEach(async () => disk?.remove());

  async function start(on: FaultyDisk): Promise<void> {
    disk = on;
    folder = join(disk.folder, "queue", "log");
    appended = 0;
    trouble = undefined;
    troubles.clear();
    flusher = new Flusher(systemClock);
    log = await openLog(folder);
    flushed = flusher.add(log, POLICY, (heard) => {
      trouble = heard;
      if (heard !== undefined) troubles.add((heard as NodeJS.ErrnoException).code ?? heard.message);
    });
  }

  /** Payloads that do not compress, so that a disk is full when it should be. */
  function append(count: number): void {
    for (let i = 0; i < count; i++) {
      log.append(JSON.stringify({ n: appended++, noise: randomBytes(600).toString("base64") }), {});
      flusher.poke(flushed);
    }
  }

  const isSynced = (): boolean => trouble === undefined && log.unwrittenBytes === 0 && log.unsyncedBytes === 0;

  /** Closes, opens again as the next life does, and expects every record once and in order. */
  async function expectAll(): Promise<void> {
    await until("everything to be synced", isSynced);
    await flusher.close();
    await log.close();
    const next = await openLog(folder);
    const found: number[] = [];
    for await (const { bytes } of next.consumer("exporter").unconfirmed()) {
      found.push((JSON.parse(Buffer.from(bytes).toString()) as { n: number }).n);
    }
    await next.close();
    assert.deepEqual(
      found,
      Array.from({ length: appended }, (_, n) => n),
    );
    assert.deepEqual(next.found.losses, []);
  }

  it("goes on in memory while the disk is full, says so, and writes when there is room", async () => {
    await start(await FaultyDisk.small("1m"));
    const filler = join(disk.folder, "filler");
    writeFileSync(filler, Buffer.alloc(700 * 1024));

    append(1_000);
    await until("trouble", () => troubles.has("ENOSPC"));
    append(100);
    rmSync(filler);
    await disk.grow("8m");

    await expectAll();
  });

  it("goes on in memory while the disk is read-only, says so, and writes when it is not any more", async () => {
    await start(await FaultyDisk.small("8m"));
    append(50);
    await until("the first to be synced", isSynced);
    await flusher.close(); // a remount is refused while a file is open for writing
    await log.close();
    flusher = new Flusher(systemClock);
    log = await openLog(folder);
    flushed = flusher.add(log, POLICY, (heard) => {
      trouble = heard;
      if (heard !== undefined) troubles.add((heard as NodeJS.ErrnoException).code ?? heard.message);
    });
    await disk.makeReadOnly();

    append(50);
    await until("trouble", () => troubles.has("EROFS"));
    await disk.makeWritable();

    await expectAll();
  });

  it("frees no memory for a sync that failed, whatever the next one says", async () => {
    await start(await FaultyDisk.thin("6m"));
    append(2_000);
    await until("the first to be synced", isSynced);

    append(14_000); // more than the disk has, though it says that it has room
    await until("trouble", () => troubles.size > 0);
    await until("another round", () => trouble !== undefined || isSynced());

    assert.ok(!isSynced() && log.memoryBytes > 1_000_000, `${log.memoryBytes} bytes are in memory`);
    await flusher.close();
    await disk.cutPower();
    await log.close().catch(() => undefined); // the process would die with the machine
    await disk.restorePower();
    const found = new Set<number>();
    const next = await openLog(folder);
    for await (const { bytes } of next.consumer("exporter").unconfirmed()) {
      found.add((JSON.parse(Buffer.from(bytes).toString()) as { n: number }).n);
    }
    await next.close().catch(() => undefined); // it writes again what it cannot prove, and there is still no room
    for (let n = 0; n < 2_000; n++) assert.ok(found.has(n), `${n} had been synced`);
  });

  it("keeps in memory what a disk without power does not take, and loses nothing that was synced before", async () => {
    await start(await FaultyDisk.ext4("32m"));
    append(50);
    await until("the first to be synced", isSynced);

    await disk.cutPower();
    append(50);
    await until("trouble", () => troubles.has("EIO"));
    const inMemory = log.unwrittenBytes;
    await flusher.close();
    await log.close().catch(() => undefined); // the process would die with the machine
    await disk.restorePower();
    appended = 50;
    const next = await openLog(folder);
    let found = 0;
    for await (const record of next.consumer("exporter").unconfirmed()) found += record.bytes.length > 0 ? 1 : 0;
    await next.close();

    assert.ok(inMemory > 50 * 600, `${inMemory} bytes were kept`);
    assert.equal(found, 50);
    assert.deepEqual(next.found.losses, []);
  });
});

async function until(what: string, holds: () => boolean): Promise<void> {
  const giveUpAt = performance.now() + MENDED_WITHIN_MS;
  while (!holds()) {
    if (performance.now() > giveUpAt) throw new Error(`not within ${MENDED_WITHIN_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function openLog(folder: string): Promise<Log> {
  return Log.open({
    folder,
    logId: Buffer.alloc(16, 7),
    files: systemFiles,
    clock: systemClock,
    random: randomBytes,
    compression: deflateCompression,
    consumers: ["exporter"],
    segmentBytes: 1_000_000,
    persistent: true,
    onLoss: async () => undefined,
  });
}
