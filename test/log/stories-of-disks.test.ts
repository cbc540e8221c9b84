/** More of what has gone wrong in other queues: bad disks, files and moves from one place to another. See `stories.test.ts`. */
import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import { BLOCK_HEADER_BYTES } from "../../src/log/format/frame.js";
import { type FlushPolicy, Flusher } from "../../src/log/flush.js";
import type { Log, LogOptions } from "../../src/log/log.js";
import { adoptOrphan } from "../../src/runtime/orphans.js";
import { uuidText } from "../../src/record.js";
import { FakeClock } from "../support/fake-clock.js";
import { type Call, errno, Killed, SimDisk } from "../support/sim-disk.js";
import { awayTarget, send, StoreRig } from "../support/store-rig.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { openLog } from "./open-log.js";

const POLICY: FlushPolicy = { writeIntervalMs: 1_000, syncIntervalMs: 5_000, memoryShareBytes: 1_000_000 };

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

function fill(log: Log, from: number, to: number): void {
  for (let n = from; n < to; n++) log.append(JSON.stringify({ n, text: "x".repeat(60) }), {});
}

async function numbersIn(log: Log): Promise<number[]> {
  const found: number[] = [];
  for await (const { bytes } of log.consumer("a").unconfirmed()) {
    found.push((JSON.parse(bytes.toString()) as { n: number }).n);
  }
  return found;
}

async function confirm(log: Log, count: number): Promise<void> {
  const consumer = log.consumer("a");
  consumer.confirm(await consumer.take({ records: count, bytes: 1e9 }, new AbortController().signal));
}

