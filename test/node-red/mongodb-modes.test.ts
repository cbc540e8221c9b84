/**
 * The ways to write to MongoDB that a dialog offers beside plain inserts, in a real Node-RED: against FerretDB (which is
 * not mongod), and a scripted double for what FerretDB has not.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Document, MongoClient } from "mongodb";
import { MongoServer, needMongoServer } from "../servers/mongodb.js";
import { type NodeRed, startNodeRed } from "../support/node-red.js";
import { WireDouble } from "../support/wire-double.js";
import { fanOut, mongodbNode } from "./exporters.js";
import { TAB, heard, listeners, runtimeNode, send, until } from "./flows.js";
import { SPECIAL, traces } from "./secrets.js";

const QUICK = { selectTimeoutMs: 1_000, connectTimeoutMs: 1_000, requestTimeoutMs: 3_000 };
const NO_SECRETS = { user: "", password: "", key: "", passphrase: "" };
/** Of a key, in turn; each state of it must be written before the next. */
const STATES = 200;

describe("the ways to write to MongoDB, in Node-RED", () => {
  let nodeRed: NodeRed;
  let server: MongoServer;

  before(async function () {
    await needMongoServer(this);
    server = await MongoServer.make();
    await server.start();
    nodeRed = await startNodeRed("4.1");
  });
  afterEach(function () {
    if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
  });
  after(async () => {
    await nodeRed?.remove();
    await server?.remove();
  });

  it("replaces, updates and counts in the documents that a message's own fields name", async () => {
    const byTopic = { collection: "topic", collectionType: "msg" };
    const keyFields = "site, sensor.id";
    const common = { uri: server.url, database: "modes", credentials: NO_SECRETS };
    const replace = { ...common, ...byTopic, collectionPrefix: "replaced_", options: { mode: "replace", keyFields } };
    const update = { ...common, ...byTopic, collectionPrefix: "updated_", options: { mode: "update", keyFields } };
    const count = { ...common, collection: "counts", options: { mode: "update", keyFields: "room", operators: true } };
    await nodeRed.deploy([
      TAB,
      runtimeNode(),
      fanOut("replace", "update", "count"),
      mongodbNode({ id: "replace", ...replace }),
      mongodbNode({ id: "update", ...update }),
      mongodbNode({ id: "count", ...count }),
      ...listeners(),
    ]);
    const first = { site: "north", sensor: { id: 7 }, celsius: 20, first: true };
    const other = { site: "south", sensor: { id: 7 }, celsius: 5 };
    const last = { site: "north", sensor: { id: 7 }, celsius: 21 };

    for (const to of ["replace", "update"]) {
      const topic = "attic";
      await send(nodeRed, { to, topic, payload: [first, other] }, { to, topic, payload: last }, { to, payload: last });
      await send(nodeRed, { to, topic, payload: { site: "north" } });
    }
    await send(nodeRed, { to: "count", payload: [1, 2, 3].map(() => ({ $set: { room: "a" }, $inc: { n: 1 } })) });
    const collections = ["replaced_attic", "updated_attic", "counts"];
    let found: Document[][] = [];
    await until("the last state of each", async () => {
      found = await Promise.all(collections.map((name) => documents(server, "modes", name)));
      const isComplete = found.every((list, i) => list.length === (i < 2 ? 2 : 1));
      return isComplete && found[2]?.[0]?.["n"] === 3 && !found.flat().some(({ celsius }) => celsius === 20);
    });

    const [replaced, updated, counted] = found.map((list) => list.map(({ _id, ...fields }) => fields));
    assert.deepEqual(replaced, [last, other]);
    assert.deepEqual(updated, [{ ...last, first: true }, other]);
    assert.deepEqual(counted, [{ room: "a", n: 3 }]);
    // A message without a collection is refused at once; one without its whole key can never be written.
    await until("four to be caught", async () => (await heard(nodeRed)).caught.length === 4);
    const codes = (await heard(nodeRed)).caught.map(({ code }) => String(code)).sort();
    assert.deepEqual(codes, ["key-missing", "key-missing", "no-destination", "no-destination"]);
  });

  it("lets messages make so many collections as the dialog allows, and keeps what is for others", async () => {
    const byTopic = { collection: "topic", collectionType: "msg", collectionPrefix: "x_" };
    const common = { uri: server.url, database: "many", credentials: NO_SECRETS, ...byTopic };
    const deploy = (maxDestinations: number): Promise<void> =>
      nodeRed.deploy([
        TAB,
        runtimeNode(),
        mongodbNode({ ...common, options: { maxDestinations } }),
        ...listeners(["exporter"]),
      ]);
    const stored = async (): Promise<number> => {
      const lists = await Promise.all(["a", "b", "c", "d"].map((name) => documents(server, "many", `x_${name}`)));
      return lists.flat().length;
    };

    await deploy(2);
    await send(nodeRed, ...["a", "b", "c", "d", "a"].map((topic, n) => ({ topic, payload: { n } })));
    await until("three", async () => (await stored()) === 3);
    await nodeRed.waitFor(/named 2 different destinations.* waits/);
    const held = "yellow dot held, 2 waiting";
    await until(held, async () => (await heard(nodeRed)).statuses.at(-1)?.startsWith(held) === true);
    assert.equal(await stored(), 3);

    await deploy(0);
    await until("all five", async () => (await stored()) === 5);
  });

  it("never writes an older state of a key over a newer one, whatever the server puts off", async () => {
    const double = await WireDouble.listen();
    try {
      // The second of a command is put off, and what stands behind it was not tried.
      const cutOff = new Set<Document>();
      const putOff = ({ body }: { body: Document }) => {
        if ((body["updates"] as Document[]).length < 2) return undefined;
        cutOff.add(body);
        return { n: 1, writeErrors: [{ index: 1, code: 112, errmsg: "WriteConflict" }] };
      };
      for (let i = 0; i < 3; i++) double.next("update", putOff);
      const options = { mode: "update", keyFields: "key", ...QUICK };
      const flush = { batchRecords: 50, concurrency: 8 };
      await nodeRed.deploy([
        TAB,
        runtimeNode(),
        mongodbNode({ uri: double.url, options, flush, credentials: NO_SECRETS }),
        ...listeners(["exporter"]),
      ]);
      const messages = Array.from({ length: STATES }, (_, state) => ({
        payload: { key: state % 4 === 0 ? "attic" : "boiler", state },
      }));

      for (let i = 0; i < STATES; i += 20) await send(nodeRed, ...messages.slice(i, i + 20));
      await until("all to be written", () => writtenStates(double, cutOff).length === STATES);

      const written = writtenStates(double, cutOff);
      for (const key of ["attic", "boiler"]) {
        const states = written.filter((one) => one.key === key).map(({ state }) => state);
        assert.deepEqual(
          states,
          [...states].sort((a, b) => a - b),
        );
      }
      assert.ok(cutOff.size > 0);
    } finally {
      await double.close();
    }
  });

  it("creates the time series that the dialog describes, and writes dates into it", async () => {
    const double = await WireDouble.listen();
    try {
      const series = { timeSeries: true, timeField: "at", metaField: "sensor", granularity: "minutes" };
      const options = { ...series, expireAfterMs: 86_400_000, deviceField: "device", device: "pi", ...QUICK };
      await nodeRed.deploy([
        TAB,
        runtimeNode(),
        mongodbNode({ uri: double.url, options, credentials: NO_SECRETS }),
        ...listeners(["exporter"]),
      ]);

      await send(nodeRed, { payload: { at: "2026-01-31T12:00:00Z", sensor: "attic", celsius: 20 } });
      await send(nodeRed, { payload: { sensor: "attic", celsius: 21 } }, { payload: { at: "at noon", celsius: 22 } });
      await until("two points", () => double.documents("plant.readings").length === 2);

      const created = double.commands.find(({ name }) => name === "create")?.body ?? {};
      assert.equal(created["create"], "readings");
      assert.deepEqual(created["timeseries"], { timeField: "at", metaField: "sensor", granularity: "minutes" });
      assert.equal(Number(created["expireAfterSeconds"]), 86_400);
      const [dated, undated] = double.documents("plant.readings");
      assert.deepEqual(dated?.["at"], new Date("2026-01-31T12:00:00Z"));
      assert.deepEqual([dated["device"], dated["celsius"]], ["pi", 20]);
      assert.ok(Math.abs(Number(undated?.["at"]) - Date.now()) < 60_000);
      await until("the third", async () => (await heard(nodeRed)).caught.some(({ code }) => code === "time-field"));
    } finally {
      await double.close();
    }
  });

  it("shows a server its client certificate, as text or as files, and keeps the key to itself", async () => {
    const mutual = await MongoServer.make({ password: SPECIAL, tls: "mutual" });
    try {
      await mutual.start();
      const path = (name: string): string => join(mutual.folder, name);
      // Through a field of one line, line ends become spaces.
      const text = (name: string): string => readFileSync(path(name), "utf8").replaceAll("\n", " ");
      const login = { ...NO_SECRETS, user: "root", password: SPECIAL };
      const ca = path("ca.crt");
      const ways: readonly (readonly [string, object, object])[] = [
        ["without", { on: true, ca }, login],
        ["text", { on: true, ca, cert: text("client.crt") }, { ...login, key: text("client.key") }],
        ["files", { on: true, ca, cert: path("client.crt") }, { ...login, key: path("client.key") }],
      ];
      const asClient = { tls: true, tlsCAFile: ca, tlsCertificateKeyFile: path("client.pem") };
      const auth = { username: "root", password: SPECIAL };
      const stored = async (): Promise<unknown[]> =>
        (await documents(mutual, "mutual", "readings", { ...asClient, auth })).map((document) => document["way"]);
      for (const [way, tls, credentials] of ways) {
        const from = nodeRed.lines.length;
        await nodeRed.deploy([
          TAB,
          runtimeNode(),
          mongodbNode({ uri: mutual.url, database: "mutual", options: QUICK, tls, credentials }),
          ...listeners(["exporter"]),
        ]);
        await send(nodeRed, { payload: { way } });
        if (way === "without") {
          await nodeRed.waitFor("wants a client certificate", from);
          await until(
            "red",
            async () => (await heard(nodeRed)).statuses.at(-1)?.startsWith("red ring to be mended") === true,
          );
        } else await until(way, async () => (await stored()).includes(way));
      }

      assert.deepEqual(await stored(), ["without", "text", "files"]);
      const keyLine = readFileSync(path("client.key"), "utf8").split("\n")[5] as string;
      assert.deepEqual(await traces(nodeRed, [keyLine, SPECIAL]), []);
    } finally {
      await mutual.remove();
    }
  });
});

/** The states that the double has said it wrote, in order: a command's first error ends it. */
function writtenStates(double: WireDouble, cutOff: ReadonlySet<Document>): { key: string; state: number }[] {
  return double.commands
    .filter(({ name }) => name === "update")
    .flatMap(({ body }) => {
      const statements = (body["updates"] as Document[]).map(({ u }) => u.$set as { key: string; state: number });
      return cutOff.has(body) ? statements.slice(0, 1) : statements;
    });
}

async function documents(
  server: MongoServer,
  database: string,
  collection: string,
  options: object = {},
): Promise<Document[]> {
  const client = await MongoClient.connect(server.url, { directConnection: true, ...options });
  try {
    return await client.db(database).collection(collection).find().toArray();
  } finally {
    await client.close();
  }
}
