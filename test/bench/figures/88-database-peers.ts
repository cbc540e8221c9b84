/**
 * What else brings a flow's messages into a database: node-red-contrib-mongodb4, an insert for each message, and the
 * exporters of the Python library that this package is heir to, a request for each record. The MongoDB is FerretDB, which
 * is not mongod.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { MongoClient } from "mongodb";
import { startElasticsearch, stopElasticsearch } from "../../servers/elasticsearch.js";
import { MongoServer } from "../../servers/mongodb.js";
import { startNodeRed, type Flow, type FlowNode } from "../../support/node-red.js";
import { installInto, madeOnce, output } from "../../support/servers-cache.js";
import { benchFolder, engine, openEngine, sendAll } from "../engine.js";
import { atLeast, skipped, type Figure, type Measured } from "../figure.js";
import { compare, pause, perSecond, rateUntil } from "../measure.js";
import { SEED, seedPython } from "../peers/seed.js";
import { readings100 } from "../readings.js";
import type { Target } from "../../../src/targets/target.js";

const COUNT = 10_000;
/** One by one: fewer, or it would take minutes. */
const PEER_COUNT = 1_000;
const ROUNDS = 3;
const WAIT_MS = 120_000;
const MONGODB4 = "node-red-contrib-mongodb4@3.4.0";
/** The clients that the library was made for. */
const CLIENTS = ["pymongo<4", "elasticsearch<8"];
const SEED_SCRIPT = join(__dirname, "..", "peers", "seed_database.py");

/** The rate of the Python library, beside ours into the same server. */
async function besideSeed(kind: string, port: number, target: () => Target): Promise<Measured> {
  let python: string;
  try {
    python = await seedPython("-databases", CLIENTS);
  } catch (error) {
    return skipped("x", ">= 1", `no Python with it: ${(error as Error).message.split("\n")[0]}`);
  }
  const rows = join(benchFolder(), "rows.jsonl");
  const lines = readings100().map((reading) => JSON.stringify(reading));
  writeFileSync(rows, lines.join("\n"));
  const ours = (): Promise<number> =>
    rateUntil(COUNT, async () => {
      const { exporter, delivered, close } = await openEngine({ target: target() });
      await sendAll(exporter, readings100(), COUNT);
      await delivered();
      await close();
    });
  const theirs = async (): Promise<number> => {
    const said = await output(python, [SEED_SCRIPT, kind, String(port), rows, String(PEER_COUNT)], "/tmp");
    return Number(/rate ([\d.]+)/.exec(said)?.[1]);
  };
  const { rates, ratios } = await compare([ours, theirs], ROUNDS, 1);
  const peer = `${SEED}, ${kind}: ${perSecond(rates[1]!)}, here ${perSecond(rates[0]!)}`;
  return atLeast(ratios[1]!, 1, "x", peer);
}

async function seedMongodb(): Promise<Measured[]> {
  const server = await MongoServer.make();
  await server.start();
  let run = 0;
  try {
    const target = (): Target => {
      const options = { connection: { uri: server.url }, database: "bench", collection: `ours${run++}` };
      return new engine.MongoTarget(engine.checkMongoOptions(options));
    };
    return [await besideSeed("mongodb", server.port, target)];
  } finally {
    await server.remove();
  }
}

async function seedElasticsearch(): Promise<Measured[]> {
  const server = await startElasticsearch("9.5.3", { security: false });
  try {
    const options = { connection: server.connection, index: "ours" };
    const target = (): Target => new engine.ElasticsearchTarget(engine.checkElasticsearchOptions(options));
    return [await besideSeed("elasticsearch", Number(server.url.port), target)];
  } finally {
    await stopElasticsearch();
  }
}

const chain = (name: string, end: FlowNode): Flow => [
  { id: `in-${name}`, type: "http in", z: "tab", url: `/${name}`, method: "post", wires: [[`from-${name}`, "ok"]] },
  { id: `from-${name}`, type: "bench-source", z: "tab", wires: [[end.id]] },
  { ...end, z: "tab", wires: [] },
];