describe("a queue on whose disk others have failed", () => {
  let disk: SimDisk;

  beforeEach(() => {
    disk = new SimDisk();
  });

  function open(options: Partial<LogOptions> = {}): Promise<Log> {
    return openLog(disk, options);
  }

  it("says nothing of a loss when a member came after the ruins of its files had been deleted, and the plug was pulled", async () => {
    const ruins = [
      ["/q/log/0000000001-000000000000-00000001.seg", Buffer.alloc(26, 1)],
      ["/q/log/0000000002-000000000001-00000002.seg", Buffer.alloc(0)],
    ] as const;
    const put = ([path, bytes]: (typeof ruins)[number]): void => disk.put(disk.names.get(path)!, bytes, 0);
    for (const ruin of ruins) {
      await (await disk.create(ruin[0])).close();
      put(ruin);
    }
    const log = await open();
    fill(log, 0, 1);
    await log.sync();
    log.addConsumer("late");
    fill(log, 1, 2);
    await log.sync();
    await log.close();
    assert.equal([...disk.names.keys()].length, 1, "the ruins have gone");
    await (await disk.create(ruins[0][0])).close(); // its removal had not reached the disk
    put(ruins[0]);

    const again = await open({ consumers: ["a", "late"] });

    assert.deepEqual(again.found.losses, []);
    assert.deepEqual(await numbersIn(again), [0, 1]);
    await again.close();
  });

  it("says nothing of a loss when its first file is gone and everything in it had been confirmed (Vector's crash loop)", async () => {
    const log = await open({ segmentBytes: 1_000 });
    for (let n = 0; n < 60; n += 10) {
      fill(log, n, n + 10);
      await log.sync();
    }
    const [first, second] = [...disk.names.keys()].sort();
    const gone = new Map([...disk.names].filter(([path]) => path === first));
    await confirm(log, Number.parseInt(second!.split("-")[1]!, 16));
    await log.sync();
    await log.close();
    disk = disk.afterKill();
    assert.ok(!disk.names.has(first!), "it had gone by itself");
    assert.equal(gone.size, 1);

    const next = await open();

    assert.deepEqual(next.found.losses, []);
    assert.equal((await numbersIn(next)).at(-1), 59);
    await next.close();
  });

  for (const code of ["ENOSPC", "EIO", "EMFILE", "EROFS", "EDQUOT"] as const) {
    it(`loses nothing, and goes on by itself, when any one call fails with ${code} (OpenTelemetry's storage out of step)`, async () => {
      for (let at = 1; ; at++) {
        disk = new SimDisk();
        let calls = 0;
        disk.before = (call: Call) => {
          if (call !== "read" && ++calls === at) throw errno(code);
        };
        const log = await open({ segmentBytes: 800 }).catch(() => open({ segmentBytes: 800 }));
        for (let n = 0; n < 40; n += 8) {
          fill(log, n, n + 8);
          await (n % 16 === 0 ? log.sync() : log.write()).catch(() => undefined);
          if (n === 16) await confirm(log, 8);
        }
        await log.sync().catch(() => log.sync());
        const wasReached = calls >= at;
        disk.before = () => undefined;
        disk = disk.afterPowerCut(() => 0, "ext4");

        const next = await open();
        const found = await numbersIn(next);

        assert.deepEqual(found.slice(-32), range(8, 40), `call ${at}`);
        assert.deepEqual(next.found.losses, [], `call ${at}`);
        await Promise.all([next.close(), log.close().catch(() => undefined)]);
        if (!wasReached) break;
        assert.ok(at < 300);
      }
    });
  }

  it("gives the disk back that it has filled itself, once all is delivered, though its last write is still half", async () => {
    const log = await open({ segmentBytes: 1_000_000 });
    fill(log, 0, 50);
    await log.sync();
    disk.capacity = disk.usedBytes + 500;
    fill(log, 50, 100);
    await assert.rejects(log.sync(), /ENOSPC/);

    await confirm(log, 100);
    await log.sync();

    assert.deepEqual([...disk.names.keys()], []);
    fill(log, 100, 120);
    await log.sync();
    disk = disk.afterPowerCut(() => 0, "ext4");
    const next = await open();
    assert.deepEqual(await numbersIn(next), range(100, 120));
    assert.deepEqual(next.found.losses, []);
    await Promise.all([next.close(), log.close()]);
  });

  it("leaves no heap of files behind on a disk that takes nothing for days (NSQ's thousands of .tmp)", async () => {
    for (const [call, code] of [
      ["write", "ENOSPC"],
      ["create", "ENOSPC"],
      ["create", "EMFILE"],
      ["create", "EROFS"],
    ] as const) {
      disk = new SimDisk();
      const log = await open();
      disk.before = (what) => {
        if (what === call) throw errno(code);
      };
      fill(log, 0, 5);

      for (let attempt = 0; attempt < 500; attempt++) await log.sync().catch(() => undefined);
      const files = disk.names.size;
      disk.before = () => undefined;
      await log.sync();

      assert.ok(files <= 3, `${files} files after ${code} of ${call}`);
      assert.deepEqual(await numbersIn(log), range(0, 5));
      await log.close();
    }
  });

  for (const call of ["write", "sync"] as const) {
    it(`is not filled by its own attempts while each ${call} fails for a day, and is soon well again`, async () => {
      const clock = new FakeClock();
      const flusher = new Flusher(clock);
      const log = await open({ clock, segmentBytes: 1_000_000 });
      const flushed = flusher.add(log, POLICY, () => undefined);
      disk.before = (what) => {
        if (what === call) throw errno("EIO");
      };
      fill(log, 0, 100);
      flusher.poke(flushed);

      await clock.advance(24 * 3_600_000);
      const files = disk.names.size;
      disk.before = () => undefined;
      await clock.advance(610_000);

      assert.ok(files < 160, `${files} files`);
      assert.deepEqual([log.unwrittenBytes, log.unsyncedBytes], [0, 0]);
      assert.deepEqual(await numbersIn(log), range(0, 100));
      await flusher.close();
      await log.close();
    });
  }

  it("believes no length that a file cannot have, though its checksum is right (Logstash's length FFFFFFFF)", async () => {
    for (const field of [12, 16] as const) {
      disk = new SimDisk();
      const log = await open({ segmentBytes: 100_000 });
      for (let n = 0; n < 30; n += 10) {
        fill(log, n, n + 10);
        await log.sync();
      }
      await log.close();
      disk = disk.afterKill();
      const [path, { cache }] = [...disk.names][0]!;
      const epoch = Number.parseInt(path.slice(-12, -4), 16);
      // The second block of records.
      const blocks: number[] = [];
      for (let at = cache.indexOf("RXBK"); at >= 0; at = cache.indexOf("RXBK", at + 1)) {
        if (cache.readUInt8(at + 20) === 3) blocks.push(at);
      }
      const at = blocks[1]!;
      cache.writeUInt32LE(0xffff_ffff, at + field);
      const salt = Buffer.alloc(10);
      salt.writeUInt32LE(epoch, 0);
      salt.writeUIntLE(at, 4, 6);
      cache.writeUInt32LE(crc32(cache.subarray(at + 8, at + BLOCK_HEADER_BYTES), crc32(salt)), at + 4);

      const next = await open();

      assert.deepEqual(await numbersIn(next), [...range(0, 10), ...range(20, 30)]);
      await next.close();
    }
  });

  it("has every record of a queue that is adopted, at whatever step that is killed (OpenTelemetry's moves in two halves)", async () => {
    const seedDisk = new SimDisk();
    const clock = new FakeClock();
    const seed = new StoreRig({ clock, files: seedDisk });
    const { exporter } = await seed.exporter("gone");
    for (let n = 0; n < 20; n++) send(exporter, n);
    await clock.advance(10_000);
    await seed.close();
    for (let step = 1; ; step++) {
      disk = seedDisk.afterKill();
      const rig = new StoreRig({ clock, files: disk });
      const { exporter: heir } = await rig.exporter("heir");
      let calls = 0;
      let isKilled = false;
      disk.before = (call) => {
        if (call === "read") return;
        if (++calls >= step) isKilled = true;
        if (isKilled) throw new Killed();
      };
      const opened = (name: string): Promise<Log> => rig.store.inspectLog(name, DEFAULT_FLUSH);
      const adopting = adoptOrphan("gone", opened, (record) => heir.queue.take(record)).catch(() => undefined);
      for (let ms = 0; ms < 3_000; ms += 100) await clock.advance(100);
      const left = disk.afterKill();
      disk.before = () => undefined;
      const found = new StoreRig({ clock, files: left });
      const ids = new Set<string>();
      for (const id of ["gone", "heir"]) {
        const { exporter: one } = await found.exporter(id, {}, { target: awayTarget() });
        for await (const record of one.queue.consumer(id).unconfirmed()) ids.add(uuidText(record.id));
      }

      assert.equal(ids.size, 20, `at step ${step}`);

      await found.close();
      await rig.close();
      await adopting;
      if (!isKilled) break;
      assert.ok(step < 200);
    }
  });
});
