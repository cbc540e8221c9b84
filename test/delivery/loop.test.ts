import assert from "node:assert/strict";
import type { LogRecord } from "../../src/record.js";
import { TargetConfigError, TargetUnavailableError } from "../../src/targets/target.js";
import type { Answer, Outcome } from "../../src/targets/target.js";
import { ascending, DeliveryRig } from "../support/delivery-rig.js";
import type { RigOptions } from "../support/delivery-rig.js";
import { settle } from "../support/fake-clock.js";
import { recordOf } from "../support/memory-source.js";
import type { ScriptedTarget } from "../support/scripted-target.js";

const DAY_MS = 86_400_000;
const REJECTED: Outcome = { kind: "rejected", cause: { code: "121", message: "this document fails validation" } };
const RETRY: Outcome = { kind: "retry", cause: new Error("write conflict") };
const RETRY_ALONE: Outcome = { kind: "retry", cause: new Error("an error nobody knows"), alone: true };

function to(destination: string): { routing: { to: string } } {
  return { routing: { to: destination } };
}

/** Stores what `judge` has no other outcome for. */
function judged(
  target: ScriptedTarget,
  batch: readonly LogRecord[],
  judge: (record: LogRecord) => Outcome | undefined,
): Answer {
  return { outcomes: batch.map((record) => judge(record) ?? target.store([record])[0]!) };
}

