/** What the target makes of answers that no server at hand gives: the other end is the double of the wire protocol. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { ObjectId } from "bson";
import { TargetConfigError, TargetUnavailableError } from "../../../src/targets/target.js";
import { duplicateKey } from "../../support/wire-double.js";
import { doubleRig, type DoubleRig, kinds, never, record, records } from "./rig.js";

const PLACE = "plant.readings";
/** After a broken connection the driver looks for the server again half a second later. */
const PATIENT = { selectTimeoutMs: 5_000, requestTimeoutMs: 10_000 };

describe("MongoDB target", () => {
  let rig: DoubleRig;

  beforeEach(async () => {
    rig = await doubleRig();
  });

  afterEach(() => rig.close());

  describe("given a document that is already there", () => {
    it("counts it as an earlier attempt when it has the record's own id", async () => {
      const target = await rig.target();
      await target.deliver(records(2), never);

      assert.deepEqual(kinds(await target.deliver(records(3), never)), ["duplicate", "duplicate", "delivered"]);
      assert.equal(rig.double.count("find"), 0, "the server's word was enough");
    });

    it("looks the ids up when the server does not say which index it is", async () => {
      rig.double.tellsKeyPattern = false;
      const target = await rig.target();
      await target.deliver(records(2), never);

      assert.deepEqual(kinds(await target.deliver(records(3), never)), ["duplicate", "duplicate", "delivered"]);
      assert.equal(rig.double.count("find"), 1);
    });

    it("asks the primary for them, wherever the connection string wants to read: a secondary may not have them yet", async () => {
      rig.double.tellsKeyPattern = false;
      rig.double.hello = { ...rig.double.hello, setName: "rs0", hosts: [new URL(rig.double.url).host] };
      const uri = `${new URL("/", rig.double.url).href}?replicaSet=rs0&readPreference=secondary`;
      const target = await rig.target({}, { uri });
      await target.deliver(records(2), never);

      assert.deepEqual(kinds(await target.deliver(records(3), never)), ["duplicate", "duplicate", "delivered"]);
    });

    it("rejects what another unique index refuses, naming the index, and delivers the rest", async () => {
      const target = await rig.target();
      rig.double.next("insert", { n: 2, writeErrors: [{ index: 1, ...duplicateKey(PLACE, "serial") }] });

      const answer = await target.deliver(records(3), never);

      assert.deepEqual(kinds(answer), ["delivered", "rejected", "delivered"]);
      assert.match(JSON.stringify(answer.outcomes[1]), /unique index serial_1/);
    });

    it("rejects likewise when the server does not name the index and no such id is stored", async () => {
      const target = await rig.target();
      rig.double.next("insert", { n: 1, writeErrors: [{ index: 0, ...duplicateKey(PLACE, "serial", false) }] });

      assert.deepEqual(kinds(await target.deliver(records(2), never)), ["rejected", "delivered"]);
    });

    it("is not fooled by a collection that is named like an index", async () => {
      const collection = "a index: _id_ dup key";
      const target = await rig.target({ collection });
      const errmsg = `E11000 duplicate key error collection: plant.${collection} index: serial_1 dup key: { serial: 1 }`;
      rig.double.next("insert", { n: 0, writeErrors: [{ index: 0, code: 11000, errmsg }] });

      assert.deepEqual(kinds(await target.deliver(records(1), never)), ["rejected"]);
    });

    it("compares it when the payload brought the id: the same content is delivered, another is rejected", async () => {
      const fields = { replayed: "late" };
      const target = await rig.target({ fields });
      const mine = { _id: "pump-1", bar: 4.5, at: new Date(5), tags: ["a"], id: new ObjectId() };
      await target.deliver([record(0, mine)], never);

      const again = record(1, mine, { replayed: true });
      const other = record(2, { ...mine, bar: 4.6 });

      assert.deepEqual(kinds(await target.deliver([again, other], never)), ["duplicate", "rejected"]);
    });

    it("counts any document under the payload's own id when told so", async () => {
      const target = await rig.target({ existingIdIsDelivered: true });
      await target.deliver([record(0, { _id: 1, a: 1 })], never);

      assert.deepEqual(kinds(await target.deliver([record(1, { _id: 1, a: 2 })], never)), ["duplicate"]);
    });

    it("tries alone what is refused for its id and yet not found, since it was deleted meanwhile", async () => {
      const target = await rig.target();
      rig.double.next("insert", { n: 0, writeErrors: [{ index: 0, ...duplicateKey(PLACE, "_id") }] });

      const { outcomes } = await target.deliver([record(0, { _id: "gone" })], never);

      assert.ok(outcomes[0]?.kind === "retry" && outcomes[0].alone === true);
    });

    it("keeps the records when the look-up fails", async () => {
      rig.double.tellsKeyPattern = false;
      const target = await rig.target();
      await target.deliver(records(1), never);
      rig.double.next("find", { ok: 0, code: 13, errmsg: "not authorized" });

      const answer = await target.deliver(records(2), never);

      assert.deepEqual(kinds(answer), ["retry", "delivered"]);
      assert.equal(answer.consequence?.kind, "hold");
    });

    it("does not count it while the write concern fails: the earlier write may be as unconfirmed", async () => {
      const target = await rig.target();
      await target.deliver(records(1), never);
      const writeConcernError = { code: 64, errmsg: "waiting for replication timed out" };
      rig.double.next("insert", {
        n: 0,
        writeErrors: [{ index: 0, ...duplicateKey(PLACE, "_id") }],
        writeConcernError,
      });

      assert.deepEqual(kinds(await target.deliver(records(1), never)), ["retry"]);
    });
  });

  describe("sending inserts", () => {
    it("asks for confirmation by most servers and their journals, or as chosen", async () => {
      const asked = async (writeConcern: string): Promise<unknown> => {
        await (await rig.target({ writeConcern })).deliver(records(1), never);
        return rig.double.commands.filter((command) => command.name === "insert").at(-1)?.body["writeConcern"];
      };

      assert.deepEqual(await asked("majority"), { w: "majority", j: true, wtimeout: 30_000 });
      assert.deepEqual(await asked("w1"), { w: 1 });
      assert.equal(await asked("server"), undefined);
    });

    it("sends the same bytes the second time, but for what has been settled", async () => {
      const target = await rig.target({ fields: { acceptedAt: "at", topic: "topic" } });
      rig.double.next("insert", { n: 2, writeErrors: [{ index: 1, code: 112, errmsg: "write conflict" }] });
      const batch = records(3);
      const first = await target.deliver(batch, never);

      await target.deliver(
        batch.filter((_, i) => first.outcomes[i]?.kind === "retry"),
        never,
      );

      const [before, after] = rig.double.commands.filter((command) => command.name === "insert");
      assert.deepEqual(kinds(first), ["delivered", "retry", "delivered"]);
      assert.deepEqual(after?.body["documents"], [before?.body["documents"][1]]);
    });

    it("cuts a batch of more than 12 MiB into several commands", async () => {
      const target = await rig.target({}, { requestTimeoutMs: 5_000 });
      const answer = await target.deliver(
        records(5, (n) => ({ n, text: "x".repeat(5 * 1024 * 1024) })),
        never,
      );

      assert.ok(answer.outcomes.every((outcome) => outcome.kind === "delivered"));
      assert.deepEqual(
        rig.double.commands.filter(({ name }) => name === "insert").map(({ body }) => body["documents"].length),
        [2, 2, 1],
      );
    });

    it("keeps what the first commands of a cut batch have settled when a later one fails", async () => {
      const target = await rig.target({}, { requestTimeoutMs: 5_000 });
      rig.double.next("insert", undefined);
      rig.double.next("insert", { ok: 0, code: 10107, errmsg: "not primary" });

      const answer = await target.deliver(
        records(5, (n) => ({ n, text: "x".repeat(5 * 1024 * 1024) })),
        never,
      );

      assert.deepEqual(kinds(answer), ["delivered", "delivered", "retry", "retry", "retry"]);
      assert.equal(answer.consequence?.kind, "throttle");
      assert.equal(rig.double.count("insert"), 2);
    });

    it("rejects a document of more than 16 MiB alone", async () => {
      const target = await rig.target({}, { requestTimeoutMs: 5_000 });
      const answer = await target.deliver(
        records(3, (n) => (n === 1 ? { text: "x".repeat(16 * 1024 * 1024 + 1) } : { n })),
        never,
      );

      assert.deepEqual(kinds(answer), ["delivered", "rejected", "delivered"]);
      assert.ok(answer.outcomes[1]?.kind === "rejected" && answer.outcomes[1].cause.code === "too-large");
    });

    it("rejects a document that BSON cannot hold alone, and sends the others", async () => {
      const target = await rig.target();
      const answer = await target.deliver(
        records(3, (n) => (n === 1 ? { "a\0b": 1 } : { n })),
        never,
      );

      assert.deepEqual(kinds(answer), ["delivered", "rejected", "delivered"]);
      assert.equal(rig.double.documents(PLACE).length, 2);
    });

    it("rejects a record whose stored bytes are damaged, alone", async () => {
      const target = await rig.target();
      const damaged = { ...record(1, {}), bytes: Buffer.from('{"half": '), size: 9 };

      const answer = await target.deliver([record(0, {}), damaged], never);

      assert.deepEqual(kinds(answer), ["delivered", "rejected"]);
    });

    it("suspects a batch that twice breaks the connection of a server that is there, and halves it", async () => {
      const target = await rig.target({}, PATIENT);
      const batch = records(4);
      rig.double.next("insert", "drop");
      await assert.rejects(target.deliver(batch, never), TargetUnavailableError);
      rig.double.next("insert", "drop");

      const answer = await target.deliver(batch, never);

      assert.equal(answer.consequence?.kind, "split");
      assert.deepEqual(kinds(answer), ["retry", "retry", "retry", "retry"]);
    });

    it("has a single record that breaks the connection tried alone, so that it cannot block the queue for ever", async () => {
      const target = await rig.target({}, PATIENT);
      rig.double.next("insert", "drop");
      await assert.rejects(target.deliver(records(1), never), TargetUnavailableError);
      rig.double.next("insert", "drop");

      const answer = await target.deliver(records(1), never);

      assert.ok(answer.outcomes[0]?.kind === "retry" && answer.outcomes[0].alone === true);
      assert.match(answer.outcomes[0].cause.message, /dropped each time this was sent, although the server answers/);
    });

    it("gives every record exactly one outcome, whatever the server says of each", async () => {
      const target = await rig.target();
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.option(fc.constantFrom(2, 13, 24, 121, 11000, 112, 4711, 14031))),
          async (codes) => {
            const writeErrors = codes.flatMap((code, index) =>
              code === null ? [] : [{ index, code, errmsg: "scripted", keyPattern: { serial: 1 } }],
            );
            if (codes.length === 0) return;
            rig.double.next("insert", { n: codes.length - writeErrors.length, writeErrors });

            const answer = await target.deliver(records(codes.length), never).catch((error: unknown) => {
              assert.ok(error instanceof TargetUnavailableError);
              return undefined;
            });

            const delivered = codes.filter((code) => code === null).length;
            if (answer === undefined) assert.equal(delivered, 0);
            else {
              assert.equal(answer.outcomes.length, codes.length);
              assert.equal(kinds(answer).filter((kind) => kind === "delivered").length, delivered);
            }
          },
        ),
        { numRuns: 60 },
      );
    });
  });

  describe("choosing the destination", () => {
    it("follows the record's routing, and names it for the loop", async () => {
      const target = await rig.target();
      const routed = record(0, { a: 1 }, { routing: { database: "farm", collection: "milk" } });

      assert.equal(target.destinationOf(routed), "farm.milk");
      assert.equal(target.destinationOf(record(1, {})), PLACE);
      await target.deliver([routed], never);
      assert.equal(rig.double.documents("farm.milk").length, 1);
    });

    it("rejects names that could reach the server's own data, and sends nothing", async () => {
      const target = await rig.target();
      const routings = [
        { database: "admin" },
        { database: "Config" },
        { database: "a/b" },
        { database: "" },
        { database: "x".repeat(64) },
        { collection: "system.users" },
        { collection: "a$b" },
        { collection: "" },
        { collection: "x".repeat(255) },
        { collection: "a\0b" },
      ];
      for (const routing of routings) {
        const answer = await target.deliver([record(0, {}, { routing })], never);
        assert.deepEqual(kinds(answer), ["rejected"], JSON.stringify(routing));
      }
      assert.equal(rig.double.count("insert"), 0);
    });

    it("writes to so many collections that records name as it was told, and lets what is for others wait", async () => {
      const target = await rig.target({ maxDestinations: 2 });
      const of = (collection: string, n: number) => [record(n, { n }, { routing: { collection } })];

      const answers = [];
      for (const [n, name] of ["a", "b", "c", "a", "d"].entries()) {
        answers.push(await target.deliver(of(name, n), never));
      }
      const fixed = await target.deliver(records(1), never);

      assert.deepEqual(answers.map(kinds).flat(), ["delivered", "delivered", "retry", "delivered", "retry"]);
      const held = answers[2]?.consequence;
      assert.match(
        held?.cause instanceof Error ? held.cause.message : "",
        /2 different destinations.*"plant\.c" and other/,
      );
      assert.deepEqual([held?.kind, answers[3]?.consequence], ["hold", undefined]);
      // What no record has chosen does not count.
      assert.deepEqual(kinds(fixed), ["delivered"]);
      assert.deepEqual([...rig.double.stored.keys()], ["plant.a", "plant.b", "plant.readings"]);
    });

    it("blames a record that named the database, and the settings otherwise", async () => {
      const target = await rig.target();
      const answer = { ok: 0, code: 13297, errmsg: "db already exists with different case" };
      rig.double.next("insert", answer);
      assert.deepEqual(kinds(await target.deliver([record(0, {}, { routing: { database: "Plant" } })], never)), [
        "rejected",
      ]);

      rig.double.next("insert", answer);
      await assert.rejects(target.deliver(records(1), never), TargetConfigError);
    });
  });

  describe("replacing and updating", () => {
    const sent = (): unknown => rig.double.commands.filter(({ name }) => name === "update").at(-1)?.body;

    it("is done in order, and the loop is told so", async () => {
      assert.equal((await rig.target({ mode: "update" })).traits.ordered, true);
      assert.equal((await rig.target()).traits.ordered, false);
    });

    it("goes on behind a record that can never be written", async () => {
      const target = await rig.target({ mode: "replace", keyFields: ["n"] });
      rig.double.next("update", { n: 1, writeErrors: [{ index: 1, code: 121, errmsg: "Document failed validation" }] });

      assert.deepEqual(kinds(await target.deliver(records(4), never)), [
        "delivered",
        "rejected",
        "delivered",
        "delivered",
      ]);
      assert.equal((sent() as { updates: unknown[] }).updates.length, 2);
    });

    it("stops before a record that comes again, or its older state would overwrite a newer one", async () => {
      const target = await rig.target({ mode: "replace", keyFields: ["n"] });
      rig.double.next("update", { n: 1, writeErrors: [{ index: 1, code: 112, errmsg: "write conflict" }] });

      assert.deepEqual(kinds(await target.deliver(records(4), never)), ["delivered", "retry", "retry", "retry"]);
      assert.equal(rig.double.count("update"), 1);
    });

    it("tries an upsert that lost a race once more, then takes the unique index for the user's rule", async () => {
      const target = await rig.target({ mode: "update", keyFields: ["n"] });
      const lost = { n: 0, writeErrors: [{ index: 0, ...duplicateKey(PLACE, "n") }] };
      rig.double.next("update", lost);
      assert.deepEqual(kinds(await target.deliver(records(2), never)), ["delivered", "delivered"]);

      rig.double.next("update", lost);
      rig.double.next("update", lost);
      assert.deepEqual(kinds(await target.deliver(records(2), never)), ["rejected", "delivered"]);
    });

    it("rejects what alone can never be written, though the server counts nothing in its answer", async () => {
      const target = await rig.target({ mode: "replace", keyFields: ["n"] });
      rig.double.next("update", { writeErrors: [{ index: 0, code: 66, errmsg: "immutable field '_id'" }] });

      assert.deepEqual(kinds(await target.deliver(records(1), never)), ["rejected"]);
    });

    it("halves a batch whose answer twice does not add up, so that it cannot block the queue for ever", async () => {
      const target = await rig.target({ mode: "replace", keyFields: ["n"] });
      // The place is wrong as well: the first was written.
      const reply = { writeErrors: [{ index: 0, code: 66, errmsg: "immutable field '_id'" }] };
      rig.double.next("update", reply);
      await assert.rejects(target.deliver(records(2), never), TargetUnavailableError);
      rig.double.next("update", reply);

      const answer = await target.deliver(records(2), never);

      assert.equal(answer.consequence?.kind, "split");
      assert.deepEqual(kinds(answer), ["retry", "retry"]);
    });

    it("leaves a batch unknown whose answer does not add up", async () => {
      for (const reply of [
        { n: 1 },
        { n: 1, writeErrors: [{ index: 5, code: 2 }] },
        { n: 0, writeErrors: [{ index: 1, code: 2 }] },
        { writeErrors: [{ index: 0, code: 2 }] },
      ]) {
        const target = await rig.target({ mode: "update" });
        rig.double.next("update", reply);
        await assert.rejects(target.deliver(records(2), never), TargetUnavailableError);
      }
    });
  });

  describe("writing a time series", () => {
    const timeSeries = { timeField: "at", metaField: "sensor", granularity: "seconds", expireAfterSeconds: 3_600 };

    it("creates the collection when it is missing, once", async () => {
      const target = await rig.target({ timeSeries });
      await target.deliver(records(2), never);
      await target.deliver(records(2), never);

      const created = rig.double.commands.filter(({ name }) => name === "create");
      assert.equal(created.length, 1);
      assert.deepEqual(created[0]?.body["timeseries"], {
        timeField: "at",
        metaField: "sensor",
        granularity: "seconds",
      });
      assert.equal(created[0]?.body["expireAfterSeconds"], 3_600);
    });

    it("uses one that is there, or appears meanwhile, without the right to create", async () => {
      rig.double.next("listCollections", { cursor: { id: 0, ns: "plant.$cmd", firstBatch: [{ name: "readings" }] } });
      assert.deepEqual(kinds(await (await rig.target({ timeSeries })).deliver(records(1), never)), ["delivered"]);
      assert.equal(rig.double.count("create"), 0);

      rig.double.next("create", { ok: 0, code: 48, errmsg: "already exists" });
      const late = await (await rig.target({ timeSeries })).deliver([record(7, {})], never);
      assert.deepEqual(kinds(late), ["delivered"]);
    });

    it("holds the destination when it may not create it, rather than fill a plain collection", async () => {
      const target = await rig.target({ timeSeries });
      rig.double.next("create", { ok: 0, code: 13, errmsg: "not authorized" });

      const answer = await target.deliver(records(1), never);

      assert.equal(answer.consequence?.kind, "hold");
      assert.equal(rig.double.count("insert"), 0);
    });

    it("turns times into dates and refuses what is none", async () => {
      const target = await rig.target({ timeSeries });
      const answer = await target.deliver(
        [record(0, { at: 5 }), record(1, { at: "1970-01-01T00:00:00.005Z" }), record(2, {}), record(3, { at: "noon" })],
        never,
      );

      assert.deepEqual(kinds(answer), ["delivered", "delivered", "delivered", "rejected"]);
      const times = rig.double.documents(PLACE).map((document) => document["at"]);
      assert.deepEqual(times, [new Date(5), new Date(5), new Date(Date.UTC(2025, 0, 1))]);
    });

    it("reads errors out of what insertMany makes of them", async () => {
      const target = await rig.target({ timeSeries });
      rig.double.next("insert", { n: 1, writeErrors: [{ index: 0, code: 2, errmsg: "'at' must be present" }] });
      assert.deepEqual(kinds(await target.deliver(records(2), never)), ["rejected", "delivered"]);

      rig.double.next("insert", { n: 2, writeConcernError: { code: 64, errmsg: "timed out" } });
      assert.deepEqual(kinds(await target.deliver(records(2), never)), ["retry", "retry"]);

      rig.double.next("insert", { ok: 0, code: 14031, errmsg: "no space" });
      await assert.rejects(target.deliver(records(2), never), TargetUnavailableError);

      // Else the driver tries once more.
      const hasty = await rig.target({ timeSeries }, { selectTimeoutMs: 400 });
      rig.double.next("insert", "drop");
      await assert.rejects(hasty.deliver(records(2), never), TargetUnavailableError);
    });
  });
});
