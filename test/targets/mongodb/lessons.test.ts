/**
 * What went wrong in other exporters, each as a test: the delivery loop and the target together, against a server
 * (FerretDB, which is not mongod) behind a proxy that fails on request, or against the wire double where it has to lie.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Binary, BSONRegExp, Double, Long, ObjectId } from "bson";
import { type Document, MongoClient } from "mongodb";
import { systemClock } from "../../../src/clock.js";
import type { DeliveryEvent } from "../../../src/delivery/events.js";
import { Delivery } from "../../../src/delivery/loop.js";
import type { LogRecord } from "../../../src/record.js";
import type { Rejection } from "../../../src/targets/target.js";
import { MongoServer, needMongoServer } from "../../servers/mongodb.js";
import { FaultProxy } from "../../support/fault-proxy.js";
import { MemorySource } from "../../support/memory-source.js";
import { WireDouble } from "../../support/wire-double.js";
import { makeTarget, QUICK, record, records } from "./rig.js";

const PATIENT = { selectTimeoutMs: 5_000, connectTimeoutMs: 5_000, requestTimeoutMs: 5_000 };

interface Line {
  readonly source: MemorySource;
  readonly dead: { record: LogRecord; rejection: Rejection }[];
  readonly events: DeliveryEvent[];
  readonly delivery: Delivery;
  /** Resolves when so many records have met their end. */
  ended(count: number): Promise<void>;
  /** Resolves when this has happened, or has happened so often. */
  until(kind: DeliveryEvent["kind"], times?: number): Promise<void>;
}