describe("Delivery", () => {
  let rigs: DeliveryRig[] = [];

  function rig(options?: RigOptions): DeliveryRig {
    const made = new DeliveryRig(options);
    rigs.push(made);
    return made;
  }

  afterEach(async () => {
    for (const made of rigs) {
      await made.close();
      assert.equal(made.clock.pendingTimers, 0, "a timer is left after close");
      assert.equal(made.source.taken, 0, "records are held after close");
    }
    rigs = [];
  });

  describe("in good times", () => {
    it("delivers everything in order and confirms it", async () => {
      const { source, target, append, drain } = bound(rig());
      const offsets = append(5_000);

      await drain();

      assert.deepEqual(target.arrived, offsets);
      assert.equal(source.backlog().records, 0);
    });

    it("lets a few records wait a tenth of a second for company, and no longer", async () => {
      const { target, clock, append } = bound(rig());
      await settle();
      append(1);
      await clock.advance(50);
      append(1);
      await clock.advance(49);
      assert.equal(target.offered.length, 0);

      await clock.advance(2);

      assert.deepEqual(target.offered, [[0, 1]]);
    });

    it("sends a full batch at once", async () => {
      const { target, clock, append } = bound(rig());
      append(20_000);

      await clock.advance(0);

      // What is left is no full batch any more.
      assert.ok(target.arrived.length > 15_000, `${target.arrived.length} arrived`);
    });

    it("never mixes destinations in one batch", async () => {
      const { target, append, drain } = bound(rig());
      append(300, (n) => to(String(n % 3)));

      await drain();

      for (const batch of target.offered) assert.equal(new Set(batch.map((n) => n % 3)).size, 1);
      assert.equal(target.arrived.length, 300);
    });

    it("keeps to the user's limits and the target's ceilings, and still sends a record that is larger than both", async () => {
      const { target, append, drain } = bound(
        rig({ settings: { batchRecords: 50, batchBytes: 1_000 }, traits: { maxBatchRecords: 20 } }),
      );
      append(100);
      append(1, { payload: "x".repeat(5_000) });

      await drain();

      assert.ok(target.offered.every((batch) => batch.length <= 20));
      assert.equal(target.arrived.length, 101);
    });

    it("counts what was there already as a duplicate", async () => {
      const { target, delivery, append, drain } = bound(rig());
      target.store([recordOf(0), recordOf(1)]);
      append(3);

      await drain();

      assert.equal(delivery.status.counters.duplicates, 2);
      assert.equal(delivery.status.counters.delivered, 1);
    });

    it("sends no more than the bytes per second that the user allows", async () => {
      const { target, clock, append } = bound(rig({ settings: { bytesPerSecond: 1_000, batchBytes: 1_024 } }));
      append(100, { payload: "x".repeat(98) });

      await clock.advance(5_000);

      assert.ok(target.arrived.length >= 50 && target.arrived.length <= 62, `${target.arrived.length} in 5 s`);
    });
  });

  describe("when some records fail", () => {
    it("sends again only those that failed, and does not hold back the rest", async () => {
      const { target, source, clock, append, drain } = bound(rig());
      let failures = 1;
      target.script = (batch) => judged(target, batch, (r) => (r.offset === 3 && failures-- > 0 ? RETRY : undefined));
      append(10);
      await clock.advance(150);
      assert.deepEqual(ascending(source.confirmed), [0, 1, 2, 4, 5, 6, 7, 8, 9]);
      append(5);

      await drain();

      assert.equal(target.offered.filter((batch) => batch.includes(4)).length, 1);
      assert.equal(target.offered.filter((batch) => batch.includes(3)).length, 2);
      assert.equal(target.arrived.length, 15);
    });

    it("goes on with new records although the user allows one batch and that one waits for its retry", async () => {
      const { target, source, clock, append } = bound(rig({ settings: { concurrency: 1, backoffMinMs: 60_000 } }));
      target.script = (batch) => judged(target, batch, (r) => (r.offset === 0 ? RETRY : undefined));
      append(1);
      await clock.advance(200);
      append(10);

      await clock.advance(200);

      assert.equal(source.confirmed.length, 10);
      assert.equal(target.mostInFlight, 1);
    });

    it("overtakes nothing under strict order", async () => {
      const { target, append, drain } = bound(rig({ settings: { strictOrder: true, batchRecords: 64 } }));
      let failures = 5;
      target.script = (batch) => {
        if (batch.some((r) => r.offset === 40) && failures-- > 0) return { outcomes: batch.map(() => RETRY) };
        return { outcomes: target.store(batch) };
      };
      const offsets = append(200);

      await drain();

      assert.deepEqual(target.arrived, offsets);
      assert.equal(target.mostInFlight, 1);
    });

    it("overtakes nothing under strict order although a batch had to be split", async () => {
      const { target, append, drain } = bound(rig({ settings: { strictOrder: true } }));
      let failures = 3;
      target.script = (batch) => {
        const cause = { code: "too-large", message: "too large" };
        if (batch.length > 10) return { outcomes: batch.map(() => RETRY), consequence: { kind: "split", cause } };
        if (batch[0]!.offset === 0 && failures-- > 0) return { outcomes: batch.map(() => RETRY) };
        return { outcomes: target.store(batch) };
      };
      const offsets = append(40);

      await drain();

      assert.deepEqual(target.arrived, offsets);
    });

    it("puts one poisoned record among ten thousand into the dead letters, with its reason, and delivers the others", async () => {
      const { target, dead, append, drain } = bound(rig());
      target.script = (batch) => judged(target, batch, (r) => (r.offset === 4_321 ? REJECTED : undefined));
      append(10_000);

      await drain();

      assert.equal(target.arrived.length, 9_999);
      assert.deepEqual(dead, [{ offset: 4_321, rejection: REJECTED.kind === "rejected" && REJECTED.cause }]);
    });

    it("confirms a rejected record only when the dead letters have it", async () => {
      const made = rig();
      const { target, source, clock, append, kinds } = bound(made);
      made.deadLettersError = new Error("no space left on device");
      target.script = (batch) => judged(target, batch, (r) => (r.offset === 1 ? REJECTED : undefined));
      append(3);
      await clock.advance(60_000);
      assert.deepEqual(source.confirmed, [0, 2]);
      assert.ok(kinds().includes("setAsideFailed"));

      made.deadLettersError = undefined;
      await made.drain();

      assert.deepEqual(source.confirmed, [0, 2, 1]);
      assert.equal(made.dead.length, 1);
    });

    it("tries a record with an unknown error alone, five times, and then rejects it", async () => {
      const { target, dead, append, drain } = bound(rig());
      target.script = (batch) => judged(target, batch, (r) => (r.offset === 2 ? RETRY_ALONE : undefined));
      append(5);

      await drain();

      assert.equal(target.offered.filter((batch) => batch.length === 1 && batch[0] === 2).length, 5);
      assert.deepEqual(dead, [{ offset: 2, rejection: { code: "unknown", message: "an error nobody knows" } }]);
    });

    it("bisects a batch that is too large, and rejects the record that is too large by itself", async () => {
      const { target, dead, delivery, append, drain } = bound(rig());
      target.script = (batch) => {
        if (batch.every((r) => r.offset !== 13) && batch.length <= 8) return { outcomes: target.store(batch) };
        const cause = { code: "too-large", message: "larger than the target takes", statusCode: 413 };
        return { outcomes: batch.map(() => RETRY), consequence: { kind: "split", cause } };
      };
      append(40);

      await drain();

      assert.deepEqual(
        dead.map((one) => one.offset),
        [13],
      );
      assert.equal(target.arrived.length, 39);
      assert.ok(target.offered.length < 40, `${target.offered.length} requests`);
      assert.ok(delivery.status.batch.bytes < 200, "the limit was not learnt");
    });
  });

  describe("when a target asks for less", () => {
    it("halves the batch and leaves it alone for as long as it asks", async () => {
      const { target, delivery, clock, append } = bound(rig());
      let throttles = 1;
      target.script = (batch) =>
        throttles-- > 0
          ? {
              outcomes: batch.map(() => RETRY),
              consequence: { kind: "throttle", cause: new Error("429"), retryAfterMs: 20_000 },
            }
          : { outcomes: target.store(batch) };
      const before = delivery.status.batch.records;
      append(500);
      await clock.advance(19_900);
      assert.equal(target.offered.length, 1);
      assert.equal(delivery.status.batch.records, Math.ceil(before / 2));
      assert.equal(delivery.status.circuit.kind, "closed");
      assert.equal(delivery.status.isThrottled, true);

      await clock.advance(2_000);

      assert.equal(target.arrived.length, 500);
      assert.equal(delivery.status.isThrottled, false);
    });

    it("lets a destination that is held wait, keeps none of its records in memory, and goes on with the others", async () => {
      const { target, source, delivery, clock, append, kinds, drain } = bound(rig());
      let isReadOnly = true;
      target.script = (batch) =>
        isReadOnly && batch[0]!.routing["to"] === "a"
          ? { outcomes: batch.map(() => RETRY), consequence: { kind: "hold", cause: new Error("index is read-only") } }
          : { outcomes: target.store(batch) };
      append(2_000, (n) => to(n % 2 === 0 ? "a" : "b"));
      await clock.advance(10 * 60_000);
      append(100, to("b"));
      await clock.advance(1_000);
      assert.equal(source.confirmed.length, 1_100);
      assert.equal(source.taken, 0);
      assert.deepEqual(
        delivery.status.held.map((held) => held.cause.message),
        ["index is read-only"],
      );
      const offers = target.offered.length;
      assert.ok(offers < 100, `${offers} offers in ten minutes`);

      isReadOnly = false;
      await drain();

      assert.equal(target.arrived.length, 2_100);
      assert.deepEqual(delivery.status.held, []);
      assert.deepEqual(kinds(), ["opened", "held", "letGo"]);
    });
  });

  it("lets others go on although the log cannot pass over records, once those that are held let them", async () => {
    const made = rig({
      before: ({ source }) => {
        const take = source.take.bind(source);
        source.take = ({ records, bytes }, signal) => take({ records, bytes }, signal);
      },
    });
    const { target, append, drain } = bound(made);
    let isReadOnly = true;
    target.script = (batch) =>
      isReadOnly && batch[0]!.routing["to"] === "a"
        ? { outcomes: batch.map(() => RETRY), consequence: { kind: "hold", cause: new Error("index is read-only") } }
        : { outcomes: target.store(batch) };
    append(200, (n) => to(n % 2 === 0 ? "a" : "b"));
    await made.clock.advance(60_000);
    assert.equal(target.arrived.length, 100);
    assert.ok(target.offered.length < 40, `${target.offered.length} offers`);

    isReadOnly = false;
    await drain();

    assert.equal(target.arrived.length, 200);
  });

  describe("when everything is rejected for one reason", () => {
    it("holds the destination instead of emptying the backlog into the dead letters", async () => {
      const { target, dead, source, delivery, clock, append, drain } = bound(rig());
      let isWrong = true;
      target.script = (batch) => judged(target, batch, () => (isWrong ? REJECTED : undefined));
      append(1_000);
      await clock.advance(30 * 60_000);
      assert.equal(dead.length, 0);
      assert.equal(source.backlog().records, 1_000);
      assert.equal(delivery.status.held[0]?.byGuard, true);
      assert.match(delivery.status.held[0].cause.message, /fails validation/);

      isWrong = false;
      await drain();

      assert.equal(target.arrived.length, 1_000);
    });

    it("notices it too when the first records come one by one", async () => {
      const { target, dead, clock, append } = bound(rig());
      target.script = (batch) => judged(target, batch, () => REJECTED);
      for (let i = 0; i < 100; i++) {
        append(1);
        await clock.advance(1_000);
      }

      assert.equal(dead.length, 19);
    });

    it("believes the target when the user has switched the guard off", async () => {
      const { target, dead, append, drain } = bound(rig({ settings: { rejectGuard: undefined } }));
      target.script = (batch) => judged(target, batch, () => REJECTED);
      append(100);

      await drain();

      assert.equal(dead.length, 100);
    });
  });

  describe("when the target is away", () => {
    it("tells once that it is back, though it was away from the start", async () => {
      const { target, clock, append, drain, kinds } = bound(rig({ before: (parts) => (parts.target.isUp = false) }));
      append(1);
      await clock.advance(60_000);

      target.isUp = true;
      await drain();

      assert.deepEqual(kinds(), ["circuitOpened", "circuitClosed"]);
    });

    it("loses and drops nothing in an outage of a week", async () => {
      const { target, source, dead, clock, append, drain, delivery } = bound(
        rig({ before: (parts) => (parts.target.isUp = false) }),
      );
      for (let day = 0; day < 7; day++) {
        append(1_000);
        await clock.advance(DAY_MS);
      }
      assert.equal(source.backlog().records, 7_000);
      const looks = target.opened + target.probes;
      assert.ok(looks > 7 * 24 * 12 && looks < 7 * 24 * 60, `${looks} looks in a week`);

      target.isUp = true;
      await drain();

      assert.deepEqual(target.arrived, ascending(target.arrived));
      assert.equal(target.arrived.length, 7_000);
      assert.deepEqual([dead.length, delivery.status.counters.dropped], [0, 0]);
    });

    it("comes back with one small batch", async () => {
      const { target, clock, append, drain } = bound(rig());
      append(1_000);
      await drain();
      target.isUp = false;
      append(5_000);
      await clock.advance(60_000);
      const before = target.offered.length;

      target.isUp = true;
      await drain();

      const sizes = target.offered.slice(before).map((batch) => batch.length);
      assert.ok(sizes[0]! <= 32, `${sizes[0]} records first`);
      assert.ok(Math.max(...sizes) > 200, `never more than ${Math.max(...sizes)}`);
    });

    it("loses and doubles nothing, and stays quiet in the log, while the target flaps every second for an hour", async () => {
      const { target, clock, append, drain, logged } = bound(rig());
      for (let second = 0; second < 3_600; second++) {
        target.isUp = second % 2 === 0;
        append(10);
        await clock.advance(1_000);
      }
      target.isUp = true;

      await drain();

      assert.equal(target.arrived.length, 36_000);
      assert.equal(new Set(target.arrived).size, 36_000);
      const lastMs = new Map<string, number>();
      for (const { atMs, event } of logged) {
        const cause = `${event.kind} ${"cause" in event && event.cause !== undefined ? event.cause.message : ""}`;
        const sinceMs = atMs - (lastMs.get(cause) ?? -Infinity);
        assert.ok(sinceMs >= 60_000, `${cause}: again after ${sinceMs} ms`);
        lastMs.set(cause, atMs);
      }
      assert.ok(logged.length <= 61 * 3, `${logged.length} lines in an hour`);
    });

    it("leaves what only the user can mend alone for long, and says that it is a setting", async () => {
      const made = rig({
        before: ({ target }) => {
          target.open = async () => {
            target.opened++;
            throw new TargetConfigError("the login is refused");
          };
        },
      });
      const { target, clock, delivery, append } = bound(made);
      append(10);

      await clock.advance(3_600_000);
      delivery.nudge();

      assert.ok(target.opened >= 12 && target.opened <= 25, `${target.opened} tries in an hour`);
      assert.deepEqual(made.events[0], {
        kind: "circuitOpened",
        cause: new TargetConfigError("the login is refused"),
        isConfig: true,
      });
    });

    it("waits as long as the target asks before it looks again", async () => {
      const { target, clock, append } = bound(rig());
      await settle();
      target.script = () => new TargetUnavailableError("down for maintenance", { retryAfterMs: 600_000 });
      append(1);
      await clock.advance(590_000);

      assert.equal(target.probes, 0);
    });

    it("treats an answer that does not fit the batch as no answer", async () => {
      const { target, delivery, clock, append, drain } = bound(rig());
      target.script = () => ({ outcomes: [] });
      append(10);
      await clock.advance(200);
      assert.equal(delivery.status.circuit.kind, "open");
      assert.equal(delivery.status.lastError?.code, "bad-answer");

      target.script = undefined;
      await drain();

      assert.equal(target.arrived.length, 10);
    });

    for (const [what, answer] of [
      ["nothing", null],
      ["no outcomes", {}],
      ["outcomes of nothing", { outcomes: [null, undefined] }],
      ["an outcome of an unknown kind", { outcomes: [{ kind: "delivered" }, { kind: "done" }] }],
      ["a rejection without a cause", { outcomes: [{ kind: "delivered" }, { kind: "rejected" }] }],
    ] as const) {
      it(`keeps all of a batch, says so and goes on when a target of one's own answers ${what}`, async () => {
        const { target, clock, append, delivery, drain } = bound(rig());
        target.deliver = () => Promise.resolve(answer as never);
        append(2);
        await clock.advance(1_000);
        assert.equal(delivery.status.lastError?.code, "bad-answer");
        assert.equal(delivery.status.counters.delivered, 0);

        Reflect.deleteProperty(target, "deliver"); // its own again
        await drain();

        assert.equal(delivery.status.counters.delivered, 2);
      });
    }

    it("survives a target that throws what no target should throw", async () => {
      const { target, delivery, clock, append, drain } = bound(rig());
      target.script = () => new TypeError("undefined is not a function");
      append(10);
      await clock.advance(200);
      assert.match(delivery.status.lastError?.message ?? "", /undefined is not a function/);

      target.script = undefined;
      await drain();

      assert.equal(target.arrived.length, 10);
    });

    it("shows no login that such an error may carry", async () => {
      const { target, delivery, clock, append } = bound(rig());
      target.script = () => new Error("cannot parse mongodb://me:secret@example.org/db");
      append(1);

      await clock.advance(200);

      assert.match(delivery.status.lastError?.message ?? "", /mongodb:\/\/\*\*\*@example\.org\/db/);
    });

    it("looks earlier when a record comes in, but not for every one", async () => {
      const { target, clock, delivery, append } = bound(rig({ before: (parts) => (parts.target.isUp = false) }));
      await clock.advance(3_600_000);
      const before = target.opened;

      for (let second = 0; second < 600; second++) {
        append(1);
        delivery.nudge();
        await clock.advance(1_000);
      }

      const looks = target.opened - before;
      assert.ok(looks >= 10 && looks <= 21, `${looks} looks in ten minutes`);
    });
  });

  describe("with live first", () => {
    it("sends new records at once, and the backlog as a share beside them", async () => {
      const { target, source, clock, append } = bound(
        rig({ settings: { liveFirst: true, batchRecords: 100, concurrency: 1 } }),
      );
      target.script = async (batch) => {
        await new Promise<void>((resolve) => clock.after(100, resolve));
        return { outcomes: target.store(batch) };
      };
      append(10_000);
      source.liveFrom = 10_000;
      let fresh = 0;
      for (let second = 0; second < 10; second++) {
        append(10);
        await clock.advance(1_000);
        fresh = target.arrived.filter((n) => n >= 10_000).length;
        assert.ok(fresh >= second * 10, `${fresh} new ones after ${second} s`);
      }

      assert.ok(target.arrived.length - fresh > 100, "the backlog did not move");
    });

    it("keeps to the order of acceptance under strict order", async () => {
      const { target, source, append, drain } = bound(rig({ settings: { liveFirst: true, strictOrder: true } }));
      const offsets = append(3_000);
      source.liveFrom = 2_000;

      await drain();

      assert.deepEqual(target.arrived, offsets);
    });
  });

  describe("with sending on request", () => {
    const settings = { sending: "onRequest" } as const;

    it("sends nothing before it is asked, and then all that waits", async () => {
      const { target, delivery, clock, append } = bound(rig({ settings }));
      append(2_500);
      await clock.advance(3_600_000);
      assert.equal(target.opened + target.offered.length, 0);

      const flushed = delivery.flush();
      await clock.advance(10);

      assert.deepEqual(await flushed, {
        end: "tried",
        delivered: 2_500,
        duplicates: 0,
        rejected: 0,
        dropped: 0,
        waiting: 0,
      });
    });

    it("ends as soon as the target is down, keeping everything", async () => {
      const { delivery, clock, append } = bound(rig({ settings, before: (parts) => (parts.target.isUp = false) }));
      append(100);

      const flushed = delivery.flush();
      await clock.advance(0);

      const { end, delivered, waiting } = await flushed;
      assert.deepEqual({ end, delivered, waiting }, { end: "unavailable", delivered: 0, waiting: 100 });
    });

    it("ends although a record fails each time, and does not try that one for ever", async () => {
      const { target, source, delivery, clock, append } = bound(rig({ settings }));
      target.script = (batch) => judged(target, batch, (r) => (r.offset === 7 ? RETRY : undefined));
      append(50);

      const flushed = delivery.flush();
      await clock.advance(60_000);

      assert.deepEqual(await flushed, {
        end: "tried",
        delivered: 49,
        duplicates: 0,
        rejected: 0,
        dropped: 0,
        waiting: 1,
      });
      assert.equal(source.taken, 0);
      assert.equal(target.offered.length, 1);
    });

    it("ends although a destination is held", async () => {
      const { target, delivery, clock, append } = bound(rig({ settings }));
      target.script = (batch) =>
        batch[0]!.routing["to"] === "a"
          ? { outcomes: batch.map(() => RETRY), consequence: { kind: "hold", cause: new Error("read-only") } }
          : { outcomes: target.store(batch) };
      append(500, (n) => to(n % 2 === 0 ? "a" : "b"));

      const flushed = delivery.flush();
      await clock.advance(5_000);

      const { end, delivered, waiting } = await flushed;
      assert.deepEqual({ end, delivered, waiting }, { end: "tried", delivered: 250, waiting: 250 });
    });

    it("does not wait for records that come in meanwhile", async () => {
      const { target, delivery, clock, append } = bound(rig({ settings }));
      target.script = async (batch) => {
        append(batch.length);
        return { outcomes: target.store(batch) };
      };
      append(1_000);

      const flushed = delivery.flush();
      await clock.advance(1_000);

      assert.equal((await flushed).end, "tried");
    });
  });

  describe("when the user does not want to keep what is unsent", () => {
    const settings = { keepUnsent: false };

    it("sends each record once, and drops and counts what was not delivered", async () => {
      const { target, delivery, events, append, drain } = bound(rig({ settings }));
      target.script = (batch) => judged(target, batch, (r) => (r.offset % 10 === 0 ? RETRY : undefined));
      append(100);

      await drain();

      assert.equal(target.arrived.length, 90);
      assert.equal(delivery.status.counters.dropped, 10);
      assert.equal(new Set(target.offered.flat()).size, target.offered.flat().length);
      assert.ok(events.some((event) => event.kind === "dropped" && event.records > 0));
    });

    it("drops what comes in while the target is away, and delivers again when it is back", async () => {
      const { target, delivery, source, clock, append, drain } = bound(rig({ settings }));
      await settle();
      target.isUp = false;
      append(100);
      await clock.advance(1_000);
      append(100);
      await clock.advance(1_000);
      assert.equal(source.backlog().records, 0);
      assert.equal(delivery.status.counters.dropped, 200);

      target.isUp = true;
      await clock.advance(600_000);
      append(10);
      await drain();

      assert.equal(target.arrived.length, 10);
    });
  });

  describe("with an age at which to give up", () => {
    const settings = { giveUpAfterMs: 3_600_000 };

    it("puts records that are too old into the dead letters while the target is away, and keeps the young ones", async () => {
      const { dead, source, clock, append } = bound(rig({ settings, before: (parts) => (parts.target.isUp = false) }));
      append(100);
      await clock.advance(3_000_000);
      append(50);
      await clock.advance(1_200_000);

      assert.equal(dead.length, 100);
      assert.equal(dead[0]?.rejection.code, "gave-up");
      assert.equal(source.backlog().records, 50);
    });

    it("keeps them in the log when the dead letters fail", async () => {
      const made = rig({ settings, before: (parts) => (parts.target.isUp = false) });
      made.deadLettersError = new Error("no space left on device");
      made.append(100);

      await made.clock.advance(7_200_000);

      assert.equal(made.source.untaken, 100);
      assert.equal(made.delivery.status.lastError !== undefined, true);
    });

    it("delivers an old record that can be delivered", async () => {
      const { target, dead, append, drain } = bound(rig({ settings }));
      append(10, { acceptedAtMs: 0 });

      await drain();

      assert.equal(target.arrived.length, 10);
      assert.equal(dead.length, 0);
    });
  });

  describe("at its end", () => {
    it("closes in three seconds although the target holds on to a batch, and gives the records back", async () => {
      const { target, source, delivery, clock, append } = bound(rig());
      target.script = () => new Promise<Answer>(() => {});
      append(10);
      await clock.advance(200);
      assert.equal(source.taken, 10);

      const closed = delivery.close();
      await clock.advance(3_000);

      await closed;
      assert.equal(source.untaken, 10);
    });

    it("does not listen to an answer that comes after the close", async () => {
      const { target, source, delivery, clock, append, kinds } = bound(rig());
      let answer = (): void => {};
      target.script = (batch) => new Promise((resolve) => (answer = () => resolve({ outcomes: target.store(batch) })));
      append(10);
      await clock.advance(200);
      const closed = delivery.close();
      await clock.advance(3_000);
      await closed;

      answer();
      await settle();

      assert.equal(source.untaken, 10);
      assert.deepEqual(source.confirmed, []);
      assert.deepEqual(kinds(), ["opened"]);
    });

    it("does not call a target unavailable because it lets go when it is told to", async () => {
      const { target, source, delivery, clock, append, kinds } = bound(rig());
      await settle();
      target.mute();
      append(10);
      await clock.advance(200);

      await delivery.close();

      assert.equal(source.untaken, 10);
      assert.deepEqual(kinds(), ["opened"]);
    });

    it("closes once, however often it is asked, and answers all who asked", async () => {
      const { target, delivery } = bound(rig());

      await Promise.all([delivery.close(), delivery.close()]);
      await delivery.close();

      assert.equal(target.closed, 1);
    });

    it("keeps what is unconfirmed when it is closed between two attempts", async () => {
      const { target, source, delivery, clock, append } = bound(rig());
      target.script = (batch) => judged(target, batch, (r) => (r.offset < 5 ? RETRY : undefined));
      append(10);
      await clock.advance(200);

      await delivery.close();

      assert.equal(source.untaken, 5);
      assert.equal(source.confirmed.length, 5);
    });

    it("stops taking when paused, and goes on when resumed", async () => {
      const { target, delivery, clock, append, drain } = bound(rig());
      delivery.pause();
      append(100);
      await clock.advance(60_000);
      assert.equal(target.offered.length, 0);

      delivery.resume();
      await drain();

      assert.equal(target.arrived.length, 100);
    });
  });

  describe("with a target that resumes", () => {
    it("confirms what the target finds in itself, and delivers the rest", async () => {
      const { target, source, delivery, drain } = bound(
        rig({
          traits: { resumes: true, ordered: true },
          before: ({ target, source }) => {
            source.append(...Array.from({ length: 10 }, (_, n) => recordOf(n)));
            target.open = async (_signal, resume) => {
              for await (const record of resume!.records()) {
                if (record.offset === 4) return resume!.confirm(record, Buffer.from("after 4"));
              }
            };
          },
        }),
      );

      await drain();

      assert.deepEqual(target.arrived, [5, 6, 7, 8, 9]);
      assert.equal(source.state?.toString(), "after 4");
      assert.equal(delivery.status.counters.duplicates, 5);
    });

    it("sends nothing of what it has found although that cannot be read at once", async () => {
      const { target, delivery, drain } = bound(
        rig({
          traits: { resumes: true, ordered: true },
          before: ({ target, source }) => {
            source.append(...Array.from({ length: 10 }, (_, n) => recordOf(n)));
            const take = source.take.bind(source);
            let failures = 2;
            source.take = (...given) => (failures-- > 0 ? Promise.reject(new Error("EIO")) : take(...given));
            target.open = async (_signal, resume) => {
              for await (const record of resume!.records()) {
                if (record.offset === 4) return resume!.confirm(record, Buffer.from("after 4"));
              }
            };
          },
        }),
      );

      await drain();

      assert.deepEqual(target.arrived, [5, 6, 7, 8, 9]);
      assert.equal(delivery.status.counters.duplicates, 5);
    });

    it("stores the state that the target answers with", async () => {
      const { target, source, append, drain } = bound(rig({ traits: { resumes: true } }));
      target.script = (batch) => ({ outcomes: target.store(batch), state: Buffer.from(`at ${batch.at(-1)!.offset}`) });
      append(10);

      await drain();

      assert.equal(source.state?.toString(), "at 9");
    });
  });
});

/** The parts of a rig, ready to be taken apart. */
function bound(
  made: DeliveryRig,
): Pick<
  DeliveryRig,
  "clock" | "source" | "target" | "delivery" | "events" | "logged" | "dead" | "append" | "drain" | "kinds"
> {
  const { clock, source, target, delivery, events, logged, dead } = made;
  return {
    clock,
    source,
    target,
    delivery,
    events,
    logged,
    dead,
    append: made.append.bind(made),
    drain: made.drain.bind(made),
    kinds: made.kinds.bind(made),
  };
}
