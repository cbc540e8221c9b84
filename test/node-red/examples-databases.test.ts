/**
 * The example flows with a database, imported as they are into one Node-RED; only the address, and what it needs of a
 * login, is that of the servers here, as the flows' own comments tell the user to. MongoDB is FerretDB, and for the time
 * series, which FerretDB has not, a scripted double.
 */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type Document, MongoClient } from "mongodb";
import { type ElasticsearchServer, START_TIMEOUT_MS, VERSIONS, sharedElasticsearch } from "../servers/elasticsearch.js";
import { MongoServer, needMongoServer } from "../servers/mongodb.js";
import { type FlowNode, type NodeRed, startNodeRed } from "../support/node-red.js";
import { projectFolder } from "../support/servers-cache.js";
import { skipBecause } from "../support/skip.js";
import { WireDouble } from "../support/wire-double.js";
import { linesOf, until } from "./flows.js";

const FOLDER = join(projectFolder, "examples");
const DAY = new Date().toISOString().slice(0, 10).replaceAll("-", ".");

describe("the example flows with a database", () => {
  let mongo: MongoServer;
  let client: MongoClient;
  let double: WireDouble;
  let elastic: ElasticsearchServer;
  let nodeRed: NodeRed;

  before(async function () {
    await needMongoServer(this);
    this.timeout(START_TIMEOUT_MS);
    if (VERSIONS[0] === "given")
      skipBecause(this, "the example flows write where they like, which a given server is spared");
    elastic = await sharedElasticsearch(VERSIONS[0] as string);
    mongo = await MongoServer.make();
    await mongo.start();
    client = await MongoClient.connect(mongo.url, { directConnection: true });
    double = await WireDouble.listen();
    nodeRed = await startNodeRed("4.1");
  });
  afterEach(function () {
    if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
  });
  after(async () => {
    await nodeRed?.remove();
    await client?.close();
    await mongo?.remove();
    await double?.close();
  });

  it("bring their readings there, all beside one another", async () => {
    // What comes with a whole Elasticsearch, and is not in the parts that the tests can have.
    const streams = { index_patterns: ["metrics-*-*"], data_stream: {}, priority: 100 };
    await elastic.request("PUT", "/_index_template/metrics", streams);
    const privileges = ["create_doc", "auto_configure"];
    const apiKey = async (...names: string[]): Promise<string> => {
      const role_descriptors = { writer: { indices: [{ names, privileges }] } };
      const { body } = await elastic.request("POST", "/_security/api_key", { name: "examples", role_descriptors });
      return (body as { encoded: string }).encoded;
    };
    const access = { nodes: elastic.url.href, auth: "apiKey", tls: elastic.connection.tls };
    // As the comment of the fourth says: no more than this is needed.
    const streamKey = await apiKey("metrics-readings-*");
    const indexKey = await apiKey("readings-*", "plant-readings");
    const flows = [
      ...example(2, { "resilient-mongodb": { uri: mongo.url } }),
      ...example(3, { "resilient-mongodb": { uri: double.url } }),
      ...example(4, { "resilient-elasticsearch": { ...access, credentials: { apiKey: streamKey } } }),
      ...example(5, { "resilient-elasticsearch": { ...access, credentials: { apiKey: indexKey } } }),
      ...example(6, {
        "resilient-mongodb": { uri: mongo.url },
        "resilient-elasticsearch": { ...access, credentials: { apiKey: indexKey } },
      }),
    ];

    await nodeRed.deploy(flows);
    const readings = client.db("plant").collection("readings");
    const file = join(nodeRed.userDir, "readings.jsonl");
    let found: Record<string, Document | undefined> = {};
    await until("a reading of each", async () => {
      found = {
        document: (await readings.findOne({ topic: "load" })) ?? undefined,
        point: double.documents("plant.load")[0],
        inStream: await first("metrics-readings-default"),
        inDay: await first(`readings-load-${DAY}`),
        byPool: (await readings.findOne({ bar: 1.5 })) ?? undefined,
        byPoolInIndex: await first("plant-readings"),
        inFile: linesOf(file)[0] as Document | undefined,
      };
      return Object.values(found).every((one) => one !== undefined);
    });

    assert.ok(found["document"]?.["acceptedAt"] instanceof Date);
    assert.equal(typeof found["document"]?.["load15"], "number");
    const created = double.commands.find(({ name }) => name === "create")?.body;
    assert.deepEqual(created?.["timeseries"], { timeField: "at", metaField: "source", granularity: "seconds" });
    assert.ok(found["point"]?.["at"] instanceof Date);
    assert.equal(found["inStream"]?.["@timestamp"], found["inStream"]?.["at"]);
    assert.equal(typeof found["inDay"]?.["load5"], "number");
    for (const name of ["byPool", "byPoolInIndex", "inFile"]) assert.equal(typeof found[name]?.["celsius"], "number");
    const complaints = nodeRed.lines.filter((line) => /\[(warn|error)\] \[resilient/.test(line));
    assert.deepEqual(complaints, []);
  });

  async function first(index: string): Promise<Document | undefined> {
    await elastic.request("POST", `/${index}/_refresh`);
    const { status, body } = await elastic.request("POST", `/${index}/_search`, { size: 1 });
    // Not there yet, or its shards are still being made.
    if (status !== 200) return undefined;
    return (body as { hits: { hits: { _source: Document }[] } }).hits.hits[0]?._source;
  }
});

/** The nodes of an example, those of the given types changed so. */
function example(number: number, changes: Readonly<Record<string, object>>): FlowNode[] {
  const name = readdirSync(FOLDER).find((file) => file.startsWith(`${number}-`)) as string;
  const nodes = JSON.parse(readFileSync(join(FOLDER, name), "utf8")) as FlowNode[];
  return nodes.map((node) => ({ ...node, ...changes[node.type] }));
}