describe("MongoDB and the lessons of others", () => {
  let server: MongoServer;
  let proxy: FaultProxy;
  let client: MongoClient;
  const undo: (() => Promise<void>)[] = [];
  let count = 0;
  let database = "";

  before(async function () {
    await needMongoServer(this);
    server = await MongoServer.make();
    await server.start();
  });

  after(() => server?.remove());

  beforeEach(async () => {
    database = `lesson_${++count}`;
    proxy = await FaultProxy.listen(server.port);
    client = await MongoClient.connect(server.url);
  });

  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
    await client.close();
    await proxy.close();
  });

  const stored = (): Promise<Document[]> => client.db(database).collection("readings").find().toArray();
  const proxied = (): string => `mongodb://127.0.0.1:${proxy.port}`;

  function line(
    waiting: readonly LogRecord[],
    options: object = {},
    url = proxied(),
    connection: object = PATIENT,
  ): Line {
    const source = new MemorySource();
    const dead: Line["dead"] = [];
    const events: DeliveryEvent[] = [];
    const listeners = new Set<() => void>();
    const target = makeTarget(url, { database, ...options }, { direct: true, ...connection });
    const delivery = new Delivery({
      source,
      target,
      clock: systemClock,
      deadLetters: {
        async setAside(set, rejection) {
          dead.push({ record: set, rejection });
        },
      },
      settings: { batchWaitMs: 5, backoffMinMs: 20, backoffMaxMs: 200 },
      onEvent: (event) => {
        events.push(event);
        setImmediate(() => {
          for (const listener of listeners) listener();
        });
      },
    });
    undo.push(async () => {
      await delivery.close();
      await target.close();
    });
    source.append(...waiting);
    const when = (isSo: () => boolean): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => {
          if (!isSo()) return;
          listeners.delete(look);
          resolve();
        };
        listeners.add(look);
        look();
      });
    return {
      source,
      dead,
      events,
      delivery,
      ended: (wanted) => when(() => source.confirmed.length === wanted),
      until: (kind, times = 1) => when(() => events.filter((event) => event.kind === kind).length >= times),
    };
  }

  it("delivers 999 records once and sets one aside when the server refuses one among a thousand", async () => {
    const { ended, dead } = line(records(1_000, (n) => (n === 500 ? { _id: [n] } : { n })));

    await ended(1_000);

    assert.deepEqual(
      dead.map((one) => Number(one.record.offset)),
      [500],
    );
    assert.equal((await stored()).length, 999);
  });

  it("takes a lost answer for what it is: the next attempt finds everything there, once", async () => {
    const lost = proxy.loseAnswerTo("insert\0");
    const { ended, delivery } = line(records(100));

    await lost;
    await ended(100);

    assert.equal((await stored()).length, 100);
    assert.ok(delivery.status.counters.duplicates > 0);
  });

  it("sends again, and stores once, what was cut anywhere in the request or its answer", async () => {
    const { source, ended, until } = line(records(10));
    await ended(10);
    let wanted = 10;
    let outages = 0;
    for (const [direction, afterBytes] of [
      ["up", 0],
      ["up", 3_000],
      ["down", 0],
      ["down", 20],
    ] as const) {
      await proxy.set({ cut: { direction, afterBytes } });
      source.append(...records(wanted + 100).slice(wanted));
      wanted += 100;
      await until("circuitOpened", ++outages);
      await proxy.set({});
      await ended(wanted);
    }

    assert.equal((await stored()).length, wanted);
  });

  it("sets a document of more than 16 MiB aside, and delivers its neighbours", async () => {
    const { ended, dead } = line(
      records(5, (n) => (n === 2 ? { n, text: "x".repeat(17 * 1024 * 1024) } : { n })),
      {},
      server.url,
      { ...PATIENT, requestTimeoutMs: 20_000 },
    );

    await ended(5);

    assert.equal(dead[0]?.rejection.code, "too-large");
    assert.equal((await stored()).length, 4);
  });

  it("delivers 999 records behind a first one that is there already", async () => {
    const first = line(records(1));
    await first.ended(1);

    const { ended, delivery } = line(records(1_000));
    await ended(1_000);

    assert.equal(delivery.status.counters.duplicates, 1);
    assert.equal((await stored()).length, 1_000);
  });

  it("does not take another unique index's refusal for its own id, and does not try it for ever", async () => {
    await client.db(database).collection("readings").createIndex({ serial: 1 }, { unique: true });
    const { ended, dead, delivery } = line(records(10, (n) => ({ serial: n % 5 })));

    await ended(10);

    assert.equal(dead.length, 5);
    assert.ok(dead.every(({ rejection }) => rejection.code === "11000"));
    assert.equal(delivery.status.counters.delivered, 5);
  });

  it("drains by itself when a server appears that was not there at the start", async () => {
    const late = await MongoServer.make();
    undo.push(() => late.remove());
    const { ended, until, delivery } = line(records(50), {}, late.url, QUICK);
    await until("circuitOpened");

    await late.start();
    await ended(50);

    assert.equal(delivery.status.counters.delivered, 50);
  });

  it("survives a server that is frozen in the middle, as behind a suspended laptop, and drains after", async () => {
    const pid = Number(readFileSync(join(server.folder, "pid"), "utf8"));
    const { source, ended, until } = line(records(100), {}, server.url, { ...PATIENT, requestTimeoutMs: 1_000 });
    await ended(100);

    process.kill(pid, "SIGSTOP");
    try {
      source.append(...records(200).slice(100));
      await until("circuitOpened");
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await ended(200);

    assert.equal((await stored()).length, 200);
  });

  it("connects and delivers over a link with 400 ms each way", async () => {
    await proxy.set({ latencyMs: 400 });
    const slow = { selectTimeoutMs: 30_000, connectTimeoutMs: 30_000, requestTimeoutMs: 30_000 };
    const { ended, events } = line(records(20), {}, proxied(), slow);

    await ended(20);

    assert.ok(!events.some((event) => event.kind === "circuitOpened"));
  });

  it("keeps the deadline of a batch that a slow link takes long to carry", async () => {
    // 200 KB at 100 KB/s: twice the request's own time, which does not count the bytes.
    await proxy.set({ bytesPerSecond: 100_000 });
    const { ended, events } = line(
      records(20, (n) => ({ n, text: "x".repeat(10_000) })),
      {},
      proxied(),
      { ...PATIENT, requestTimeoutMs: 1_500 },
    );

    await ended(20);

    assert.ok(!events.some((event) => event.kind === "circuitOpened"));
  });

  it("delivers or rejects strange text, never gets stuck on it", async () => {
    const strange = ["\ud800 lone", "nul \0 inside", "\u2028", "😀", "\uffff"];
    const { ended, dead } = line([
      ...strange.map((text, n) => record(n, { n, text })),
      record(5, { n: 5, bytes: Buffer.from([0xff, 0xfe, 0x80]) }),
      record(6, { "\0key": 1 }),
    ]);

    await ended(7);

    assert.deepEqual(
      dead.map((one) => Number(one.record.offset)),
      [6],
    );
    const texts = (await stored()).sort((a, b) => a["n"] - b["n"]).map((document) => document["text"]);
    assert.deepEqual(texts.slice(0, 5), ["\ufffd lone", ...strange.slice(1)]);
  });

  it("sets a value aside that makes the server hang up, and delivers the rest", async () => {
    // FerretDB closes the connection on NaN; mongod does so on a message over its limit.
    const { ended, dead } = line(
      records(20, (n) => (n === 7 ? { n, value: NaN } : { n })),
      {},
      server.url,
    );

    await ended(20);

    assert.deepEqual(
      dead.map((one) => Number(one.record.offset)),
      [7],
    );
    assert.equal((await stored()).length, 19);
  });

  it("lets one destination wait while the others go on", async () => {
    const double = await WireDouble.listen();
    undo.push(() => double.close());
    const refuse = ({ body }: { body: Document }): Document | undefined =>
      body["insert"] === "readonly" ? { ok: 0, code: 13, errmsg: "not authorized" } : undefined;
    for (let n = 0; n < 200; n++) double.next("insert", refuse);
    const { ended, until, delivery } = line(
      Array.from({ length: 100 }, (_, n) => record(n, { n }, { routing: { collection: n % 2 ? "readonly" : "open" } })),
      {},
      double.url,
    );

    await until("held");
    await ended(50);

    assert.equal(double.documents(`${database}.open`).length, 50);
    assert.equal(delivery.status.counters.delivered, 50);
  });

  it("keeps payload, place and reason of each record it sets aside, and counts it once", async () => {
    const { ended, dead, delivery } = line([
      record(0, { _id: [1], why: "array" }, { routing: { collection: "other" } }),
      record(1, { n: 1 }),
    ]);

    await ended(2);

    assert.equal(dead.length, 1);
    assert.deepEqual(JSON.parse(dead[0]!.record.bytes.toString()), { _id: [1], why: "array" });
    assert.deepEqual(dead[0]!.record.routing, { collection: "other" });
    assert.match(dead[0]!.rejection.message, /MongoDB/);
    assert.equal(delivery.status.counters.rejected, 1);
  });

  it("stores every record once while the server is killed in the middle, again and again", async () => {
    const own = await MongoServer.make();
    undo.push(() => own.remove());
    await own.start();
    const { source, ended, until, events } = line([], {}, own.url, QUICK);
    const answers = (): number => events.filter((event) => event.kind === "answered").length;
    for (let round = 0; round < 3; round++) {
      const before = answers();
      source.append(...records((round + 1) * 4_000).slice(round * 4_000));
      await until("answered", before + 2);
      await own.kill();
      await own.start();
    }
    await ended(12_000);

    const direct = await MongoClient.connect(own.url);
    try {
      const found = await direct.db(database).collection("readings").find().toArray();
      assert.deepEqual(
        found.map((document) => document["n"] as number).sort((a, b) => a - b),
        Array.from({ length: 12_000 }, (_, n) => n),
      );
    } finally {
      await direct.close();
    }
  });

  it("brings types to the database as they left", async () => {
    const payload = {
      date: new Date(1_700_000_000_000),
      bytes: Buffer.from([0, 1, 255]),
      id: new ObjectId("0123456789abcdef01234567"),
      long: Long.fromString("9007199254740993"),
      bigint: 2n ** 60n,
      regex: /a+/i,
      float: 1.5,
      whole: 7,
      nothing: null,
    };
    const { ended } = line([record(0, payload)]);

    await ended(1);

    const [document] = await client
      .db(database)
      .collection("readings")
      .find({}, { promoteValues: false, bsonRegExp: true })
      .toArray();
    assert.ok(document !== undefined);
    assert.deepEqual(document["date"], payload.date);
    assert.deepEqual([...document["bytes"].buffer], [0, 1, 255]);
    assert.ok(payload.id.equals(document["id"]));
    assert.equal(String(document["long"]), "9007199254740993");
    assert.equal(String(document["bigint"]), String(2n ** 60n));
    assert.deepEqual(document["regex"], new BSONRegExp("a+", "i"));
    assert.deepEqual(document["float"], new Double(1.5));
    assert.equal(document["whole"]._bsontype, "Int32");
    assert.equal(document["nothing"], null);
    assert.equal((document["_id"] as unknown as Binary).sub_type, 4);
  });

  it("replaces and updates by key, in order, however often it is sent", async () => {
    for (const mode of ["replace", "update"]) {
      const collection = mode;
      const states = Array.from({ length: 60 }, (_, n) => record(n, { sensor: n % 3, n, [`only${n % 2}`]: true }));
      for (let again = 0; again < 2; again++) {
        const { ended, dead } = line(states, { mode, keyFields: ["sensor"], collection });
        await ended(60);
        assert.deepEqual(dead, []);
      }

      const found = await client.db(database).collection(collection).find().sort({ sensor: 1 }).toArray();
      assert.deepEqual(
        found.map((document) => document["n"]),
        [57, 58, 59],
      );
      assert.equal("only0" in found[0]! && "only1" in found[0], mode === "update");
    }
  });
});
