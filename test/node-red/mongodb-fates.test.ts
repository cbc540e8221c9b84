/**
 * What MongoDB refuses, as a user of the node meets it: what becomes of the record and of its neighbours, and what the
 * node shows. Against FerretDB (which is not mongod), and a scripted double for what FerretDB cannot say.
 */
import assert from "node:assert/strict";
import { type Document, MongoClient } from "mongodb";
import { MongoServer, needMongoServer } from "../servers/mongodb.js";
import { type NodeRed, startNodeRed } from "../support/node-red.js";
import { type Command, type Reply, WireDouble } from "../support/wire-double.js";
import { fanOut, listenersToAll, mongodbNode, shownBy } from "./exporters.js";
import { TAB, heard, runtimeNode, send, until } from "./flows.js";

const QUICK = { selectTimeoutMs: 1_000, connectTimeoutMs: 1_000, requestTimeoutMs: 3_000 };
const NO_SECRETS = { user: "", password: "" };

describe("what MongoDB refuses, in Node-RED", () => {
  let nodeRed: NodeRed;
  let server: MongoServer;
  let client: MongoClient;
  let double: WireDouble;
  let other: WireDouble;

  before(async function () {
    await needMongoServer(this);
    server = await MongoServer.make();
    await server.start();
    client = await MongoClient.connect(server.url, { directConnection: true });
    double = await WireDouble.listen();
    other = await WireDouble.listen();
    nodeRed = await startNodeRed("5");
  });
  afterEach(function () {
    if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
  });
  after(async () => {
    await nodeRed?.remove();
    await client?.close();
    await server?.remove();
    await double?.close();
    await other?.close();
  });

  const numbersIn = async (collection: string): Promise<unknown[]> =>
    (
      await client
        .db("fates")
        .collection(collection)
        .find({}, { sort: { n: 1 } })
        .toArray()
    ).map(({ n }) => n as unknown);
  const rejectedBy = async (code: string): Promise<{ payload: unknown; message: string; statusCode?: number }[]> =>
    (await heard(nodeRed)).caught.filter((caught) => caught.code === code);

  it("is set aside alone and heard by Catch, with what was sent and why; its neighbours are stored", async () => {
    await client.db("fates").collection("unique").createIndex({ serial: 1 }, { unique: true });
    const common = { uri: server.url, database: "fates", credentials: NO_SECRETS, options: QUICK };
    // One message of three records, the second of 17 MB.
    const large = { data: `[1..3].{ "n": $, "text": $ = 2 ? $pad("", 17000000, "x") : "small" }`, dataType: "jsonata" };
    const ids = ["unique", "bad", "large", "validated"];
    await nodeRed.deploy([
      TAB,
      runtimeNode(),
      fanOut(...ids),
      ...ids.slice(0, 3).map((id) => mongodbNode({ id, ...common, collection: id, ...(id === "large" ? large : {}) })),
      mongodbNode({ ...common, id: "validated", uri: double.url, collection: "validated" }),
      ...listenersToAll(),
    ]);
    const details = { failingDocumentId: 1, details: { operatorName: "$jsonSchema", missingProperties: ["unit"] } };
    double.next("insert", ({ body }) => {
      const documents = body["documents"] as Document[];
      const writeErrors = documents.flatMap(({ unit }, index) =>
        unit === undefined ? [{ index, code: 121, errmsg: "Document failed validation", errInfo: details }] : [],
      );
      return { n: documents.length - writeErrors.length, writeErrors };
    });

    await send(nodeRed, {
      to: "unique",
      payload: [
        { n: 1, serial: 1 },
        { n: 2, serial: 1 },
        { n: 3, serial: 3 },
      ],
    });
    const thousand = Array.from({ length: 1_000 }, (_, n) => (n === 500 ? { _id: [n], n } : { n }));
    await send(nodeRed, { to: "bad", payload: thousand }, { to: "large" });
    await send(nodeRed, { to: "validated", payload: [{ n: 1, unit: "C" }, { n: 2 }] });
    await until("four to be caught", async () => (await heard(nodeRed)).caught.length >= 4);
    // A batch is as large as it was when the time came: the neighbours may be in another one.
    const one = "green dot ready, 1 rejected";
    for (const id of ids) await until(`${id}: ${one}`, async () => shownBy(id, await heard(nodeRed)) === one);
    await until("the neighbours", async () => (await numbersIn("bad")).length >= 999);

    assert.deepEqual(await numbersIn("unique"), [1, 3]);
    assert.equal((await numbersIn("bad")).length, 999);
    assert.deepEqual(await numbersIn("large"), [1, 3]);
    const [violation] = await rejectedBy("11000");
    assert.deepEqual(violation?.payload, { n: 2, serial: 1 });
    assert.match(violation?.message ?? "", /unique index/);
    assert.equal(violation?.statusCode, 11000);
    const [invalid] = await rejectedBy("121");
    assert.deepEqual(invalid?.payload, { n: 2 });
    assert.match(invalid?.message ?? "", /missingProperties.*unit/);
    const [tooLarge] = await rejectedBy("too-large");
    assert.match(tooLarge?.message ?? "", /17000049 bytes, 16777216 are allowed/);
  });

  it("is kept when all of it is refused for one reason, or its collection is a view, and goes on when that is mended", async () => {
    const common = { uri: double.url, database: "fates", credentials: NO_SECRETS, options: QUICK };
    await nodeRed.deploy([
      TAB,
      runtimeNode(),
      fanOut("guarded", "view"),
      mongodbNode({ id: "guarded", ...common, collection: "guarded" }),
      mongodbNode({ id: "view", ...common, uri: other.url, collection: "view" }),
      ...listenersToAll(),
    ]);
    const caught = (await heard(nodeRed)).caught.length;
    let isMended = false;
    const notValid = ({ body }: Command): Reply => {
      const documents = body["documents"] as Document[];
      const errors = documents.map((_, index) => ({ index, code: 121, errmsg: "Document failed validation" }));
      return isMended ? undefined : { n: 0, writeErrors: errors };
    };
    const view = { ok: 0, code: 166, errmsg: "Namespace fates.view is a view, not a collection" };
    for (let i = 0; i < 100; i++) {
      double.next("insert", notValid);
      other.next("insert", () => (isMended ? undefined : view));
    }

    await send(nodeRed, { to: "guarded", payload: Array.from({ length: 30 }, (_, n) => ({ n })) });
    await until("held", async () => shownBy("guarded", await heard(nodeRed)).startsWith("yellow dot held, 30 waiting"));
    await send(nodeRed, { to: "view", payload: { n: 1 } });
    await until("held", async () => shownBy("view", await heard(nodeRed)).startsWith("yellow dot held, 1 waiting"));
    await nodeRed.waitFor(/setting is suspected, not the data/);
    await nodeRed.waitFor(/is a view/);
    isMended = true;
    await until(
      "all",
      () => double.documents("fates.guarded").length === 30 && other.documents("fates.view").length === 1,
      // It has been refused a few times by now, and waits longer from time to time.
      120_000,
    );

    assert.equal((await heard(nodeRed)).caught.length, caught);
  });
});
