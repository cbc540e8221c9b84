import assert from "node:assert/strict";
import { Binary, Decimal128, deserialize, Long, ObjectId, UUID } from "bson";
import fc from "fast-check";
import type { Document } from "mongodb";
import { uuidText } from "../../../src/record.js";
import { documentBytes, prepareChange, prepareDocument, recordId } from "../../../src/targets/mongodb/documents.js";
import { checkMongoOptions } from "../../../src/targets/mongodb/options.js";
import { record } from "./rig.js";

const optionsOf = (options: object = {}) =>
  checkMongoOptions({ database: "plant", collection: "readings", ...options });

function documentOf(payload: unknown, options: object = {}, parts: object = {}): Document {
  const prepared = prepareDocument(record(7, payload, parts), optionsOf(options));
  assert.ok(prepared.kind === "document");
  return prepared.document;
}

function changeOf(payload: unknown, options: object): { q: Document; u: Document } {
  const prepared = prepareChange(record(7, payload), optionsOf(options));
  assert.ok(prepared.kind === "document", JSON.stringify(prepared));
  return prepared.document as { q: Document; u: Document };
}

function refusalOf(payload: unknown, options: object): string {
  const prepared = prepareChange(record(7, payload), optionsOf(options));
  assert.ok(prepared.kind === "rejected");
  return prepared.cause.code;
}

describe("A document for MongoDB", () => {
  it("begins with the record's id as a UUID, the same for every attempt", () => {
    const { id } = record(7, {});
    const document = documentOf({ a: 1 });

    assert.deepEqual(Object.keys(document), ["_id", "a"]);
    assert.ok(document["_id"] instanceof UUID);
    assert.equal(document["_id"].toString(), uuidText(id));
    assert.ok(documentBytes(document).equals(documentBytes(documentOf({ a: 1 }))));
  });

  it("has the id as text or as an ObjectId of the same second when asked so", () => {
    const { id } = record(7, {});

    assert.equal(documentOf({}, { idKind: "string" })["_id"], uuidText(id));
    const objectId = documentOf({}, { idKind: "objectId" })["_id"] as ObjectId;
    assert.equal(objectId.getTimestamp().getTime(), Date.UTC(2025, 0, 1));
    assert.notDeepEqual(objectId, recordId(record(8, {}), "objectId"));
  });

  it("keeps an id of the payload, but takes null for none", () => {
    assert.equal(documentOf({ a: 1, _id: "mine" })["_id"], "mine");
    assert.ok(documentOf({ _id: null })["_id"] instanceof UUID);
  });

  it("wraps what is no object, with its topic", () => {
    const parts = { routing: { topic: "hall/1" } };
    for (const payload of [5, "text", true, null, [1, 2]]) {
      const { _id, ...rest } = documentOf(payload, {}, parts);
      assert.deepEqual(rest, { payload, topic: "hall/1" });
    }
    assert.deepEqual(documentOf(new Date(5))["payload"], new Date(5));
    assert.deepEqual(documentOf(5, { wrapField: "value" })["value"], 5);
  });

  it("carries BSON types through the queue", () => {
    const payload = {
      date: new Date(1_700_000_000_000),
      bytes: Buffer.from([0, 255]),
      id: new ObjectId("0123456789abcdef01234567"),
      decimal: Decimal128.fromString("1.10"),
      long: Long.fromString("9007199254740993"),
      bigint: 2n ** 60n,
      regex: /a+/i,
      uuid: new UUID("0189f7ea-2f5b-7c3c-8f00-0123456789ab"),
      nan: NaN,
    };

    const stored = deserialize(documentBytes(documentOf(payload)), { promoteLongs: false, promoteBuffers: false });

    assert.deepEqual(stored["date"], payload.date);
    assert.ok(stored["bytes"] instanceof Binary && stored["bytes"].sub_type === 0);
    assert.deepEqual([...stored["bytes"].buffer], [0, 255]);
    assert.ok(payload.id.equals(stored["id"]));
    assert.equal(String(stored["decimal"]), "1.10");
    assert.equal(String(stored["long"]), "9007199254740993");
    assert.equal(String(stored["bigint"]), String(2n ** 60n));
    assert.deepEqual(stored["regex"], /a+/i);
    assert.equal(String(stored["uuid"]), String(payload.uuid));
    assert.ok(Number.isNaN(stored["nan"]));
  });

  it("gets the fields asked for, and the payload's own of that name stays", () => {
    const fields = { topic: "t", acceptedAt: "at", device: "from", replayed: "late" };
    const parts = { routing: { topic: "hall/1" }, acceptedAtMs: 5, replayed: true };
    const { _id, ...rest } = documentOf({ t: "mine" }, { fields, device: "pi-7" }, parts);

    assert.deepEqual(rest, { t: "mine", at: new Date(5), from: "pi-7", late: true });
  });

  it("tells, where asked, that its time of acceptance is in doubt", () => {
    for (const isTimeDoubtful of [true, false]) {
      const { _id, ...rest } = documentOf({}, { fields: { doubtful: "unsure" } }, { isTimeDoubtful });

      assert.deepEqual(rest, { unsure: isTimeDoubtful });
    }
  });

  it("keeps keys that are dangerous elsewhere as data", () => {
    const payload = JSON.parse('{"__proto__": {"polluted": true}, "constructor": 1, "a.b": 1, "$c": 2}') as unknown;
    const document = documentOf(payload);

    assert.ok(Object.hasOwn(document, "__proto__"));
    assert.equal((document as { polluted?: unknown }).polluted, undefined);
    assert.equal(Object.getPrototypeOf(document), Object.prototype);
    assert.ok(documentBytes(document).includes("polluted"));
    assert.ok(Object.hasOwn(documentOf(payload, { replaceKeys: true }), "__proto__"));
  });

  it("has dots and leading dollars replaced when asked, at every depth, without losing a value", () => {
    const payload = { "a.b": 1, a_b: 2, $x: { "$y.z": [{ "p.q": 3 }] }, c$: 4 };
    const { _id, ...rest } = documentOf(payload, { replaceKeys: true });

    assert.deepEqual(rest, { a_b_: 1, a_b: 2, _x: { _y_z: [{ p_q: 3 }] }, c$: 4 });
  });

  it("never loses a value by replacing keys", () => {
    const key = fc.string({ unit: fc.constantFrom("a", ".", "$", "_"), minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.dictionary(key, fc.integer()), (payload) => {
        const { _id, ...rest } = documentOf(payload, { replaceKeys: true });
        assert.equal(Object.keys(rest).length, Object.keys(payload).length);
        assert.ok(Object.keys(rest).every((name) => !name.includes(".") && !name.startsWith("$")));
      }),
    );
  });
});

