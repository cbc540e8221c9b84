/** What a log writes of records whose target has them, but has not made them durable yet. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import type { Compression } from "../../src/log/format/compression.js";
import { Log } from "../../src/log/log.js";
import { FakeClock } from "../support/fake-clock.js";
import { SimDisk } from "../support/sim-disk.js";

/** Deflating is done by other threads, which no fake clock waits for. */
const stored: Compression = { deflate: async () => undefined, inflate: () => Promise.reject(new Error("not stored")) };

describe("a log whose target compares what it holds with the records behind its cursor", () => {
  let disk: SimDisk;
  let log: Log;
  let settles: number;

  beforeEach(async () => {
    disk = new SimDisk();
    log = await openLog(disk);
    settles = 0;
    log.consumer("exporter").settle = async () => {
      settles++;
    };
  });

  /** Delivers all there is, and returns the numbers. */
  async function deliver(of: Log): Promise<number[]> {
    const consumer = of.consumer("exporter");
    const records = await consumer.take({ records: 1_000, bytes: 1_000_000 }, AbortSignal.timeout(1_000));
    consumer.confirm(records);
    return records.map(({ bytes }) => Number(Buffer.from(bytes).toString()));
  }

  /** Appends until the blocks of what was confirmed have left memory. */
  function appendMany(from: number, count: number): void {
    for (let n = from; n < from + count; n++) log.append(`${n}${" ".repeat(100)}`, {});
  }

  it("leaves no record out between the cursor it writes and the records it writes", async () => {
    appendMany(0, 1_000);
    await deliver(log);
    appendMany(1_000, 10);

    await log.write();
    const next = await openLog(disk.afterKill());

    assert.deepEqual(
      await deliver(next),
      Array.from({ length: 10 }, (_, i) => 1_000 + i),
    );
    assert.equal(next.consumer("exporter").offset, 1_010);
    assert.equal(settles, 1);
    await Promise.all([log.close(), next.close()]);
  });

  it("writes what is confirmed while the target settles, when that has to be told from other people's lines", async () => {
    const consumer = log.consumer("exporter");
    consumer.settle = async () => {
      consumer.settle = () => Promise.resolve();
      appendMany(1_000, 1_000);
      await deliver(log); // later than what is being settled
      appendMany(2_000, 5);
    };
    appendMany(0, 1_000);
    await deliver(log);
    appendMany(1_000_000, 1);

    await log.write();
    const next = await openLog(disk.afterKill());
    next.consumer("exporter").settle = async () => undefined;
    const found: number[] = [];
    for await (const { bytes } of next.consumer("exporter").unconfirmed()) {
      found.push(Number(Buffer.from(bytes).toString()));
    }

    assert.equal(found.length, 1 + 1_000 + 5);
    await Promise.all([log.close(), next.close()]);
  });

  it("writes what the target noted before its first record, though nothing was on disk then", async () => {
    const consumer = log.consumer("exporter");
    appendMany(0, 10);
    await consumer.note(Buffer.from("at 0"));
    const records = await consumer.take({ records: 1_000, bytes: 1_000_000 }, new AbortController().signal);
    consumer.confirm(records, Buffer.from("at 10"));
    appendMany(10, 5);

    await log.write();
    const next = await openLog(disk.afterKill());
    const found = await deliver(next);

    assert.deepEqual([found.length, String(next.consumer("exporter").state)], [15, "at 0"]);
    await Promise.all([log.close(), next.close()]);
  });

  it("has what was confirmed settled before it is noted where the target goes on", async () => {
    const consumer = log.consumer("exporter");
    appendMany(0, 10);
    const records = await consumer.take({ records: 1_000, bytes: 1_000_000 }, new AbortController().signal);
    consumer.confirm(records, Buffer.from("at 10"));

    await consumer.note(Buffer.from("elsewhere"));

    assert.equal(settles, 1);
    assert.deepEqual([consumer.settled.offset, String(consumer.settled.state)], [10, "elsewhere"]);
    await log.close();
  });

  it("has nothing settled for a write while no record was left out", async () => {
    appendMany(0, 10);

    await log.write();

    assert.equal(settles, 0);
    await log.close();
  });
});

function openLog(files: SimDisk): Promise<Log> {
  return Log.open({
    folder: "/q/log",
    logId: Buffer.alloc(16, 7),
    files,
    clock: new FakeClock(),
    random: randomBytes,
    compression: stored,
    consumers: ["exporter"],
    segmentBytes: 10_000_000,
    persistent: true,
    onLoss: async () => undefined,
  });
}
