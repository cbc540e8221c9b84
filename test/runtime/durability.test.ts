/** When a sender hears that a message was taken, for each durability; and that it never hears it too early. */
import assert from "node:assert/strict";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { errno, type SimDisk } from "../support/sim-disk.js";
import { awayTarget, send, SlowDisk, StoreRig } from "../support/store-rig.js";

/** Records that the next life finds. */
async function waitingAfterwards(files: SimDisk, id: string): Promise<number> {
  const rig = new StoreRig({ files });
  const { exporter } = await rig.exporter(id);
  const { waiting } = exporter.status();
  await rig.close();
  return waiting;
}

describe("a message with durability", () => {
  let clock: FakeClock;
  let disk: SlowDisk;
  let rig: StoreRig;

  beforeEach(() => {
    clock = new FakeClock();
    disk = new SlowDisk(clock);
    rig = new StoreRig({ clock, files: disk });
  });
  afterEach(async () => {
    disk.before = () => undefined;
    disk.syncMs = 0;
    await rig.close();
    assert.equal(clock.pendingTimers, 0);
  });

  describe("memory", () => {
    it("is taken at once, never reaches the disk, and is said to be lost when the queue is closed", async () => {
      const { exporter } = await rig.exporter("a", { durability: "memory" });
      const sent = [send(exporter, { n: 1 }), send(exporter, [{ n: 2 }, { n: 3 }])];
      assert.ok(sent.every(({ isDone }) => isDone));

      await clock.advance(60_000);
      await rig.close();

      assert.equal(disk.usedBytes, 0);
      assert.deepEqual(
        rig.events.filter(({ kind }) => kind === "overflow"),
        [{ kind: "overflow", log: "a", newest: 0, oldest: 0, aged: 0, forgotten: 3 }],
      );
    });

    it("leaves what an earlier life has put on disk where it is", async () => {
      const { exporter } = await rig.exporter("a");
      send(exporter, [1, 2, 3]);
      await rig.close();
      rig = new StoreRig({ clock, files: disk });
      const { exporter: fleeting } = await rig.exporter("a", { durability: "memory" });
      assert.equal(fleeting.status().waiting, 3);
      send(fleeting, 4);

      await rig.close();

      assert.equal(await waitingAfterwards(disk, "a"), 3);
    });
  });

  describe("interval", () => {
    it("is taken at once, written within a second and synced within five", async () => {
      const { exporter } = await rig.exporter("a");

      const sent = send(exporter, { n: 1 });

      assert.ok(sent.isDone);
      assert.equal(disk.usedBytes, 0);
      await clock.advance(1_050);
      assert.ok(disk.usedBytes > 0);
      await clock.advance(4_000);
      assert.equal(disk.syncs, 1);
    });
  });

  describe("every message", () => {
    it("is never said to be safe before fdatasync has returned", async () => {
      disk.syncMs = 300;
      const { exporter } = await rig.exporter("a", { durability: "everyMessage" });

      const sent = send(exporter, { n: 1 });

      await clock.advance(299);
      assert.ok(!sent.isDone, "the sync was still under way");
      await clock.advance(2);
      assert.ok(sent.isDone);
      assert.equal(sent.error, undefined);
    });

    it("is not said to be safe by a sync that failed, nor by the same one tried again", async () => {
      const { exporter } = await rig.exporter("a", { durability: "everyMessage" });
      let failed = 0;
      disk.before = (call) => {
        if (call !== "sync" || failed > 0) return;
        failed++;
        throw errno("EIO");
      };

      const sent = send(exporter, { n: 1 });
      await clock.advance(500);
      assert.equal(failed, 1);
      assert.ok(!sent.isDone, "nothing was synced");
      await clock.advance(5_000);

      assert.ok(sent.isDone);
      const files = [...disk.names.keys()].filter((path) => path.includes("/logs/"));
      assert.equal(files.length, 2, "it was written again, to a file whose sync was never refused");
    });

    it("shares one sync with those that come together", async () => {
      disk.syncMs = 10;
      const { exporter } = await rig.exporter("a", { durability: "everyMessage" });

      const sent = Array.from({ length: 256 }, (_, n) => send(exporter, { n }));
      await clock.advance(15);

      assert.ok(sent.every(({ isDone }) => isDone));
      assert.equal(disk.syncs, 1);
    });

    it("is not said to be safe when the queue is closed over a disk that fails", async () => {
      const { exporter } = await rig.exporter("a", { durability: "everyMessage" });
      disk.before = (call) => {
        if (call === "sync") throw errno("EIO");
      };

      const sent = send(exporter, { n: 1 });
      const closing = assert.rejects(exporter.close());
      await clock.advance(4_000);
      await closing;

      assert.ok(sent.isDone);
      assert.equal(sent.error?.code, "EIO");
    });

    it("is said to be safe when the close has synced it", async () => {
      const { exporter } = await rig.exporter("a", { durability: "everyMessage" });

      const sent = send(exporter, { n: 1 });
      const closing = exporter.close();
      await clock.advance(4_000);
      await closing;

      assert.deepEqual(sent, { isDone: true, error: undefined });
    });
  });

  describe("delivered", () => {
    it("is done when the target has confirmed it, not when it is on disk", async () => {
      const target = awayTarget();
      const { exporter } = await rig.exporter("a", { durability: "delivered" }, { target });

      const sent = [send(exporter, { n: 1 }), send(exporter, [{ n: 2 }, { n: 3 }])];
      await clock.advance(20_000);
      assert.ok(disk.syncs > 0);
      assert.ok(sent.every(({ isDone }) => !isDone));
      target.isUp = true;
      await clock.advanceUntil(() => sent.every(({ isDone }) => isDone));

      assert.ok(sent.every(({ error }) => error === undefined));
      assert.equal(target.ids.size, 3);
    });

    it("is done too when it is kept among the dead letters", async () => {
      const target = new ScriptedTarget();
      target.script = (batch) => ({
        outcomes: batch.map(() => ({ kind: "rejected", cause: { code: "no", message: "never" } })),
      });
      const { exporter } = await rig.exporter("a", { durability: "delivered" }, { target });

      const sent = send(exporter, { n: 1 });
      await clock.advanceUntil(() => sent.isDone, 600_000);

      assert.equal(sent.error, undefined);
    });

    it("is told at the close, since what is in the log will be delivered by the next life", async () => {
      const { exporter } = await rig.exporter("a", { durability: "delivered" });

      const sent = send(exporter, { n: 1 });
      await rig.close();

      assert.deepEqual(sent, { isDone: true, error: undefined });
      assert.equal(await waitingAfterwards(disk, "a"), 1);
    });

    it("is told that it was given up, when it had to make room for newer ones", async () => {
      const { exporter } = await rig.exporter("a", { durability: "delivered", backlogRecords: 2 });

      const sent = [1, 2, 3].map((n) => send(exporter, n));

      assert.equal(sent[0]!.error?.code, "dropped");
      assert.ok(!sent[1]!.isDone && !sent[2]!.isDone);
    });

    it("does not fill memory with messages that wait while their records are long on disk", async () => {
      await rig.close();
      rig = new StoreRig({ clock, files: disk, memoryBytes: 1024 * 1024 });
      const { exporter } = await rig.exporter("a", { durability: "delivered" });

      const sent = [];
      for (let n = 0; n < 5_000; n++) {
        sent.push(send(exporter, { n }));
        if (n % 100 === 0) await clock.advance(100);
      }

      const held = sent.filter(({ isDone }) => !isDone).length;
      assert.ok(held > 500 && held < 1_100, `${held} messages are held`);
      assert.ok(rig.store.memoryUsed <= 1024 * 1024 + 64 * 1024, `${rig.store.memoryUsed} bytes`);
      const given = sent.filter(({ error }) => error !== undefined).length;
      assert.equal(given, 5_000 - held, "each of the others was told");
    });
  });
});
