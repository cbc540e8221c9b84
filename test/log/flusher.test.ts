/** One flusher for all logs: who is written and synced when, on disks that are fast, slow, or failing. */
import assert from "node:assert/strict";
import { type FlushPolicy, type Flushed, Flusher } from "../../src/log/flush.js";
import { SettleError } from "../../src/log/errors.js";
import type { Log } from "../../src/log/log.js";
import { oneSyncAtATime } from "../../src/log/segments/one-sync.js";
import { FakeClock } from "../support/fake-clock.js";
import { SlowDisk } from "../support/store-rig.js";
import { errno } from "../support/sim-disk.js";
import { openLog } from "./open-log.js";

const POLICY: FlushPolicy = { writeIntervalMs: 1_000, syncIntervalMs: 5_000, memoryShareBytes: 1_000_000 };

describe("the flusher", () => {
  let clock: FakeClock;
  let disk: SlowDisk;
  let flusher: Flusher;
  let entries: { readonly log: Log; readonly flushed: Flushed; readonly troubles: (Error | undefined)[] }[];

  beforeEach(() => {
    clock = new FakeClock();
    disk = new SlowDisk(clock);
    flusher = new Flusher(clock);
    entries = [];
  });
  afterEach(async () => {
    disk.syncMs = 0;
    disk.before = () => undefined;
    await clock.advance(60_000);
    await flusher.close();
    await Promise.all(entries.map(({ log }) => log.close()));
    assert.equal(clock.pendingTimers, 0);
  });

  async function add(count: number, policy: FlushPolicy = POLICY): Promise<void> {
    const files = oneSyncAtATime(disk);
    for (let i = 0; i < count; i++) {
      const log = await openLog(files, { folder: `/q/${entries.length}`, clock, segmentBytes: 1_000_000 });
      const troubles: (Error | undefined)[] = [];
      const flushed = flusher.add(log, policy, (trouble) => troubles.push(trouble));
      entries.push({ log, flushed, troubles });
    }
  }

  function append(i: number, text = `"0123456789"`): number {
    const { log, flushed } = entries[i]!;
    const offset = log.append(text, {});
    flusher.poke(flushed);
    return offset;
  }

  /** Every log gets a record each 100 ms. Returns the longest that anything was unwritten, per log in bytes. */
  async function feedAll(ms: number): Promise<number> {
    let worst = 0;
    for (let at = 0; at < ms; at += 100) {
      for (let i = 0; i < entries.length; i++) append(i);
      await clock.advance(100);
      for (const { log } of entries) worst = Math.max(worst, log.unwrittenBytes);
    }
    return worst;
  }

  it("syncs one of fifty logs at a time", async () => {
    await add(50);
    disk.syncMs = 20;

    await feedAll(20_000);

    assert.equal(disk.mostSyncsAtOnce, 1);
    assert.ok(entries.every(({ log }) => log.durableCursors !== undefined));
  });

  it("spends at most a tenth of the time in syncs on a slow card", async () => {
    await add(10);
    disk.syncMs = 2_000;

    await feedAll(120_000);

    assert.ok(disk.busyMs <= 0.1 * 120_000 + disk.syncMs, `${disk.busyMs} of 120000 ms`);
    assert.ok(disk.syncs >= 5, `${disk.syncs} syncs`);
  });

  it("leaves no log out for ever when there is not time to sync each", async () => {
    await add(5);
    disk.syncMs = 1_000;

    await feedAll(5 * 10_000 + 5_000);

    for (const [i, { log }] of entries.entries())
      assert.ok(log.durableCursors !== undefined, `log ${i} was never synced`);
  });

  it("does not hold back the writes of other logs while a sync takes ten seconds", async () => {
    await add(5);
    await feedAll(4_900);
    disk.syncMs = 10_000;

    const worst = await feedAll(9_000);

    assert.equal(disk.syncs, 1);
    const perSecond = 10 * (`"0123456789"`.length + 10);
    // The log that is being synced waits for its own disk; the four others do not.
    const late = entries.filter(({ log }) => log.unwrittenBytes > 1.5 * perSecond);
    assert.ok(late.length <= 1, `${late.length} logs are behind, ${worst} bytes at most`);
  });

  it("has those who wait share one sync, and tells nobody before it has returned", async () => {
    await add(1);
    disk.syncMs = 50;
    const told: number[] = [];
    const promise = (n: number): void =>
      flusher.whenSynced(entries[0]!.flushed, append(0), (error) => {
        assert.ifError(error);
        told.push(n);
      });
    for (let n = 0; n < 100; n++) promise(n);

    await clock.advance(49);
    assert.deepEqual(told, []);
    for (let n = 100; n < 200; n++) promise(n); // too late for the first
    await clock.advance(2);
    assert.equal(told.length, 100);
    await clock.advance(60);

    assert.deepEqual(
      told,
      Array.from({ length: 200 }, (_, n) => n),
    );
    assert.equal(disk.syncs, 2);
  });

  it("syncs the others in their intervals though one log has every message synced", async () => {
    await add(2);
    disk.syncMs = 500;
    const [busy, quiet] = [entries[0]!, entries[1]!];
    append(1);
    let isClosing = false;
    const again = (): void => {
      if (!isClosing) flusher.whenSynced(busy.flushed, append(0), again);
    };
    again();

    await clock.advance(20_000);
    isClosing = true;

    assert.ok(quiet.log.durableCursors !== undefined, "it was never synced");
  });

  it("goes on writing in its interval while a target cannot settle, and says what is the matter", async () => {
    await add(1);
    const { log, troubles } = entries[0]!;
    append(0);
    await clock.advance(1_100); // a segment is there
    const consumer = log.consumer("a");
    consumer.settle = () => Promise.reject(errno("EIO"));
    consumer.confirm(await consumer.take({ records: 1, bytes: 1_000 }, new AbortController().signal));
    let worst = 0;
    for (let at = 0; at < 30_000; at += 100) {
      append(0);
      await clock.advance(100);
      worst = Math.max(worst, log.unwrittenBytes);
    }
    consumer.settle = undefined;

    assert.ok(worst < 12 * 30, `${worst} bytes were unwritten`);
    assert.ok(troubles.some((trouble) => trouble instanceof SettleError));
  });

  it("tells who waits for a sync although a target cannot settle", async () => {
    await add(1);
    const { log, flushed } = entries[0]!;
    const consumer = log.consumer("a");
    consumer.settle = () => Promise.reject(errno("EIO"));
    append(0);
    consumer.confirm(await consumer.take({ records: 1, bytes: 1_000 }, new AbortController().signal));
    let isTold = false;
    flusher.whenSynced(flushed, append(0), (error) => {
      assert.ifError(error);
      isTold = true;
    });

    await clock.advance(100);
    consumer.settle = undefined;

    assert.ok(isTold);
  });

  it("leaves a failing disk alone for longer and longer, and is back within half a minute when that is mended", async () => {
    await add(1);
    let attempts = 0;
    disk.before = (call) => {
      if (call !== "create") return;
      attempts++;
      throw errno("EROFS");
    };
    await feedAll(300_000);
    const whileFailing = attempts;
    disk.before = () => undefined;
    await clock.advance(30_000);

    assert.ok(whileFailing >= 5 && whileFailing <= 16, `${whileFailing} attempts in 5 minutes`);
    assert.equal(entries[0]!.log.unwrittenBytes, 0);
    assert.equal(entries[0]!.troubles.at(-1), undefined);
  });

  it("does not ask a failing disk with every message, however much waits for it", async () => {
    await add(1, { ...POLICY, memoryShareBytes: 1_000 });
    let attempts = 0;
    disk.before = (call) => {
      if (call === "create") attempts++;
      if (call === "create") throw errno("ENOSPC");
    };

    for (let n = 0; n < 1_000; n++) {
      append(0, `"${"x".repeat(500)}"`);
      await clock.advance(1);
    }

    assert.ok(attempts <= 2, `${attempts} attempts in a second`);
  });

  it("sets no timer and writes nothing when there is nothing to do", async () => {
    await add(3);
    append(0);
    const consumer = entries[0]!.log.consumer("a");
    consumer.confirm(await consumer.take({ records: 1, bytes: 1_000 }, new AbortController().signal));
    await clock.advance(10_000);

    await clock.advance(3_600_000);

    assert.equal(clock.pendingTimers, 0);
    assert.equal(disk.changes, 0);
  });

  it("tells everyone who waits though one of them throws", async () => {
    await add(1);
    const thrown: unknown[] = [];
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.once("uncaughtException", (error) => thrown.push(error));
    let told = 0;
    flusher.whenSynced(entries[0]!.flushed, append(0), () => {
      throw new Error("a mistake of the sender's");
    });
    flusher.whenSynced(entries[0]!.flushed, append(0), () => void told++);

    await clock.advance(100);
    for (const listener of listeners) process.on("uncaughtException", listener);

    assert.equal(told, 1);
    assert.equal(thrown.length, 1);
  });
});
