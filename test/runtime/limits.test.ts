/** What gives way when a limit is reached, and that every record that goes is counted. */
import assert from "node:assert/strict";
import type { Exporter } from "../../src/runtime/exporter.js";
import { Pool } from "../../src/runtime/pool.js";
import { DEFAULT_FLUSH, type FlushSettings } from "../../src/runtime/settings.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { errno } from "../support/sim-disk.js";
import { awayTarget, send, SlowDisk, StoreRig } from "../support/store-rig.js";

const KIB = 1024;
const MIB = 1024 * KIB;

function code(error: NodeJS.ErrnoException | undefined): string | undefined {
  return error?.code;
}

describe("the limits of a queue", () => {
  let clock: FakeClock;
  let disk: SlowDisk;
  let rig: StoreRig;

  beforeEach(() => {
    clock = new FakeClock(Date.UTC(2026, 5, 1));
    disk = new SlowDisk(clock);
    rig = new StoreRig({ clock, files: disk });
  });
  afterEach(async () => {
    disk.before = () => undefined;
    disk.capacity = Infinity;
    await rig.close();
    assert.equal(clock.pendingTimers, 0);
  });

  async function restart(budgets: { memoryBytes?: number; diskBytes?: number }): Promise<void> {
    await rig.close();
    rig = new StoreRig({ clock, files: disk, ...budgets });
  }

  /** Sends so many records of 1 KiB, a hundred each 100 ms. Returns the errors that were told. */
  async function pour(exporter: Exporter, count: number, first = 0): Promise<(Error | undefined)[]> {
    const errors: (Error | undefined)[] = [];
    for (let n = first; n < first + count; n++) {
      exporter.send({ n, text: "x".repeat(1_000) }, {}, (error) => errors.push(error));
      if (n % 100 === 99) await clock.advance(100);
    }
    return errors;
  }

  async function numbersIn(exporter: Exporter): Promise<number[]> {
    const found: number[] = [];
    for await (const { bytes } of exporter.queue.consumer(exporter.id).unconfirmed()) {
      found.push((JSON.parse(bytes.toString()) as { n: number }).n);
    }
    return found;
  }

  function logFileBytes(id: string): number {
    let bytes = 0;
    for (const [path, inode] of disk.names) if (path.startsWith(`/q/logs/${id}/`)) bytes += inode.cache.length;
    return bytes;
  }

  /** What was accepted is delivered, dropped for a reason, or still there. */
  function assertAdded(exporter: Exporter, sent: number): void {
    const { newest, oldest, aged } = exporter.queue.dropped;
    assert.equal(newest + oldest + aged + exporter.status().waiting + exporter.status().delivered, sent);
  }

  describe("in records", () => {
    const flush: Partial<FlushSettings> = { backlogRecords: 100 };

    it("drop the oldest first where the newest matter", async () => {
      const { exporter } = await rig.exporter("a", { ...flush, overflow: "dropOldest" });

      await pour(exporter, 250);

      assert.deepEqual(
        await numbersIn(exporter),
        Array.from({ length: 100 }, (_, n) => 150 + n),
      );
      assert.deepEqual(exporter.queue.dropped, { newest: 0, oldest: 150, aged: 0, forgotten: 0 });
      assert.equal(exporter.status().dropped, 150);
    });

    it("drop the newest where the oldest matter", async () => {
      const { exporter } = await rig.exporter("a", { ...flush, overflow: "dropNewest" });

      const errors = await pour(exporter, 250);

      assert.deepEqual(
        await numbersIn(exporter),
        Array.from({ length: 100 }, (_, n) => n),
      );
      assert.ok(errors.every((error) => error === undefined));
      assert.deepEqual(exporter.queue.dropped, { newest: 150, oldest: 0, aged: 0, forgotten: 0 });
    });

    it("are told to the sender where that is wanted, and take nothing of an array that does not fit", async () => {
      const { exporter } = await rig.exporter("a", { ...flush, overflow: "refuse" });
      await pour(exporter, 98);

      const array = send(exporter, [1, 2, 3]);
      const one = send(exporter, 4);

      assert.equal(code(array.error), "queue-full");
      assert.match(array.error!.message, /100 records/);
      assert.equal(one.error, undefined);
      assert.equal(exporter.status().waiting, 99);
      assert.equal(exporter.status().dropped, 0);
    });

    it("are told of once a second, not with every message", async () => {
      const { exporter } = await rig.exporter("a", flush);

      await pour(exporter, 3_100);
      await clock.advance(1_000);

      const told = rig.events.filter((event) => event.kind === "overflow");
      assert.ok(told.length >= 3 && told.length <= 5, `${told.length} events`);
      assert.equal(
        told.reduce((sum, { oldest }) => sum + oldest, 0),
        3_000,
      );
    });

    it("do not have the disk synced with every message that a full queue drops", async () => {
      for (const overflow of ["dropOldest", "dropNewest"] as const) {
        const { exporter } = await rig.exporter(overflow, { ...flush, overflow });
        await pour(exporter, 200);
        await clock.advance(20_000);
        const before = disk.syncs;

        for (let n = 0; n < 1_000; n++) {
          send(exporter, { n });
          await clock.advance(10);
        }

        assert.ok(disk.syncs - before <= 4, `${disk.syncs - before} syncs in ten seconds (${overflow})`);
      }
    });

    it("count what is dropped while it is being delivered once: as delivered, when it was", async () => {
      const target = new ScriptedTarget();
      target.mute();
      const { exporter } = await rig.exporter("a", flush, { target });
      await pour(exporter, 100);
      await clock.advance(1_000);
      assert.ok(target.inFlight > 0);

      await pour(exporter, 200, 100);
      target.unmute();
      await clock.advanceUntil(() => exporter.status().waiting === 0);

      const { delivered, dropped } = exporter.status();
      assert.equal(delivered + dropped, 300);
    });
  });

  for (const durability of ["interval", "memory"] as const) {
    it(`in records show the age of what waits, and not of what was dropped (${durability})`, async () => {
      const { exporter } = await rig.exporter("a", { backlogRecords: 100, durability });
      for (let n = 0; n < 600; n += 10) {
        await pour(exporter, 10, n);
        await clock.advance(2_000);
      }

      const { waiting, oldestAgeMs } = exporter.status();

      assert.equal(waiting, 100);
      assert.ok(oldestAgeMs! >= 18_000 && oldestAgeMs! <= 30_000, `it is said to wait for ${oldestAgeMs} ms`);
    });
  }

  describe("in bytes", () => {
    it("give up an eighth at a time, not all that waits", async () => {
      const { exporter } = await rig.exporter("a", { backlogBytes: 400 * KIB });

      let least = Infinity;
      for (let n = 0; n < 2_000; n += 100) {
        await pour(exporter, 100, n);
        if (n >= 600) least = Math.min(least, exporter.status().waiting);
      }

      assert.ok(exporter.queue.log.backlogBytes <= 400 * KIB + 32 * KIB, `${exporter.queue.log.backlogBytes} bytes`);
      assert.ok(least >= 150, `only ${least} records were left at one time`);
      assertAdded(exporter, 2_000);
    });

    it("refuse what would not even fit into an empty queue, and give up nothing for it", async () => {
      const { exporter } = await rig.exporter("a", { backlogBytes: 64 * KIB });
      await pour(exporter, 20);

      const sent = send(exporter, "x".repeat(65 * KIB));

      assert.equal(code(sent.error), "too-large");
      assert.equal(exporter.status().waiting, 20);
    });
  });

  describe("on the disk of all queues together", () => {
    const diskBytes = 4 * MIB;

    beforeEach(() => restart({ diskBytes }));

    it("have the largest queue give way, not the one that has little", async () => {
      const { exporter: large } = await rig.exporter("large");
      const { exporter: small } = await rig.exporter("small");
      await pour(small, 100);
      await pour(large, 6_000);

      await pour(small, 100, 100);

      assert.equal(small.status().waiting, 200);
      assert.equal(small.status().dropped, 0);
      assert.ok(large.status().dropped > 1_500, `${large.status().dropped} dropped`);
      assertAdded(large, 6_000);
    });

    it("have the largest give way to a small one that would rather refuse", async () => {
      const { exporter: large } = await rig.exporter("large");
      const { exporter: small } = await rig.exporter("small", { overflow: "refuse" });
      await pour(large, 5_000);

      const errors = await pour(small, 300);

      assert.ok(errors.every((error) => error === undefined));
    });

    it("keep the files within the budget and one file", async () => {
      const { exporter } = await rig.exporter("a");
      let most = 0;
      for (let n = 0; n < 12_000; n += 500) {
        await pour(exporter, 500, n);
        most = Math.max(most, logFileBytes("a"));
      }

      assert.ok(most <= diskBytes + 2 * MIB, `${most} bytes`);
    });

    it("are not full for ever: a drain gives all of it back (Vector's counter that fell below zero)", async () => {
      const { exporter, target } = await rig.exporter("a", { overflow: "refuse" });
      const errors = await pour(exporter, 6_000);
      assert.ok(errors.some((error) => code(error) === "queue-full"));

      target.isUp = true;
      await clock.advanceUntil(() => exporter.status().waiting === 0);
      await clock.advance(20_000);

      assert.equal(logFileBytes("a"), 0);
      assert.equal(rig.store.diskUsed, 0);
      const after = await pour(exporter, 100, 6_000);
      assert.ok(after.every((error) => error === undefined));
    });

    it("are counted from the files after a kill in the middle, not from a number that was stored", async () => {
      const { exporter } = await rig.exporter("a");
      await pour(exporter, 2_000);
      await clock.advance(300); // between two rounds
      const crashed = disk.afterKill();
      const next = new StoreRig({ clock, files: crashed, diskBytes });

      const { exporter: again, target } = await next.exporter("a");

      assert.ok(Math.abs(next.store.diskUsed - crashed.usedBytes) <= 16, `${next.store.diskUsed} ${crashed.usedBytes}`);
      target.isUp = true;
      await clock.advanceUntil(() => again.status().waiting === 0);
      await clock.advance(20_000);
      assert.equal(next.store.diskUsed, 0);
      await next.close();
    });

    it("leave room for each queue's dead letters, and no more for all of them than a quarter", async () => {
      const target = new ScriptedTarget();
      target.script = (batch) => ({
        outcomes: batch.map(() => ({ kind: "rejected", cause: { code: "no", message: "never" } })),
      });
      const letters = [];
      for (let i = 0; i < 8; i++) letters.push(await rig.store.openDeadLetters(`d${i}`, DEFAULT_FLUSH));
      for (let n = 0; n < 400; n++) {
        const kept = letters.map((one) => one.setAsidePayload("x".repeat(2_000), {}, { code: "no", message: "never" }));
        await clock.advance(20);
        await Promise.all(kept);
      }
      await clock.advance(20_000);

      let bytes = 0;
      for (const [path, inode] of disk.names) if (path.startsWith("/q/dead/")) bytes += inode.cache.length;
      assert.ok(bytes <= Math.max(diskBytes / 4, 8 * 256 * KIB) + 8 * 256 * KIB, `${bytes} bytes`);
      assert.ok(letters.every(({ count, dropped }) => count > 0 && count + dropped === 400));
      await Promise.all(letters.map((one) => one.close()));
    });
  });

  describe("in memory, while the folder takes nothing", () => {
    const memoryBytes = MIB;

    beforeEach(async () => {
      await restart({ memoryBytes });
      disk.before = (call) => {
        if (call === "create") throw errno("EROFS");
      };
    });

    it("hold, while the flow goes on, and the newest are what is left", async () => {
      const { exporter } = await rig.exporter("a");

      let most = 0;
      for (let n = 0; n < 5_000; n += 100) {
        await pour(exporter, 100, n);
        most = Math.max(most, rig.store.memoryUsed);
      }

      assert.ok(most <= memoryBytes + 128 * KIB, `${most} bytes`);
      const numbers = await numbersIn(exporter);
      assert.ok(numbers.length > 700, `${numbers.length} are left`);
      assert.equal(numbers.at(-1), 4_999);
      assertAdded(exporter, 5_000);
      assert.equal(exporter.status().storage?.code, "EROFS");
    });

    it("have the queue give way that holds the most, not one that has just begun", async () => {
      const { exporter: large } = await rig.exporter("large");
      const { exporter: small } = await rig.exporter("small");
      await pour(large, 2_000);

      await pour(small, 50);

      assert.equal(small.status().waiting, 50);
      assert.equal(small.status().dropped, 0);
    });

    it("are not full for ever once the folder takes records again", async () => {
      const { exporter } = await rig.exporter("a", { overflow: "refuse" });
      const errors = await pour(exporter, 2_000);
      assert.ok(errors.some((error) => code(error) === "queue-full"));

      disk.before = () => undefined;
      await clock.advance(40_000);
      const after = await pour(exporter, 500, 2_000);

      assert.ok(after.every((error) => error === undefined));
      assert.equal(exporter.status().storage, undefined);
    });

    it("count a block of few records by what it takes, not by its records alone", async () => {
      await restart({ memoryBytes: memoryBytes / 4 }); // each block takes a minute to make
      const { exporter } = await rig.exporter("a");

      for (let n = 0; n < 300; n++) {
        send(exporter, n);
        await clock.advance(61_000); // so that each has a block of its own
      }

      assert.ok(exporter.status().waiting <= memoryBytes / 4 / KIB, `${exporter.status().waiting} blocks are held`);
      assert.ok(exporter.status().dropped > 30);
    });

    it("tell a sender that waits for a sync when its message had to go", async () => {
      const { exporter } = await rig.exporter("a", { durability: "everyMessage" });

      const sent = Array.from({ length: 3_000 }, (_, n) => send(exporter, { n, text: "x".repeat(1_000) }));

      const waiting = sent.filter(({ isDone }) => !isDone).length;
      assert.ok(waiting <= 600, `${waiting} senders still wait`);
      assert.ok(sent.filter(({ isDone }) => isDone).every(({ error }) => code(error) === "dropped"));
    });

    it("hold for messages that are set aside, too", async () => {
      const { exporter } = await rig.exporter(
        "a",
        {},
        {
          transform: {
            run: () => {
              throw new Error("no");
            },
          },
        },
      );

      const sent = Array.from({ length: 2_000 }, (_, n) => send(exporter, { n, text: "x".repeat(1_000) }));
      await clock.advance(2_000);

      const held = sent.filter(({ isDone }) => !isDone).length;
      assert.ok(held < 200, `${held} wait`);
    });
  });

  it("do not count memory that nobody needs: many idle queues are not full", async () => {
    await restart({ memoryBytes: MIB });
    const exporters = [];
    for (let i = 0; i < 50; i++) {
      const target = new ScriptedTarget();
      exporters.push((await rig.exporter(`e${i}`, { overflow: "refuse" }, { target })).exporter);
    }
    for (const exporter of exporters) send(exporter, "x".repeat(30_000));
    await clock.advance(1_000);
    assert.ok(exporters.every((exporter) => exporter.status().waiting === 0));

    const again = exporters.map((exporter) => send(exporter, 1));

    assert.ok(again.every(({ error }) => error === undefined));
  });

  describe("in age", () => {
    const flush: Partial<FlushSettings> = { backlogAgeMs: 60_000 };

    it("drop what has waited too long, and keep the young", async () => {
      const { exporter } = await rig.exporter("a", flush);
      await pour(exporter, 100);
      await clock.advance(40_000);
      await pour(exporter, 50, 100);
      await clock.advance(35_000);

      assert.deepEqual(
        await numbersIn(exporter),
        Array.from({ length: 50 }, (_, n) => 100 + n),
      );
      assert.deepEqual(exporter.queue.dropped, { newest: 0, oldest: 0, aged: 100, forgotten: 0 });
    });

    it("show the age of what waits, and not of what was dropped", async () => {
      const { exporter } = await rig.exporter("a", flush);
      for (let n = 0; n < 300; n += 10) {
        await pour(exporter, 10, n);
        await clock.advance(10_000);
      }

      const { waiting, oldestAgeMs } = exporter.status();

      assert.ok(waiting > 0 && waiting < 100, `${waiting} wait`);
      assert.ok(oldestAgeMs! <= 80_000, `the oldest is said to wait for ${oldestAgeMs} ms`);
    });

    it("have no timer tick when the last queue with an age is closed", async () => {
      const { exporter } = await rig.exporter("a", flush);
      const closing = exporter.close();
      await clock.advance(5_000);
      await closing;

      await clock.advance(60_000);

      assert.equal(clock.pendingTimers, 0);
    });
  });

  describe("of a pool", () => {
    async function pool(flush: Partial<FlushSettings>, targets: Record<string, ScriptedTarget>): Promise<Pool> {
      const opened = await Pool.open(rig.store, { id: "pool", flush: { ...DEFAULT_FLUSH, ...flush } });
      for (const [id, target] of Object.entries(targets)) {
        await opened.addMember({ id, target, flush: DEFAULT_FLUSH });
      }
      return opened;
    }

    async function pourInto(opened: Pool, count: number): Promise<(Error | undefined)[]> {
      const errors: (Error | undefined)[] = [];
      for (let n = 0; n < count; n++) {
        opened.send({ n }, {}, (error) => errors.push(error));
        if (n % 10 === 9) await clock.advance(1_000);
      }
      return errors;
    }

    for (const overflow of ["refuse", "dropNewest", "dropOldest"] as const) {
      it(`take from the member that is away, and bar the entry to nobody (${overflow})`, async () => {
        const up = new ScriptedTarget();
        const opened = await pool({ backlogRecords: 100, overflow }, { up, away: awayTarget() });

        const errors = await pourInto(opened, 500);
        await clock.advance(10_000);

        assert.ok(errors.every((error) => error === undefined));
        assert.equal(up.ids.size, 500);
        const { up: ofUp, away: ofAway } = Object.fromEntries(opened.statuses());
        assert.equal(ofUp!.dropped, 0);
        assert.equal(ofAway!.dropped, 400);
        assert.equal(ofAway!.waiting, 100);
      });
    }

    it("refuse only what no member has room for", async () => {
      const opened = await pool({ backlogRecords: 100, overflow: "refuse" }, { a: awayTarget(), b: awayTarget() });

      const errors = await pourInto(opened, 150);

      assert.equal(errors.filter((error) => code(error) === "queue-full").length, 50);
    });
  });
});
