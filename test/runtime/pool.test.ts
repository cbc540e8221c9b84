/** A pool on a real folder: one copy, and a place for each member that no other member disturbs. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { decode } from "../../src/codec.js";
import type { LogRecord, Routing } from "../../src/record.js";
import { mergeRoutings } from "../../src/runtime/member-routing.js";
import type { MemberOptions } from "../../src/runtime/member.js";
import type { Pool } from "../../src/runtime/pool.js";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH, type FlushSettings } from "../../src/runtime/settings.js";
import { TargetUnavailableError, type Outcome } from "../../src/targets/target.js";
import { compile } from "../../src/transform.js";
import { FakeClock, seededRandom } from "../support/fake-clock.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { tempFolder } from "../support/temp-folder.js";

/** Remembers what arrived, each record once, since it knows ids. */
class KeepingTarget extends ScriptedTarget {
  readonly payloads: unknown[] = [];
  readonly routings: Routing[] = [];

  override store(records: readonly LogRecord[]): Outcome[] {
    return super.store(records).map((outcome, i) => {
      if (outcome.kind === "delivered") {
        this.payloads.push(decode(records[i]!));
        this.routings.push({ ...records[i]!.routing });
      }
      return outcome;
    });
  }

  /** How often each record was offered at all. */
  get attempts(): Map<number, number> {
    const counts = new Map<number, number>();
    for (const offset of this.offered.flat()) counts.set(offset, (counts.get(offset) ?? 0) + 1);
    return counts;
  }
}

class Rig {
  readonly folder = tempFolder();
  readonly clock = new FakeClock();
  #runtime: Runtime | undefined;
  #pool: Pool | undefined;

  get pool(): Pool {
    return this.#pool!;
  }

  get runtime(): Runtime {
    return this.#runtime!;
  }

  /** Opens the same folder again, as after a restart. */
  async open(flush: Partial<FlushSettings> = {}, more: object = {}): Promise<this> {
    await this.#runtime?.close();
    this.#runtime = await Runtime.open({ folder: this.folder, flush: DEFAULT_FLUSH, clock: this.clock });
    this.#pool = await this.#runtime.openPool({ id: "pool", flush: { ...DEFAULT_FLUSH, ...flush }, ...more });
    return this;
  }

  async add(id: string, target: KeepingTarget, flush: Partial<FlushSettings> = {}): Promise<KeepingTarget> {
    const options: MemberOptions = { id, target, flush: { ...DEFAULT_FLUSH, ...flush } };
    await this.pool.addMember(options);
    return target;
  }

  /** Resolves with the error, or undefined, when the message is accepted. */
  send(payload: unknown, routing: Routing = {}): Promise<Error | undefined> {
    return new Promise((resolve) => this.pool.send(payload, routing, resolve));
  }

  waiting(id: string): number {
    return this.pool.statuses().get(id)?.waiting ?? this.pool.orphans.get(id) ?? 0;
  }

  async untilDelivered(): Promise<void> {
    await this.clock.advanceUntil(() => [...this.pool.statuses().values()].every(({ waiting }) => waiting === 0));
  }

  close(): Promise<void> {
    return this.runtime.close();
  }
}

/** Sent while members come and go. */
const MOST_MEANWHILE = 20_000;

const upTo = (count: number, from = 0): number[] => Array.from({ length: count - from }, (_, i) => from + i);

