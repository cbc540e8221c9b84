/**
 * What has gone wrong in other store-and-forward queues, each in a test of ours. Stories that are told elsewhere are not
 * repeated here: power cuts in `test/crash`, full queues in `test/runtime/limits.test.ts`, and so on.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { DELIVERED } from "../../src/targets/target.js";
import { systemFiles, type Files, type OpenFile } from "../../src/files.js";
import type { Log, LogOptions } from "../../src/log/log.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { errno, Killed, SimDisk } from "../support/sim-disk.js";
import { awayTarget, send, StoreRig } from "../support/store-rig.js";
import { openLog } from "./open-log.js";

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

function fill(log: Log, from: number, to: number): void {
  for (let n = from; n < to; n++) log.append(JSON.stringify({ n, text: "x".repeat(60) }), {});
}

async function numbersIn(log: Log, id = "a"): Promise<number[]> {
  const found: number[] = [];
  for await (const { bytes } of log.consumer(id).unconfirmed()) {
    found.push((JSON.parse(bytes.toString()) as { n: number }).n);
  }
  return found;
}

async function confirm(log: Log, count: number): Promise<void> {
  const consumer = log.consumer("a");
  consumer.confirm(await consumer.take({ records: count, bytes: 1e9 }, new AbortController().signal));
}

describe("a queue on which others have failed", () => {
  let disk: SimDisk;

  beforeEach(() => {
    disk = new SimDisk();
  });

  function open(options: Partial<LogOptions> = {}): Promise<Log> {
    return openLog(disk, options);
  }

  /** What a killed process leaves. */
  function kill(): void {
    disk = disk.afterKill();
  }

  it("opens and delivers the rest when its first file is gone (Vector's crash loop, unlinked before the ledger was synced)", async () => {
    const log = await open();
    for (let n = 0; n < 60; n += 10) {
      fill(log, n, n + 10);
      await log.sync();
    }
    await confirm(log, 5);
    await log.close();
    kill();
    const first = [...disk.names.keys()].sort()[0]!;
    disk.names.delete(first);

    const next = await open();

    const found = await numbersIn(next);
    assert.equal(found.at(-1), 59);
    assert.deepEqual(found, range(found[0]!, 60));
    assert.equal(next.found.losses.length, 1, "records that were not confirmed are gone");
    await next.close();
  });

  it("goes on after a kill between the making of a file and its first byte (Vector's deadlock at a roll)", async () => {
    const log = await open();
    fill(log, 0, 10);
    await log.sync();
    let isMade = false;
    disk.before = (call) => {
      if (isMade && call === "write") throw new Killed();
      if (call === "create") isMade = true;
    };
    fill(log, 10, 60);
    await log.sync().catch(() => undefined);
    kill();

    const next = await open();
    fill(next, 100, 110);
    await next.sync();

    const found = await numbersIn(next);
    assert.deepEqual(found.slice(0, 10), range(0, 10));
    assert.deepEqual(found.slice(-10), range(100, 110));
    await next.close();
  });

  it("gives new records to everyone when a cursor is ahead of the disk (Vector's endless loop over what never reached the disk)", async () => {
    const log = await open();
    fill(log, 0, 5);
    await log.sync();
    fill(log, 5, 50); // never written, since they are confirmed first
    await confirm(log, 50);
    fill(log, 50, 51);
    await log.write();
    kill();

    const next = await open();
    fill(next, 51, 61);

    assert.deepEqual(await numbersIn(next), range(50, 61));
    await next.close();
  });

  it("stores and reads back a record larger than a block, a file and its share of memory (Vector's and NATS' oversized record)", async () => {
    const clock = new FakeClock();
    const rig = new StoreRig({ clock, files: disk, memoryBytes: 8 * 2 ** 20, diskBytes: 16 * 2 ** 20 });
    const large = "x".repeat(5 * 2 ** 20);
    const { exporter } = await rig.exporter("a");
    const sent = [send(exporter, "before"), send(exporter, large), send(exporter, "after")];
    assert.ok(sent.every(({ error }) => error === undefined));
    await rig.close();
    const next = new StoreRig({ clock, files: disk.afterKill(), memoryBytes: 8 * 2 ** 20 });

    const { exporter: again } = await next.exporter("a");

    const found: string[] = [];
    for await (const { bytes } of again.queue.consumer("a").unconfirmed()) found.push(bytes.toString());
    assert.deepEqual(
      found.map((text) => (JSON.parse(text) as string).length),
      [6, large.length, 5],
    );
    await next.close();
  });

  it("loses and repeats nothing in whatever order reads, rounds and confirmations run (Vector's stall, woken too early)", async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.integer({ min: 1, max: 4 }), async (scheduler, batch) => {
        const log = await openLog(scheduledFiles(new SimDisk(), scheduler), { segmentBytes: 400 });
        const consumer = log.consumer("a");
        const seen: number[] = [];
        const deliver = async (): Promise<void> => {
          while (seen.length < 20) {
            const records = await consumer.take({ records: batch, bytes: 1e6 }, new AbortController().signal);
            for (const { bytes } of records) seen.push((JSON.parse(bytes.toString()) as { n: number }).n);
            await scheduler.schedule(Promise.resolve(), "confirm");
            consumer.confirm(records);
          }
        };
        const produce = async (): Promise<void> => {
          for (let n = 0; n < 20; n++) {
            await scheduler.schedule(Promise.resolve(), "append");
            fill(log, n, n + 1);
          }
        };
        const rounds = async (): Promise<void> => {
          for (let i = 0; i < 12; i++) {
            await scheduler.schedule(Promise.resolve(), "round");
            await (i % 3 === 2 ? log.sync() : log.write());
          }
        };
        const all = Promise.all([deliver(), produce(), rounds()]);
        await scheduler.waitFor(all);

        assert.deepEqual(seen, range(0, 20));
        await scheduler.waitFor(log.close());
      }),
      { numRuns: 60 },
    );
  });

  it("is closed and opened a hundred times with a batch in flight, each in well under 15 s (Vector's reload that stalls on its lock)", async () => {
    const clock = new FakeClock();
    const rig = new StoreRig({ clock, files: disk });
    for (let life = 0; life < 100; life++) {
      const target = new ScriptedTarget();
      target.mute();
      const { exporter } = await rig.exporter("a", {}, { target });
      send(exporter, { n: life });
      await clock.advance(500);
      assert.equal(target.inFlight, 1);
      const startedMs = clock.elapsedMs();

      let isClosed = false;
      void exporter.close().then(() => (isClosed = true));
      await clock.advanceUntil(() => isClosed);

      assert.ok(clock.elapsedMs() - startedMs <= 4_000, `${clock.elapsedMs() - startedMs} ms`);
    }
    const { exporter } = await rig.exporter("a");
    assert.equal(exporter.status().waiting, 100);
    await rig.close();
  });

  it("has a rejected record in one place at least, at whatever step of a requeue it is killed (OpenTelemetry's lost in-flight items)", async () => {
    const seedDisk = new SimDisk();
    const clock = new FakeClock();
    const seed = new StoreRig({ clock, files: seedDisk });
    const { exporter } = await seed.exporter("a");
    const setAside = exporter.member.deadLetters.setAsidePayload({ n: 1 }, {}, { code: "no", message: "never" });
    await clock.advance(100);
    await setAside;
    await seed.close();
    for (let step = 1; ; step++) {
      disk = seedDisk.afterKill();
      const rig = new StoreRig({ clock, files: disk });
      const { exporter: one } = await rig.exporter("a");
      let calls = 0;
      let isKilled = false;
      disk.before = (call) => {
        if (call === "read") return;
        if (++calls >= step) isKilled = true;
        if (isKilled) throw new Killed();
      };
      void one.member.requeue({}).catch(() => undefined);
      await clock.advance(10_000);
      const found = new StoreRig({ clock, files: disk.afterKill() });
      const { exporter: next } = await found.exporter("a");

      assert.ok(next.status().waiting + next.status().deadLetters >= 1, `gone at step ${step}`);

      await found.close();
      disk.before = () => undefined;
      await rig.close();
      if (!isKilled) break;
      assert.ok(step < 100);
    }
  });

  it("sends after a restart only what was not confirmed of a batch (OpenTelemetry's duplicates, index and data out of step)", async () => {
    const clock = new FakeClock();
    const rig = new StoreRig({ clock, files: disk });
    const target = awayTarget();
    const { exporter } = await rig.exporter("a", {}, { target });
    for (let n = 0; n < 10; n++) send(exporter, n);
    await clock.advance(2_000);
    target.script = (batch) => ({
      outcomes: batch.map((record) =>
        record.offset % 2 === 0 ? DELIVERED : { kind: "retry", cause: new Error("busy") },
      ),
    });
    target.isUp = true;
    await clock.advanceUntil(() => exporter.status().delivered === 5);
    await rig.close();
    const next = new StoreRig({ clock, files: disk.afterKill() });
    const { exporter: again } = await next.exporter("a");

    const offsets: number[] = [];
    for await (const { offset } of again.queue.consumer("a").unconfirmed()) offsets.push(offset);
    assert.deepEqual(offsets, [1, 3, 5, 7, 9]);
    await next.close();
  });

  it("never writes a byte twice, so no checksum covers bytes that change (Fluent Bit's intact data that was discarded)", async () => {
    const written = new Map<object, number>();
    disk.before = (call, _, writing) => {
      if (call !== "write" || writing === undefined) return;
      assert.equal(writing.at, written.get(writing.inode) ?? 0, "it goes on where it ended");
      written.set(writing.inode, writing.at + writing.bytes.length);
    };
    const log = await open();

    for (let n = 0; n < 200; n += 10) {
      fill(log, n, n + 10);
      await (n % 30 === 0 ? log.sync() : log.write());
      await confirm(log, 7);
    }
    await log.close();

    assert.ok(written.size > 3);
  });

  it("still has its dead letters after restarts, and they leave when they are requeued (Fluent Bit deleted them at a restart)", async () => {
    const clock = new FakeClock();
    let rig = new StoreRig({ clock, files: disk });
    const { exporter } = await rig.exporter("a");
    const setAside = exporter.member.deadLetters.setAsidePayload({ n: 1 }, {}, { code: "no", message: "never" });
    await clock.advance(100);
    await setAside;
    for (let life = 0; life < 3; life++) {
      await rig.close();
      rig = new StoreRig({ clock, files: disk });
      assert.equal((await rig.exporter("a")).exporter.status().deadLetters, 1);
    }
    await rig.close();
    rig = new StoreRig({ clock, files: disk });
    const { exporter: last } = await rig.exporter("a");
    const requeued = last.member.requeue({});
    await clock.advance(1_000);
    assert.equal(await requeued, 1);
    await rig.close();
    rig = new StoreRig({ clock, files: disk });

    const { waiting, deadLetters } = (await rig.exporter("a")).exporter.status();
    assert.deepEqual([waiting, deadLetters], [1, 0]);
    await rig.close();
  });

  it("loses nothing when the disk is full at any byte and has room again (Fluentd forwards garbage from a full disk)", async () => {
    for (let room = 0; room < 1_500; room += 7) {
      disk = new SimDisk();
      disk.capacity = room;
      const log = await open();
      fill(log, 0, 12);
      await log.sync().catch(() => undefined);
      disk.capacity = Infinity;
      fill(log, 12, 15);
      await log.sync();
      kill();

      const next = await open();

      assert.deepEqual(await numbersIn(next), range(0, 15), `with room for ${room} bytes`);
      assert.deepEqual(next.found.losses, []);
      await next.close();
      await log.close();
    }
  });

  it("keeps its records when its settings change, and shares them with no other queue (Telegraf re-sent everything, and two outputs shared a log)", async () => {
    const clock = new FakeClock();
    let rig = new StoreRig({ clock, files: disk });
    const { exporter } = await rig.exporter("a");
    send(exporter, [1, 2, 3]);
    const { exporter: copy } = await rig.exporter("copy-of-a");
    assert.equal(copy.status().waiting, 0);
    await rig.close();
    rig = new StoreRig({ clock, files: disk, diskBytes: 16 * 2 ** 20 });

    const changed = await rig.exporter("a", {
      overflow: "refuse",
      backlogBytes: 2 ** 20,
      batchRecords: 7,
      durability: "everyMessage",
    });

    assert.equal(changed.exporter.status().waiting, 3);
    await rig.close();
  });

  it("never appends to a file of an earlier life (NSQ overwrote what was not read)", async () => {
    const log = await open();
    fill(log, 0, 5);
    await log.write();
    kill();
    const before = new Map([...disk.names].map(([path, { cache }]) => [path, Buffer.from(cache)]));

    const next = await open();
    fill(next, 5, 10);
    await next.sync();

    for (const [path, bytes] of before) assert.deepEqual(disk.names.get(path)?.cache, bytes);
    assert.equal(disk.names.size, before.size + 1);
    assert.deepEqual(await numbersIn(next), range(0, 10));
    await next.close();
  });

  it("does not start again at zero when the newest file is empty: its name tells (NATS' sequence fell back to 0)", async () => {
    const log = await open();
    fill(log, 0, 10);
    await log.close();
    kill();
    const empty = disk.afterKill();
    for (const inode of empty.names.values()) inode.cache = Buffer.alloc(0);
    await empty.create("/q/log/0000000007-000000000064-0000abcd.seg");
    disk = empty;

    const next = await open();

    assert.ok(next.nextOffset >= 100, `${next.nextOffset}`);
    fill(next, 10, 12);
    assert.deepEqual(await numbersIn(next), [10, 11]);
    await next.close();
  });

  it("syncs a folder where that is impossible, without a word (NATS panicked on Windows)", async () => {
    await systemFiles.syncFolder(process.platform === "linux" ? "/proc" : ".");
  });

  it("gives all that is intact again when every cursor is destroyed (vmagent wiped the queue, rsyslog overwrote it)", async () => {
    const log = await open({ segmentBytes: 100_000 });
    fill(log, 0, 30);
    await confirm(log, 10);
    await log.sync();
    fill(log, 30, 40);
    await log.close();
    kill();
    for (const { cache } of disk.names.values()) {
      for (let at = cache.indexOf("RXBK"); at >= 0; at = cache.indexOf("RXBK", at + 1)) {
        if (cache.readUInt8(at + 20) !== 3) cache.fill(0, at, at + 48);
      }
    }

    const next = await open();

    assert.deepEqual(await numbersIn(next), range(10, 40), "all that had been written");
    await next.close();
  });

  for (const [what, harm] of [
    ["zeroed", (cache: Buffer) => Buffer.alloc(cache.length)],
    ["emptied", () => Buffer.alloc(0)],
    ["cut in the middle", (cache: Buffer) => cache.subarray(0, cache.length >>> 1)],
  ] as const) {
    it(`opens, takes and keeps records with any of its files ${what} (Mosquitto refused to start on such files)`, async () => {
      const log = await open();
      for (let n = 0; n < 60; n += 10) {
        fill(log, n, n + 10);
        await log.sync();
      }
      await log.close();
      const intact = disk;
      for (const path of intact.names.keys()) {
        disk = intact.afterKill();
        disk.names.get(path)!.cache = harm(disk.names.get(path)!.cache);

        const next = await open();
        fill(next, 100, 103);
        await next.sync();
        const found = await numbersIn(next);
        await next.close();

        assert.deepEqual(found.slice(-3), range(100, 103));
        assert.ok(found.length >= 40, `only ${found.length} are left, though one file is harmed`);
      }
    });
  }

  it("takes no space when everything was delivered (IoT Edge's store grew for ever)", async () => {
    const log = await open();
    for (let n = 0; n < 600; n += 20) {
      fill(log, n, n + 20);
      await log.sync();
      if (n >= 100) await confirm(log, 20);
    }
    assert.ok(disk.names.size < 20, `${disk.names.size} files`);

    await confirm(log, 100);
    await log.sync();
    await log.sync();

    assert.equal(disk.usedBytes, 0);
    await log.close();
  });

  it("delivers nothing twice and nothing out of order when a disk refuses a handle now and then (Fluentd's file for each chunk)", async () => {
    const log = await open();
    let calls = 0;
    disk.before = (call) => {
      if (call === "create" && ++calls % 2 === 1) throw errno("EMFILE");
    };
    for (let n = 0; n < 100; n += 10) {
      fill(log, n, n + 10);
      await log.sync().catch(() => undefined);
    }
    await log.sync();
    kill();

    const next = await open();

    assert.deepEqual(await numbersIn(next), range(0, 100));
    assert.equal(disk.openFiles <= 2, true);
    await Promise.all([next.close(), log.close()]);
  });
});

/** Files whose calls complete in the order that a scheduler chooses. */
function scheduledFiles(files: SimDisk, scheduler: fc.Scheduler): Files {
  const later = <T>(call: () => Promise<T>): Promise<T> => scheduler.schedule(Promise.resolve()).then(call);
  const wrap = (file: OpenFile): OpenFile => ({
    write: (bytes, position) => later(() => file.write(bytes, position)),
    writeNow: (bytes, position) => file.writeNow(bytes, position),
    read: (into, position) => later(() => file.read(into, position)),
    sync: () => later(() => file.sync()),
    close: () => later(() => file.close()),
  });
  return {
    makeFolder: () => files.makeFolder(),
    list: (folder) => files.list(folder),
    size: (path) => files.size(path),
    create: (path) => later(async () => wrap(await files.create(path))),
    createNow: (path) => files.createNow(path),
    makeFolderNow: () => files.makeFolderNow(),
    open: (path) => later(async () => wrap(await files.open(path))),
    remove: (path) => later(() => files.remove(path)),
    removeFolder: () => files.removeFolder(),
    syncFolder: () => later(() => files.syncFolder()),
  };
}
