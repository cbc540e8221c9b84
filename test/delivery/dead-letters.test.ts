/** Rejected records: kept before they are let go of, told apart, given back with their ids, through crashes too. */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { DeadLetter } from "../../src/delivery/dead-letters.js";
import { Exporter } from "../../src/runtime/exporter.js";
import { uuidText } from "../../src/record.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { DELIVERED } from "../../src/targets/target.js";
import type { LogRecord } from "../../src/record.js";
import { FakeClock, seededRandom } from "../support/fake-clock.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { SimDisk } from "../support/sim-disk.js";
import { SlowDisk, StoreRig, send } from "../support/store-rig.js";

/** A target that rejects what says so, until it is mended. */
class Picky extends ScriptedTarget {
  isMended = false;
  constructor() {
    super();
    this.script = (batch) => ({ outcomes: batch.map((record) => this.#judge(record)) });
  }
  #judge(record: LogRecord): ReturnType<ScriptedTarget["store"]>[number] {
    const { bad } = JSON.parse(record.bytes.toString()) as { bad?: string };
    if (bad === undefined || this.isMended) return this.store([record])[0] ?? DELIVERED;
    return { kind: "rejected", cause: { code: bad, message: `not ${bad}`, statusCode: 400 } };
  }
}

describe("dead letters", () => {
  let clock: FakeClock;
  let disk: SimDisk;
  let rig: StoreRig;

  beforeEach(() => {
    clock = new FakeClock(Date.UTC(2026, 5, 1));
    disk = new SimDisk();
    rig = new StoreRig({ clock, files: disk });
  });
  afterEach(async () => {
    await rig.close();
    assert.equal(clock.pendingTimers, 0);
  });

  async function lettersOf(exporter: Exporter): Promise<DeadLetter[]> {
    const found: DeadLetter[] = [];
    for await (const letter of exporter.member.deadLetters.letters()) found.push(letter);
    return found;
  }

  async function rejected(target: Picky, ...bad: string[]): Promise<Exporter> {
    const { exporter } = await rig.exporter("e", {}, { target });
    for (const [n, code] of bad.entries()) send(exporter, { n, bad: code }, { to: `place${n % 2}`, topic: "t" });
    await clock.advanceUntil(() => exporter.status().deadLetters === bad.length);
    await clock.advanceUntil(() => exporter.status().waiting === 0);
    return exporter;
  }

  it("keep a record with its reason, its routing and its time", async () => {
    const exporter = await rejected(new Picky(), "odd");

    const [letter] = await lettersOf(exporter);

    assert.deepEqual(letter?.rejection, { code: "odd", message: "not odd", statusCode: 400 });
    assert.deepEqual({ ...letter?.routing }, { to: "place0", topic: "t" });
    assert.deepEqual(JSON.parse(letter.record.bytes.toString()), { n: 0, bad: "odd" });
    assert.ok(Math.abs(letter.acceptedAtMs - Date.UTC(2026, 5, 1)) < 1_000, String(letter.acceptedAtMs));
    assert.ok(letter.rejectedAtMs >= letter.acceptedAtMs);
  });

  it("have a record on the disk before its queue lets go of it", async () => {
    let whenConfirmed: { letters: number; waiting: number } | undefined;
    const target = new Picky();
    const { exporter } = await rig.exporter("e", {}, { target });
    exporter.queue.log.onConfirmed(() => {
      const synced = [...disk.durableNames].filter(([path]) => path.startsWith("/q/dead/"));
      const bytes = synced.reduce(
        (sum, [, inode]) => sum + inode.durable.toString("latin1").split("not odd").length - 1,
        0,
      );
      whenConfirmed ??= { letters: bytes, waiting: exporter.queue.log.backlogRecords };
    });

    send(exporter, { bad: "odd" });
    await clock.advanceUntil(() => exporter.status().deadLetters === 1 && exporter.status().waiting === 0);

    assert.deepEqual(whenConfirmed, { letters: 1, waiting: 0 });
  });

  it("let the queue keep the record while their own folder cannot be written", async () => {
    const target = new Picky();
    disk.before = (call) => {
      if (call === "create") throw Object.assign(new Error("disk full"), { code: "ENOSPC" });
    };
    const { exporter } = await rig.exporter("e", {}, { target });

    send(exporter, { bad: "odd" });
    await clock.advance(20_000);
    assert.equal(exporter.status().waiting, 1);
    assert.ok(rig.events.some(({ kind }) => kind === "deadLetterTrouble"));
    disk.before = () => undefined;

    await clock.advanceUntil(() => exporter.status().waiting === 0);
    assert.equal(exporter.status().deadLetters, 1);
  });

  it("give a record back with the id it had, and lose it when it is delivered", async () => {
    const target = new Picky();
    const exporter = await rejected(target, "odd", "odd", "even");
    const before = await lettersOf(exporter);

    target.isMended = true;
    const count = exporter.member.requeue({ ids: new Set([before[1]!.id]) });
    await clock.advanceUntil(() => exporter.status().waiting === 0 && target.arrived.length === 1);

    assert.equal(await count, 1);
    assert.deepEqual(
      [...target.ids].map((id) => uuidText(Buffer.from(id, "hex"))),
      [before[1]!.id],
    );
    assert.deepEqual(
      (await lettersOf(exporter)).map(({ id }) => id),
      [before[0]!.id, before[2]!.id],
    );
  });

  it("are given back once, though a second click asks for the same", async () => {
    const target = new Picky();
    const exporter = await rejected(target, "odd", "even");

    target.isMended = true;
    const counts = Promise.all([exporter.member.requeue({}), exporter.member.requeue({ code: "odd" })]);
    await clock.advanceUntil(() => target.arrived.length >= 2 && exporter.status().waiting === 0);
    await clock.advance(10_000);

    assert.deepEqual(await counts, [2, 0]);
    assert.equal(target.arrived.length, 2);
  });

  it("are given back once each, though the target rejects them again meanwhile", async () => {
    const letters = 400;
    const slowDisk = new SlowDisk(clock);
    rig = new StoreRig({ clock, files: slowDisk });
    const exporter = await rejected(new Picky(), ...Array.from({ length: letters }, (_, n) => `code ${n}`));

    slowDisk.syncMs = 1_000;
    let count: number | undefined;
    void exporter.member.requeue({}).then((records) => (count = records));
    await clock.advanceUntil(() => count !== undefined, 600_000);
    await clock.advanceUntil(() => exporter.status().waiting === 0);

    assert.equal(count, letters);
    assert.equal(exporter.status().deadLetters, letters);
  });

  it("keep an array with a hole in it, as what cannot be a record", async () => {
    const { exporter } = await rig.exporter("e");

    // oxlint-disable-next-line no-sparse-arrays -- it is what is tried
    const sent = send(exporter, [1, , 3]);
    await clock.advanceUntil(() => sent.isDone);

    assert.equal((sent.error as { code?: string } | undefined)?.code, "empty");
    assert.equal(exporter.status().waiting, 0);
    assert.equal(exporter.status().deadLetters, 1);
  });

  it("are told apart by code when they are given back or thrown away", async () => {
    const exporter = await rejected(new Picky(), "odd", "even", "odd", "even", "even");

    assert.equal(await exporter.member.deadLetters.discard({ code: "odd" }), 2);

    assert.deepEqual(
      (await lettersOf(exporter)).map(({ rejection }) => rejection.code),
      ["even", "even", "even"],
    );
  });

  it("go, the oldest first and counted, when there are too many of them, and never others' records", async () => {
    rig = new StoreRig({ clock, files: disk, diskBytes: 16 * 1024 * 1024 });
    const { exporter } = await rig.exporter("e", {}, { target: new Picky() });
    const { exporter: other } = await rig.exporter("other");
    send(other, "stays");

    for (let n = 0; n < 300; n++) {
      send(exporter, { n, bad: `code${n}`, text: "x".repeat(10_000) });
      if (n % 20 === 0) await clock.advance(1_000);
    }
    await clock.advanceUntil(() => exporter.status().waiting === 0);

    const kept = await lettersOf(exporter);
    const { dropped } = exporter.member.deadLetters;
    assert.ok(dropped > 0 && kept.length > 0, `${dropped} dropped`);
    assert.equal(kept.length + dropped, 300);
    assert.equal(kept.at(-1)?.rejection.code, "code299");
    assert.equal(other.status().waiting, 1);
  });

  it("and the queue together have every record, wherever a crash cuts a rejection or a giving back", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(60), fc.nat(), async (diesAt, seed) => {
        const random = seededRandom(seed);
        const time = new FakeClock(Date.UTC(2026, 5, 1));
        let files = new SimDisk();
        let life = new StoreRig({ clock: time, files });
        const target = new Picky();
        const { exporter } = await life.exporter("e", { durability: "everyMessage" }, { target });
        const sent = [0, 1, 2, 3].map((n) => send(exporter, { n, bad: n % 2 === 0 ? "odd" : undefined }));
        await time.advanceUntil(() => sent.every(({ isDone }) => isDone));
        // The disk as it is at some change, with the pages that had not been synced lost or kept.
        const changes = files.changes;
        let found: SimDisk | undefined;
        files.before = (_call, now) => {
          if (now.changes - changes >= diesAt) found ??= now.afterPowerCut(random, "posix");
        };
        await time.advanceUntil(() => exporter.status().waiting === 0);
        const requeued = exporter.member.requeue({});
        await time.advance(10_000);
        await requeued;
        // It was rejected a second time, meanwhile.
        found ??= files.afterPowerCut(random, "posix");
        files.before = () => undefined;
        await life.close();

        files = found;
        life = new StoreRig({ clock: time, files });
        const again = await life.exporter("e", {}, { target });
        target.isMended = true;
        await time.advanceUntil(() => again.exporter.status().waiting === 0);
        const second = again.exporter.member.requeue({});
        await time.advance(10_000);
        await second;
        await time.advanceUntil(() => again.exporter.status().waiting === 0);

        assert.equal(target.ids.size, 4);
        assert.equal(again.exporter.status().deadLetters, 0);
        await life.close();
      }),
      { numRuns: 60 },
    );
  });
});

