/** How late a record may be written, whatever else the flusher waits for. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { Compression } from "../../src/log/format/compression.js";
import { type FlushPolicy, type Flushed, Flusher } from "../../src/log/flush.js";
import { Log } from "../../src/log/log.js";
import { FakeClock } from "../support/fake-clock.js";
import { SimDisk } from "../support/sim-disk.js";

const POLICY: FlushPolicy = { writeIntervalMs: 1_000, syncIntervalMs: 5_000, memoryShareBytes: 1_000_000 };
/** Inflating is done by other threads, which no fake clock waits for. */
const stored: Compression = { deflate: async () => undefined, inflate: () => Promise.reject(new Error("not stored")) };

describe("the write interval", () => {
  let clock: FakeClock;
  let flusher: Flusher;

  beforeEach(() => {
    clock = new FakeClock();
    flusher = new Flusher(clock);
  });

  /** Appends every 10 ms for `ms`, and returns the most bytes that were ever unwritten. */
  async function feed(log: Log, flushed: Flushed, ms: number): Promise<number> {
    let worst = 0;
    for (let at = 0; at < ms; at += 10) {
      log.append(`"0123456789"`, {});
      flusher.poke(flushed);
      worst = Math.max(worst, log.unwrittenBytes);
      await clock.advance(10);
    }
    return worst;
  }

  it("is kept while the log waits for its next sync", async () => {
    const log = await openLog(clock);
    const flushed = flusher.add(log, POLICY, assert.ifError);
    const inFirstSecond = await feed(log, flushed, 1_000);

    const afterwards = await feed(log, flushed, 9_000);

    assert.ok(afterwards < inFirstSecond * 1.2, `${afterwards} bytes waited, ${inFirstSecond} come in an interval`);
    await flusher.close();
    await log.close();
  });

  it("is waited for by young records when a target has to settle", async () => {
    const disk = new SimDisk();
    const log = await openLog(clock, disk);
    const consumer = log.consumer("exporter");
    let settled = 0;
    consumer.settle = async () => void settled++;
    const flushed = flusher.add(log, POLICY, assert.ifError);

    for (let at = 0; at < 12_000; at += 100) {
      log.append("1", {});
      flusher.poke(flushed);
      const taken = await consumer.take({ records: 1, bytes: 1_000 }, new AbortController().signal);
      await clock.advance(100); // so there is always one that is not confirmed yet
      consumer.confirm(taken);
      flusher.poke(flushed);
    }

    assert.ok(settled >= 2, `settled ${settled} times`);
    assert.equal(disk.usedBytes, 0);
    await flusher.close();
    await log.close();
  });

  it("is part of the time in which a record is synced", async () => {
    const disk = new SimDisk();
    const log = await openLog(clock, disk);
    const flushed = flusher.add(log, POLICY, assert.ifError);
    log.append("1", {});
    flusher.poke(flushed);

    await clock.advance(POLICY.syncIntervalMs + 10);

    assert.equal(log.unwrittenBytes + log.unsyncedBytes, 0);
    await flusher.close();
    await log.close();
  });

  it("is kept beside a log whose own is far longer", async () => {
    const lazy = await openLog(clock);
    const log = await openLog(clock);
    const lazyFlushed = flusher.add(
      lazy,
      { ...POLICY, writeIntervalMs: 600_000, syncIntervalMs: 600_000 },
      assert.ifError,
    );
    const flushed = flusher.add(log, POLICY, assert.ifError);
    lazy.append("1", {});
    flusher.poke(lazyFlushed);

    log.append("1", {});
    flusher.poke(flushed);
    await clock.advance(1_100);

    assert.equal(log.unwrittenBytes, 0);
    await flusher.close();
    await Promise.all([lazy.close(), log.close()]);
  });
});

function openLog(clock: FakeClock, files = new SimDisk()): Promise<Log> {
  return Log.open({
    folder: "/q/log",
    logId: Buffer.alloc(16, 7),
    files,
    clock,
    random: randomBytes,
    compression: stored,
    consumers: ["exporter"],
    segmentBytes: 1_000_000,
    persistent: true,
    onLoss: async () => undefined,
  });
}