describe("A change for MongoDB", () => {
  const byN = { keyFields: ["n"] };

  it("replaces by key, leaving the stored document's id alone", () => {
    assert.deepEqual(changeOf({ n: 1, a: 2 }, { mode: "replace", ...byN }), {
      q: { n: 1 },
      u: { n: 1, a: 2 },
      upsert: true,
    });
    assert.deepEqual(changeOf({ _id: 5, a: 2 }, { mode: "replace" }), { q: { _id: 5 }, u: { a: 2 }, upsert: true });
  });

  it("updates by key, and gives a new document the record's id", () => {
    const { q, u } = changeOf({ n: 1, a: 2 }, { mode: "update", ...byN });

    assert.deepEqual(q, { n: 1 });
    assert.deepEqual(u["$set"], { n: 1, a: 2 });
    assert.deepEqual(u["$setOnInsert"], { _id: recordId(record(7, {}), "uuid") });
  });

  it("never sends an empty $set, which old servers refuse", () => {
    assert.deepEqual(changeOf({ _id: 5 }, { mode: "update" }).u, { $setOnInsert: { _id: 5 } });
  });

  it("finds key fields inside objects, and several of them", () => {
    const { q } = changeOf({ device: { id: 3 }, n: 1 }, { mode: "replace", keyFields: ["device.id", "n"] });

    assert.deepEqual(q, { "device.id": 3, n: 1 });
  });

  it("never reads a key's value as a condition", () => {
    const { q } = changeOf({ n: { $gt: "" } }, { mode: "replace", ...byN });

    assert.deepEqual(q, { n: { $eq: { $gt: "" } } });
    assert.deepEqual(changeOf({ n: /a/ }, { mode: "replace", ...byN }).q["n"].$eq !== undefined, true);
  });

  it("is refused without its key", () => {
    assert.equal(refusalOf({ a: 1 }, { mode: "replace", ...byN }), "key-missing");
    assert.equal(refusalOf({ n: null }, { mode: "update", ...byN }), "key-missing");
    assert.equal(refusalOf(JSON.parse("{}"), { mode: "update", keyFields: ["constructor"] }), "key-missing");
  });

  it("takes operators only when they are allowed, and never mixed with fields", () => {
    const operators = { $inc: { count: 1 }, $set: { n: 1 } };
    const allowed = { mode: "update", operators: true, ...byN };

    assert.deepEqual(changeOf(operators, allowed), { q: { n: 1 }, u: operators, upsert: true });
    assert.equal(refusalOf({ ...operators, a: 1 }, allowed), "operators");
    assert.equal(refusalOf({ $inc: 1 }, allowed), "operators");
    assert.equal(refusalOf(operators, { mode: "update", ...byN }), "key-missing");
    assert.deepEqual(changeOf({ n: 1, $inc: { a: 1 } }, { mode: "update", ...byN }).u["$set"], {
      n: 1,
      $inc: { a: 1 },
    });
  });
});