describe("a store tells", () => {
  it("of targets and of drops, with the queue and the member, the drops together", async () => {
    const clock = new FakeClock();
    const rig = new StoreRig({ clock });
    const { exporter, target } = await rig.exporter("e", { backlogRecords: 2, overflow: "dropNewest" });
    for (let n = 0; n < 10; n++) send(exporter, n);
    await clock.advance(2_000);
    target.isUp = true;
    await clock.advanceUntil(() => exporter.status().waiting === 0);

    const told = rig.events.map((event) => (event.kind === "delivery" ? event.event.kind : event.kind));

    const overflows = rig.events.filter((event) => event.kind === "overflow");
    assert.deepEqual(overflows, [{ kind: "overflow", log: "e", newest: 8, oldest: 0, aged: 0, forgotten: 0 }]);
    assert.ok(
      told.indexOf("circuitOpened") >= 0 && told.indexOf("circuitClosed") > told.indexOf("circuitOpened"),
      told.join(),
    );
    assert.ok(rig.events.every((event) => event.kind !== "delivery" || (event.log === "e" && event.member === "e")));
    await rig.close();
  });
});

describe("an exporter that lets go of its target", () => {
  it("keeps what comes, opens the target anew when it is taken up, and counts on", async () => {
    const clock = new FakeClock();
    const rig = new StoreRig({ clock });
    const targets: ScriptedTarget[] = [];
    const made = await Exporter.open(rig.store, {
      id: "f",
      flush: DEFAULT_FLUSH,
      target: () => {
        const target = new ScriptedTarget();
        targets.push(target);
        return target;
      },
    });
    send(made, 1);
    await clock.advanceUntil(() => made.status().delivered === 1);

    const letting = made.letGo();
    await clock.advance(1_000);
    await letting;
    send(made, 2);
    await clock.advance(60_000);
    assert.deepEqual(
      [targets.length, targets[0]?.closed, made.status().paused, made.status().waiting],
      [1, 1, true, 1],
    );
    await made.takeUp();
    await clock.advanceUntil(() => made.status().waiting === 0);

    assert.deepEqual([targets.length, made.status().delivered, made.status().paused], [2, 2, false]);
    await rig.close();
    assert.equal(clock.pendingTimers, 0);
  });
});
