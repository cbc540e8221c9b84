/** A target that never ends to make durable what it has, as a network disk does whose server is gone. */
import assert from "node:assert/strict";
import { type Flushed, Flusher } from "../../src/log/flush.js";
import { SettleError } from "../../src/log/errors.js";
import type { Log } from "../../src/log/log.js";
import { oneSyncAtATime } from "../../src/log/segments/one-sync.js";
import { patiently } from "../../src/log/consumer/settling.js";
import { FakeClock } from "../support/fake-clock.js";
import { SlowDisk } from "../support/store-rig.js";
import { openLog } from "./open-log.js";

const POLICY = { writeIntervalMs: 1_000, syncIntervalMs: 5_000, memoryShareBytes: 1_000_000 };

interface Entry {
  readonly log: Log;
  readonly flushed: Flushed;
  trouble: Error | undefined;
}

describe("a target that hangs while it makes durable what it has", () => {
  let clock: FakeClock;
  let disk: SlowDisk;
  let flusher: Flusher;
  let hung: Entry;
  let others: Entry[];
  let release: () => void;
  let isHanging: boolean;
  let settles: number;

  beforeEach(async () => {
    clock = new FakeClock();
    disk = new SlowDisk(clock);
    flusher = new Flusher(clock);
    hung = await entry(0);
    others = [await entry(1), await entry(2), await entry(3)];
    isHanging = true;
    settles = 0;
    const released = new Promise<void>((resolve) => (release = resolve));
    hung.log.consumer("a").settle = patiently(() => {
      settles++;
      return isHanging ? released : Promise.resolve();
    }, clock);
  });
  afterEach(async () => {
    isHanging = false;
    release();
    await clock.advance(60_000);
    await flusher.close();
    await Promise.allSettled([hung, ...others].map(({ log }) => log.close()));
    assert.equal(clock.pendingTimers, 0);
  });

  async function entry(i: number): Promise<Entry> {
    const log = await openLog(oneSyncAtATime(disk), { folder: `/q/${i}`, clock, segmentBytes: 1_000_000 });
    const made: Entry = {
      log,
      trouble: undefined,
      flushed: flusher.add(log, POLICY, (found) => (made.trouble = found)),
    };
    return made;
  }

  async function feed(ms: number): Promise<void> {
    for (let at = 0; at < ms; at += 100) {
      for (const { log, flushed } of [hung, ...others]) {
        log.append(`"0123456789"`, {});
        flusher.poke(flushed);
      }
      await clock.advance(100);
    }
  }

  async function confirm(count: number): Promise<void> {
    const consumer = hung.log.consumer("a");
    consumer.confirm(await consumer.take({ records: count, bytes: 10_000 }, new AbortController().signal));
  }

  it("holds up the syncs of other queues once for a few seconds, and then no more", async () => {
    await feed(2_000);
    await confirm(5);
    await feed(12_000);
    const before = others.map(({ log }) => log.unsyncedBytes);

    let worst = 0;
    for (let second = 0; second < 30; second++) {
      await feed(1_000);
      worst = Math.max(worst, ...others.map(({ log }) => log.unsyncedBytes));
    }

    const aSecond = 10 * ("0123456789".length + 20);
    assert.ok(Math.max(...before) < 14 * aSecond, `${before.join()} bytes were unsynced`);
    assert.ok(worst < 7 * aSecond, `${worst} bytes were unsynced while one target hangs`);
  });

  it("does not keep its own queue from the disk, and says what is the matter until it is over", async () => {
    await feed(2_000);
    await confirm(5);

    await feed(20_000);

    assert.ok(hung.trouble instanceof SettleError);
    assert.match(hung.trouble.message, /has not answered for 5 s/);
    assert.equal(hung.trouble.code, "settle-late");
    assert.ok(hung.log.unsyncedBytes < 7 * 300, `${hung.log.unsyncedBytes} bytes are unsynced`);
    assert.equal(settles, 1, "no second call is begun beside the one that hangs");
    assert.deepEqual(hung.log.consumer("a").settled.offset, 0, "nothing counts as durable meanwhile");
    isHanging = false;
    release();
    await clock.advance(6_000);

    assert.equal(hung.trouble, undefined);
    assert.equal(hung.log.consumer("a").settled.offset, 5);
  });

  it("counts what it has made durable though it was late with it", async () => {
    await feed(2_000);
    await confirm(5);
    await feed(11_000);
    await confirm(5);
    release();
    await clock.advance(1);

    assert.equal(hung.log.consumer("a").settled.offset, 5, "what was confirmed when it was asked, and no more");
  });

  it("lets its queue be closed within the time that a close has", async () => {
    await feed(2_000);
    await confirm(5);

    const startedMs = clock.elapsedMs();
    let endedMs: number | undefined;
    const closing = flusher
      .remove(hung.flushed)
      .then(() => hung.log.close())
      .catch((error: unknown) => assert.ok(error instanceof SettleError))
      .finally(() => (endedMs = clock.elapsedMs()));
    await clock.advance(15_000);
    await closing;

    assert.ok(endedMs! - startedMs <= 6_000, `${endedMs! - startedMs} ms`);
  });
});