function flows(uri: string): Flow {
  const mongodb4 = { type: "mongodb4", clientNode: "client", mode: "collection", operation: "insertOne" };
  const ours = {
    type: "resilient-mongodb",
    runtime: "runtime",
    connectBy: "uri",
    uri,
    options: {},
    flush: {},
    tls: {},
  };
  return [
    { id: "tab", type: "tab", label: "bench" },
    { id: "ok", type: "http response", z: "tab", wires: [] },
    { id: "runtime", type: "resilient-runtime", name: "", folder: "", budgets: {}, flush: {} },
    { id: "client", type: "mongodb4-client", uriTabActive: "tab-uri-advanced", uri, dbName: "bench" },
    ...chain("theirs", { id: "mongodb4", ...mongodb4, collection: "theirs" }),
    ...chain("ours", {
      id: "resilient",
      ...ours,
      database: "bench",
      databaseType: "str",
      collection: "ours",
      collectionType: "str",
      data: "payload",
      dataType: "msg",
    }),
  ];
}

async function besideMongodb4(): Promise<Measured[]> {
  let modules: string;
  try {
    const name = MONGODB4.replace("@", "-");
    modules = join(await madeOnce(name, (into) => installInto(into, [MONGODB4])), "node_modules");
  } catch (error) {
    return [skipped("x", ">= 1", `no ${MONGODB4}: ${(error as Error).message.split("\n")[0]}`)];
  }
  const server = await MongoServer.make();
  await server.start();
  const client = await new MongoClient(server.url, { directConnection: true }).connect();
  const nodesDir = [join(__dirname, "..", "nodes"), join(modules, "node-red-contrib-mongodb4", "src")];
  const nodeRed = await startNodeRed("4.1", { settings: { nodesDir, apiMaxLength: "5mb" } });
  try {
    await nodeRed.deploy(flows(server.url));
    const readings = readings100().slice(0, 500);
    let runs = 0;
    /** From the first message to the last document, as the server counts them. */
    const rateOfFlow = async (name: string, count: number): Promise<number> => {
      const run = `${name}-${++runs}`;
      const collection = client.db("bench").collection(name);
      const before = await collection.estimatedDocumentCount();
      await nodeRed.request(`/${name}`, { method: "POST", body: JSON.stringify({ run, count, readings }) });
      const line = await nodeRed.waitFor(`bench ${run} began `, 0, WAIT_MS);
      const beganMs = Number(line.slice(line.lastIndexOf(" ")));
      while ((await collection.estimatedDocumentCount()) < before + count) {
        if (performance.timeOrigin + performance.now() - beganMs > WAIT_MS) throw new Error(`${run} does not arrive`);
        // The server counts by looking at every document: not too often.
        await pause(250);
      }
      return (count / (performance.timeOrigin + performance.now() - beganMs)) * 1_000;
    };
    const sides = [() => rateOfFlow("ours", COUNT), () => rateOfFlow("theirs", PEER_COUNT)];
    const { rates, ratios } = await compare(sides, ROUNDS, 1);
    const peer = `${MONGODB4}, an insert a message, FerretDB (not mongod): ${perSecond(rates[1]!)}, here ${perSecond(rates[0]!)}`;
    return [atLeast(ratios[1]!, 1, "x", peer)];
  } finally {
    await nodeRed.remove();
    await client.close();
    await server.remove();
  }
}

export const figures: readonly Figure[] = [
  { name: "mongodb4", what: "a flow in Node-RED into MongoDB, to the last document", measure: besideMongodb4 },
  { name: "seed-mongodb", what: "the Python library resilient-exporters, into MongoDB", measure: seedMongodb },
  {
    name: "seed-elasticsearch",
    what: "the Python library resilient-exporters, into Elasticsearch",
    measure: seedElasticsearch,
  },
];