describe("A pool", () => {
  let rig: Rig;

  beforeEach(async () => {
    rig = await new Rig().open();
  });
  afterEach(() => rig.close());

  it("refuses a record that nobody would store", async () => {
    const error = await rig.send(1);

    assert.equal((error as Error & { code: string }).code, "no-members");
  });

  it("takes records while its only member comes, goes and comes back", async () => {
    const errors: (Error | undefined)[] = [];
    let sent = 0;
    const sendWhile = async (change: Promise<unknown>): Promise<void> => {
      let isOver = false;
      void change.finally(() => (isOver = true));
      // At each step of the change, of which most are no longer than a promise.
      for (let step = 1; !isOver; step++) {
        // As many as the memory of a pool holds by far, however long a disk takes.
        if (sent < MOST_MEANWHILE) rig.pool.send(sent++, {}, (error) => errors.push(error));
        await (step % 50 === 0 ? new Promise((resolve) => setImmediate(resolve)) : undefined);
      }
      await change;
    };
    rig.pool.reserve("a");
    const first = new KeepingTarget();
    const second = new KeepingTarget();

    await sendWhile(rig.add("a", first));
    await sendWhile(rig.pool.releaseMember("a"));
    await sendWhile(rig.add("a", second));
    await rig.untilDelivered();

    assert.deepEqual(errors, new Array(sent).fill(undefined));
    assert.deepEqual([...first.payloads, ...second.payloads], upTo(sent));
  });

  it("takes as much disk for three members that are away as an exporter for one", async () => {
    const away = (): KeepingTarget => Object.assign(new KeepingTarget(), { isUp: false });
    for (const id of ["a", "b", "c"]) await rig.add(id, away());
    const exporter = await rig.runtime.openExporter({ id: "alone", target: away(), flush: DEFAULT_FLUSH });
    for (let n = 0; n < 5_000; n++) {
      const reading = { n, at: "2025-01-01T00:00:00Z", value: Math.sin(n) };
      rig.pool.send(reading, {}, () => undefined);
      exporter.send(reading, {}, () => undefined);
    }
    await rig.pool.queue.log.sync();
    await exporter.queue.log.sync();

    const ratio = rig.pool.queue.log.diskBytes / exporter.queue.log.diskBytes;

    assert.ok(ratio > 0.98 && ratio < 1.02, `${ratio}`);
  });

  it("brings every record to every member once, whichever of them come and go, across restarts", async () => {
    const life = fc.array(
      fc.record({
        records: fc.integer({ min: 1, max: 60 }),
        turns: fc.integer({ min: 0, max: 7 }),
        passMs: fc.nat(20_000),
      }),
      { minLength: 1, maxLength: 5 },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(life, { minLength: 1, maxLength: 3 }), async (lives) => {
        const own = new Rig();
        const targets = new Map(["a", "b", "c"].map((id) => [id, new KeepingTarget()]));
        let sent = 0;
        try {
          for (const steps of lives) {
            await own.open();
            for (const [id, target] of targets) await own.add(id, target);
            for (const { records, turns, passMs } of steps) {
              [...targets.values()].forEach((target, i) => (target.isUp = (turns & (1 << i)) === 0));
              for (let i = 0; i < records; i++) own.pool.send(sent++, {}, () => undefined);
              await own.clock.advance(passMs);
            }
          }
          for (const target of targets.values()) target.isUp = true;
          await own.untilDelivered();
          for (const [id, target] of targets) assert.deepEqual(target.payloads.sort(byNumber), upTo(sent), id);
        } finally {
          await own.close();
        }
      }),
      { numRuns: 15 },
    );
  });

  describe("keeps the members apart:", () => {
    it("one that is down gets nothing twice, nor makes another get copies (seed defect 14)", async () => {
      const [a, b, c] = [new KeepingTarget(), new KeepingTarget(), new KeepingTarget()];
      await rig.add("a", a);
      await rig.add("b", b);
      await rig.add("c", c);
      [b.isUp, c.isUp] = [false, false];
      for (const n of upTo(100)) await rig.send(n);
      await rig.clock.advance(60_000);
      [b.isUp, c.isUp] = [true, true];
      await rig.untilDelivered();

      for (const target of [a, b, c]) assert.deepEqual(target.payloads, upTo(100));
      assert.ok([...a.attempts.values()].every((count) => count === 1));
    });

    it("one that sends what waited for it takes nothing from the others (seed defect 15)", async () => {
      const [a, b] = [new KeepingTarget(), new KeepingTarget()];
      a.isUp = b.isUp = false;
      await rig.add("a", a);
      await rig.add("b", b);
      for (const n of upTo(4)) await rig.send(n);
      a.isUp = true;
      await rig.pool.members.get("a")!.flush();
      await rig.clock.advanceUntil(() => a.payloads.length === 4);

      assert.equal(rig.waiting("b"), 4);
      b.isUp = true;
      await rig.untilDelivered();
      assert.deepEqual([a.payloads, b.payloads], [upTo(4), upTo(4)]);
    });

    it("one that fails in whatever way loses nothing, and holds up nobody (seed defects 17 and 18)", async () => {
      const failures = [
        new TargetUnavailableError("503"),
        new TypeError("unsupported operand type"),
        Object.assign(new Error("401"), { statusCode: 401 }),
      ];
      const [good, bad] = [new KeepingTarget(), new KeepingTarget()];
      bad.script = (batch) => failures.shift() ?? { outcomes: bad.store(batch) };
      await rig.add("bad", bad);
      await rig.add("good", good);

      const errors = await Promise.all(upTo(20).map((n) => rig.send(n)));
      await rig.clock.advanceUntil(() => good.payloads.length === 20);
      await rig.untilDelivered();

      assert.ok(errors.every((error) => error === undefined));
      assert.deepEqual(good.payloads, upTo(20));
      assert.deepEqual(bad.payloads.sort(byNumber), upTo(20));
    });

    it("one that does not answer does not delay the sender, nor the others (seed defect 20)", async () => {
      const [mute, good] = [new KeepingTarget(), new KeepingTarget()];
      mute.mute();
      await rig.add("mute", mute);
      await rig.add("good", good);

      for (const n of upTo(500)) assert.equal(await rig.send(n), undefined);
      await rig.clock.advanceUntil(() => good.payloads.length === 500);

      assert.equal(rig.waiting("mute"), 500);
      mute.unmute();
      await rig.untilDelivered();
      assert.deepEqual(mute.payloads, upTo(500));
    });

    it("rejected records are those of the member that rejected them, and go back to it alone", async () => {
      const [picky, good] = [new KeepingTarget(), new KeepingTarget()];
      picky.script = (batch) => ({
        outcomes: batch.map(() => ({ kind: "rejected", cause: { code: "121", message: "no" } }) as const),
      });
      await rig.add("picky", picky);
      await rig.add("good", good);
      await rig.send("odd");
      await rig.untilDelivered();
      assert.equal(rig.pool.members.get("picky")!.deadLetters.count, 1);
      assert.equal(rig.pool.members.get("good")!.deadLetters.count, 0);

      picky.script = undefined;
      const requeued = rig.pool.members.get("picky")!.requeue({});
      await rig.clock.advanceUntil(() => picky.payloads.length === 1);

      assert.equal(await requeued, 1);
      assert.deepEqual([picky.payloads, good.payloads], [["odd"], ["odd"]]);
    });
  });

  it("loses and mixes up nothing when many send at once (seed defect 21)", async () => {
    const transform = compile("jsonata", "payload + 0");
    await rig.open({}, { transform });
    const members = await Promise.all(["a", "b", "c"].map((id) => rig.add(id, new KeepingTarget())));

    const senders = upTo(4).map(async (sender) => {
      for (const n of upTo(300)) await rig.send(sender * 1_000 + n);
    });
    await Promise.all(senders);
    await rig.untilDelivered();

    for (const { payloads } of members) {
      assert.equal(payloads.length, 1_200);
      for (const sender of upTo(4)) {
        const own = payloads.filter((n) => Math.floor((n as number) / 1_000) === sender);
        assert.deepEqual(
          own,
          upTo(300).map((n) => sender * 1_000 + n),
        );
      }
    }
  });

  describe("with a transform", () => {
    it("runs it once for each record, however often that is sent (seed defect 13)", async () => {
      let runs = 0;
      const halve = compile("javascript", (payload) => {
        runs++;
        return (payload as number) / 2;
      });
      await rig.open({}, { transform: halve });
      const [a, b] = [new KeepingTarget(), Object.assign(new KeepingTarget(), { isUp: false })];
      await rig.add("a", a);
      await rig.add("b", b);
      await rig.send(1);
      await rig.clock.advance(60_000);
      await rig.open({}, { transform: halve });
      b.isUp = true;
      await rig.add("a", a);
      await rig.add("b", b);
      await rig.untilDelivered();

      assert.deepEqual([a.payloads, b.payloads, runs], [[0.5], [0.5], 1]);
    });

    it("leaves what the sender holds as it was, to the bottom (seed defect 31)", async () => {
      const transform = compile(
        "javascript",
        "payload.nested.list.push(4); payload.nested.name = 'changed'; return payload;",
      );
      await rig.open({}, { transform });
      const a = await rig.add("a", new KeepingTarget());
      const sent = { nested: { list: [1, 2, 3], name: "mine" } };

      await rig.send(sent);
      await rig.untilDelivered();

      assert.deepEqual(sent, { nested: { list: [1, 2, 3], name: "mine" } });
      assert.deepEqual(a.payloads, [{ nested: { list: [1, 2, 3, 4], name: "changed" } }]);
    });

    it("makes as many records of one as it returns, and counts those it leaves out", async () => {
      const transform = compile("javascript", "return payload === 0 ? undefined : Array(payload).fill(payload);");
      await rig.open({}, { transform });
      const a = await rig.add("a", new KeepingTarget());

      for (const n of [2, 0, 1]) await rig.send(n);
      await rig.untilDelivered();

      assert.deepEqual(a.payloads, [2, 2, 1]);
      assert.equal(rig.pool.queue.filtered, 1);
    });

    it("gives the error to the sender, keeps what was sent, and goes on", async () => {
      const transform = compile("javascript", "return payload.a.b;");
      await rig.open({}, { transform });
      const a = await rig.add("a", new KeepingTarget());

      const sending = rig.send({ broken: true });
      await rig.clock.advanceUntil(() => rig.pool.deadLetters.count === 1);
      const error = await sending;
      await rig.send({ a: { b: 1 } });
      await rig.untilDelivered();

      assert.equal((error as Error & { code: string }).code, "transform-failed");
      assert.deepEqual(a.payloads, [1]);
      for await (const { record } of rig.pool.deadLetters.letters()) assert.deepEqual(decode(record), { broken: true });
    });

    it("keeps a member that is away within its limit, though the transform gives its records only later", async () => {
      await rig.open({}, { transform: compile("jsonata", "payload") });
      await rig.add("a", Object.assign(new KeepingTarget(), { isUp: false }), { backlogRecords: 10 });

      await rig.send(upTo(100));

      assert.equal(rig.waiting("a"), 10);
    });

    it("closes although a run of it never ends, tells its sender, and keeps what came behind", async () => {
      const transform = compile("javascript", (payload) =>
        payload === "never" ? new Promise(() => undefined) : Promise.resolve(payload),
      );
      await rig.open({}, { transform });
      await rig.add("a", Object.assign(new KeepingTarget(), { isUp: false }));
      const errors = Promise.all(["never", 1, "never", 2].map((payload) => rig.send(payload)));

      let isClosed = false;
      void rig.close().then(() => (isClosed = true));
      await rig.clock.advanceUntil(() => isClosed);

      const codes = (await errors).map((error) => (error as { code?: string } | undefined)?.code);
      assert.deepEqual(codes, ["closed", undefined, "closed", undefined]);
      await rig.open();
      const a = await rig.add("a", new KeepingTarget());
      await rig.untilDelivered();
      assert.deepEqual(a.payloads, [1, 2]);
    });

    it("takes no more behind one that seems never to end, once a thousand wait, and goes on when it has ended", async () => {
      let end: (value: unknown) => void = () => undefined;
      const transform = compile("javascript", (payload) =>
        payload === "slow" ? new Promise((resolve) => (end = resolve)) : payload,
      );
      await rig.open({}, { transform });
      await rig.add("a", new KeepingTarget());
      const errors: unknown[] = [];
      const sent = ["slow", ...upTo(2_000)].map((payload) => rig.send(payload).then((error) => errors.push(error)));

      await rig.clock.advance(30_000);
      const refused = await rig.send("one more");
      assert.equal((refused as Error & { code: string }).code, "transform-stuck");

      end("slow at last");
      await Promise.all(sent);
      assert.deepEqual(new Set(errors), new Set([undefined]));
      assert.equal(await rig.send("afterwards"), undefined);
    });

    it("that fails for one item of an array and later for another is told once, and ends no process", async () => {
      const transform = compile("javascript", (payload) => {
        if (payload === "later") return Promise.reject(new Error("later"));
        throw new Error("now");
      });
      await rig.open({}, { transform });
      await rig.add("a", new KeepingTarget());

      const sending = rig.send(["later", "now"]);
      await rig.clock.advanceUntil(() => rig.pool.deadLetters.count === 1);

      assert.match(String(await sending), /The transform failed: now/);
      await new Promise((resolve) => setImmediate(resolve)); // a rejection that nobody hears fails the test by then
    });
  });

  describe("whose members change", () => {
    it("gives a new member what comes from now on, an old one what it had not", async () => {
      const [a, b] = [new KeepingTarget(), Object.assign(new KeepingTarget(), { isUp: false })];
      await rig.add("a", a);
      await rig.add("b", b);
      await rig.send(1);
      await rig.pool.releaseMember("b");
      await rig.send(2);
      const c = await rig.add("c", new KeepingTarget());
      await rig.send(3);

      assert.deepEqual([...rig.pool.orphans], [["b", 3]]);
      b.isUp = true;
      await rig.add("b", b);
      await rig.untilDelivered();

      assert.deepEqual([a.payloads, b.payloads, c.payloads], [[1, 2, 3], [1, 2, 3], [3]]);
      assert.equal(rig.pool.orphans.size, 0);
    });

    it("keeps the place of a member that was reserved before it could be opened", async () => {
      rig.pool.reserve("late");
      await rig.send(1);
      const late = await rig.add("late", new KeepingTarget());
      await rig.untilDelivered();

      assert.deepEqual(late.payloads, [1]);
    });

    it("takes a member when it is added again whose target could not be made at first, with all that came since", async () => {
      const options = { id: "a", flush: DEFAULT_FLUSH };
      const broken = (): never => {
        throw new Error("no such driver");
      };
      await assert.rejects(rig.pool.addMember({ ...options, target: broken }), /no such driver/);
      await rig.send(1);

      const a = await rig.add("a", new KeepingTarget());
      await rig.send(2);
      await rig.untilDelivered();

      assert.deepEqual(a.payloads, [1, 2]);
    });

    it("takes one that is added twice for one", async () => {
      const a = await rig.add("a", new KeepingTarget());
      await rig.add("a", a);
      await rig.send(1);
      await rig.untilDelivered();

      assert.deepEqual([a.payloads, rig.pool.members.size], [[1], 1]);
    });

    it("frees the disk when an orphan is forgotten, and not before", async () => {
      const a = await rig.add("a", new KeepingTarget());
      await rig.add("b", Object.assign(new KeepingTarget(), { isUp: false }));
      for (const n of upTo(1_000)) rig.pool.send(n, {}, () => undefined);
      await rig.clock.advanceUntil(() => a.payloads.length === 1_000);
      await rig.pool.releaseMember("b");
      await rig.pool.queue.log.sync();
      assert.ok(rig.pool.queue.log.diskBytes > 0);

      await rig.pool.forgetMember("b");
      await rig.pool.queue.log.sync();

      assert.deepEqual([rig.pool.queue.log.diskBytes, rig.pool.orphans.size], [0, 0]);
    });

    it("lets one take over what another has left: all of it, and nothing that it had already", async () => {
      const gone = Object.assign(new KeepingTarget(), { isUp: false });
      await rig.add("a", new KeepingTarget());
      await rig.add("old", gone);
      for (const n of upTo(3)) await rig.send(n, mergeRoutings([["old", { file: "from-old" }]]));
      await rig.pool.releaseMember("old");
      const heir = await rig.add("heir", new KeepingTarget());
      for (const n of upTo(6, 3)) await rig.send(n);
      await rig.untilDelivered();
      await rig.open();
      await rig.add("a", new KeepingTarget());
      await rig.add("heir", heir);

      const taken = rig.pool.adoptOrphan("old", "heir");
      await rig.clock.advanceUntil(() => heir.payloads.length === 6);
      await rig.untilDelivered();

      assert.equal(await taken, 3);
      assert.deepEqual(heir.payloads, [3, 4, 5, 0, 1, 2]);
      assert.equal(heir.routings.at(-1)?.["file"], "from-old");
      assert.ok([...heir.attempts.values()].every((count) => count === 1));
      await rig.pool.queue.log.sync();
      assert.deepEqual([rig.pool.queue.log.diskBytes, rig.pool.orphans.size], [0, 0]);
    });

    it("gives a member that was there all along nothing twice when it takes over", async () => {
      const a = await rig.add("a", new KeepingTarget());
      await rig.add("old", Object.assign(new KeepingTarget(), { isUp: false }));
      for (const n of upTo(3)) await rig.send(n);
      await rig.clock.advanceUntil(() => a.payloads.length === 3);
      await rig.pool.releaseMember("old");

      assert.equal(await rig.pool.adoptOrphan("old", "a"), 0);
      await rig.send(3);
      await rig.untilDelivered();
      assert.deepEqual(a.payloads, upTo(4));
      assert.ok([...a.attempts.values()].every((count) => count === 1));
    });
  });

  it("shows each member its own part of the routing, and what is for all", async () => {
    const [a, b] = [await rig.add("a", new KeepingTarget()), await rig.add("b", new KeepingTarget())];
    await rig.send(
      1,
      mergeRoutings([
        ["a", { file: "a.txt", topic: "attic" }],
        ["b", { file: "b.txt", topic: "attic" }],
      ]),
    );
    await rig.untilDelivered();

    assert.deepEqual(a.routings, [{ topic: "attic", file: "a.txt" }]);
    assert.deepEqual(b.routings, [{ topic: "attic", file: "b.txt" }]);
  });

  describe("that must not grow", () => {
    const LIMITED = { backlogRecords: 10 } as const;

    for (const [overflow, kept] of [
      ["dropOldest", upTo(30, 20)],
      ["dropNewest", upTo(10)],
      ["refuse", upTo(10)],
    ] as const) {
      it(`drops for a member that is away, and for it alone, what its own limit does not hold (${overflow})`, async () => {
        const [a, away] = [new KeepingTarget(), Object.assign(new KeepingTarget(), { isUp: false })];
        await rig.add("a", a);
        await rig.add("away", away, { ...LIMITED, overflow });

        const errors = await Promise.all(upTo(30).map((n) => rig.send(n)));
        await rig.clock.advanceUntil(() => a.payloads.length === 30);
        away.isUp = true;
        await rig.untilDelivered();

        assert.ok(errors.every((error) => error === undefined));
        assert.deepEqual(a.payloads, upTo(30));
        assert.deepEqual(away.payloads, kept);
        assert.equal(rig.pool.statuses().get("away")?.dropped, 20);
        assert.equal(rig.pool.statuses().get("a")?.dropped, 0);
      });
    }

    it("drops for a member that is away what has become too old for it, and for it alone", async () => {
      const [a, away] = [new KeepingTarget(), Object.assign(new KeepingTarget(), { isUp: false })];
      await rig.add("a", a);
      await rig.add("away", away, { backlogAgeMs: 60_000 });
      await rig.send(1);
      await rig.clock.advanceUntil(() => rig.waiting("away") === 0);
      await rig.send(2);
      away.isUp = true;
      await rig.untilDelivered();

      assert.deepEqual([a.payloads, away.payloads], [[1, 2], [2]]);
      assert.equal(rig.pool.statuses().get("away")?.dropped, 1);
    });

    it("never refuses a record because one member is away, though its limit says refuse", async () => {
      await rig.open({ ...LIMITED, overflow: "refuse" });
      const [a, away] = [new KeepingTarget(), Object.assign(new KeepingTarget(), { isUp: false })];
      await rig.add("a", a);
      await rig.add("away", away);

      const errors: unknown[] = [];
      for (const n of upTo(50)) {
        errors.push(await rig.send(n));
        await rig.clock.advanceUntil(() => a.payloads.length === n + 1);
      }

      assert.deepEqual(
        errors.filter((error) => error !== undefined),
        [],
      );
      assert.deepEqual(a.payloads, upTo(50));
      assert.ok(rig.waiting("away") <= 10, `${rig.waiting("away")} wait`);
    });
  });

  it("tells a sender who waits for delivery when all members have it; one that has left does not count", async () => {
    await rig.open({ durability: "delivered" });
    const [a, b] = [new KeepingTarget(), Object.assign(new KeepingTarget(), { isUp: false })];
    await rig.add("a", a);
    await rig.add("b", b);
    await rig.add("gone", Object.assign(new KeepingTarget(), { isUp: false }));
    await rig.pool.releaseMember("gone");
    let isTold = false;
    const sending = rig.send(1).then(() => (isTold = true));
    await rig.clock.advanceUntil(() => a.payloads.length === 1);
    assert.equal(isTold, false);

    b.isUp = true;
    await rig.clock.advanceUntil(() => isTold);
    await sending;
  });

  it("goes on for the others at full pace while one member is ten thousands of records behind", async () => {
    const random = seededRandom(1);
    const [a, away] = [new KeepingTarget(), Object.assign(new KeepingTarget(), { isUp: false })];
    await rig.add("a", a);
    await rig.add("away", away);
    for (let n = 0; n < 20_000; n++) {
      rig.pool.send({ n, value: random() }, {}, () => undefined);
      if (n % 1_000 === 999) await rig.clock.advance(500);
    }
    await rig.clock.advanceUntil(() => a.payloads.length === 20_000);

    assert.equal(rig.waiting("away"), 20_000);
    assert.ok(rig.runtime.used.memoryBytes < rig.runtime.budgets.memoryBytes);
    away.isUp = true;
    await rig.untilDelivered();
    assert.equal(away.payloads.length, 20_000);
  });
});

function byNumber(a: unknown, b: unknown): number {
  return (a as number) - (b as number);
}
