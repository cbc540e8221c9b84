/**
 * The examples of the README of resilient-exporters 0.1.6 (Python) that need servers, against real ones: Elasticsearch 9
 * and 8.19, and FerretDB, which speaks MongoDB's protocol and is not mongod.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { MongoClient } from "mongodb";
import { ElasticsearchExporter, ExporterPool, FileExporter, MongoDBExporter } from "../../src/index.js";
import {
  type ElasticsearchServer,
  sharedElasticsearch,
  START_TIMEOUT_MS,
  startElasticsearch,
  VERSIONS,
} from "../servers/elasticsearch.js";
import { MongoServer, needMongoServer } from "../servers/mongodb.js";
import { CONFIRMED, Program } from "./shelf.js";

/** The transform of that README. */
function halved(data: unknown): unknown {
  const reading = data as { metric: number };
  reading.metric = (reading.metric / 2) * 0.5;
  return reading;
}

let names = 0;
const fresh = (): string => `my_index_${process.pid}_${names++}`;

async function documentsIn(server: ElasticsearchServer, index: string): Promise<Record<string, unknown>[]> {
  await server.request("POST", `/${index}/_refresh`);
  const { body } = await server.request("GET", `/${index}/_search`);
  const { hits } = (body as { hits: { hits: { _source: Record<string, unknown> }[] } }).hits;
  return hits.map(({ _source }) => {
    const { "@timestamp": timestamp, ...document } = _source;
    assert.equal(typeof timestamp, "string");
    return document;
  });
}

describe("the examples of the Python package for MongoDB", () => {
  const password = "p/w d@:%";
  let server: MongoServer;
  let client: MongoClient;
  let program: Program;

  before(async function () {
    await needMongoServer(this);
    server = await MongoServer.make({ password, tls: "mutual" });
    await server.start();
    const file = (name: string): string => join(server.folder, name);
    const tls = { tls: true, tlsCAFile: file("ca.crt"), tlsCertificateKeyFile: file("client.pem") };
    client = new MongoClient(server.url, { ...tls, auth: { username: "root", password }, authSource: "admin" });
  });
  after(async () => {
    await client?.close();
    await server?.remove();
  });
  beforeEach(() => {
    program = new Program();
  });
  afterEach(() => program.end());

  function exporter(options: Partial<ConstructorParameters<typeof MongoDBExporter>[0]> = {}): MongoDBExporter {
    return program.use(
      new MongoDBExporter({
        connection: {
          hosts: `127.0.0.1:${server.port}`,
          user: "root",
          password,
          tls: true,
          ca: join(server.folder, "ca.crt"),
          cert: join(server.folder, "client.crt"),
          key: join(server.folder, "client.key"),
        },
        database: "my_db",
        collection: "my_collection",
        runtime: program.runtime,
        flush: CONFIRMED,
        ...options,
      }),
    );
  }

  const documents = (collection: string): Promise<object[]> =>
    client
      .db("my_db")
      .collection(collection)
      .find({}, { projection: { _id: 0 } })
      .toArray();

  it("send a document, with a password of any characters (seed defect 4), and certificates", async () => {
    await exporter().send({ field1: "value1" });

    assert.deepEqual(await documents("my_collection"), [{ field1: "value1" }]);
  });

  it("transform a document before it is sent (seed defect 3)", async () => {
    const mydata = { metric: 2 };

    await exporter({ collection: "transformed", transform: halved }).send(mydata);

    assert.deepEqual(await documents("transformed"), [{ metric: 0.5 }]);
    assert.deepEqual(mydata, { metric: 2 });
  });

  it("send a record to another collection than the default one, also after an outage", async () => {
    const mongo = exporter({ flush: { ...CONFIRMED, durability: "everyMessage" } });
    await mongo.ready();
    await mongo.letGo();
    await mongo.send({ n: 1 }, { collection: "other" });
    await mongo.close();

    const again = exporter();
    await again.ready();
    await again.sendUnsent();

    assert.deepEqual(await documents("other"), [{ n: 1 }]);
  });
});

for (const version of VERSIONS) {
  describe(`the examples of the Python package for Elasticsearch ${version}`, () => {
    let server: ElasticsearchServer;
    let program: Program;

    before(async function () {
      this.timeout(START_TIMEOUT_MS);
      server = await sharedElasticsearch(version);
    });
    beforeEach(() => {
      program = new Program();
    });
    afterEach(() => program.end());

    it("send a document by host and port (seed defect 2), with TLS and its certificates", async () => {
      const { tls, auth } = server.connection;
      const index = fresh();
      const exporter = program.use(
        new ElasticsearchExporter({
          connection: {
            nodes: `https://${server.url.hostname}:${server.url.port}`,
            ...(tls && { tls }),
            ...(auth && { auth }),
          },
          index,
          runtime: program.runtime,
          flush: CONFIRMED,
        }),
      );

      await exporter.send({ field1: "value1" });

      assert.deepEqual(await documentsIn(server, index), [{ field1: "value1" }]);
    });

    it("ask the cluster for its nodes (sniff_on_start), and sign in by an API key", async () => {
      const key = await server.request("POST", "/_security/api_key", { name: "library" });
      const { encoded } = key.body as { encoded: string };
      const index = fresh();
      const exporter = program.use(
        new ElasticsearchExporter({
          connection: { ...server.connection, auth: { kind: "apiKey", apiKey: encoded }, discoverNodes: true },
          index,
          runtime: program.runtime,
          flush: CONFIRMED,
        }),
      );

      await exporter.send([{ field1: "value1" }, { field1: "value2" }]);

      assert.deepEqual(await documentsIn(server, index), [{ field1: "value1" }, { field1: "value2" }]);
    });
  });
}

describe("the pool of the Python package's README", function () {
  this.timeout(START_TIMEOUT_MS);
  let mongo: MongoServer;
  let elastic: ElasticsearchServer;
  let program: Program;

  before(async function () {
    await needMongoServer(this);
    mongo = await MongoServer.make();
    elastic = await startElasticsearch(VERSIONS[0]!, { security: false });
  });
  after(() => mongo?.remove());
  beforeEach(() => {
    program = new Program();
  });
  afterEach(() => program.end());

  it("starts while both databases are away (seed defect 5), keeps one copy on disk, and brings each its own when they come", async () => {
    const index = fresh();
    await elastic.kill();
    const exporters = [
      new MongoDBExporter({
        connection: { hosts: `127.0.0.1:${mongo.port}`, selectTimeoutMs: 500 },
        database: "my_db",
        collection: "my_collection",
      }),
      new ElasticsearchExporter({ connection: { nodes: elastic.url.href }, index }),
      new FileExporter({ file: program.path("copy.ndjson") }),
    ];
    const flush = { durability: "everyMessage" } as const;
    const pool = program.use(new ExporterPool({ exporters, runtime: program.runtime, flush }));
    await pool.send([{ metric: 2 }, { metric: 4 }]);
    const down = await pool.sendUnsent();
    assert.deepEqual(
      [...down.values()].map(({ end }) => end),
      ["unavailable", "unavailable", "tried"],
    );

    await mongo.start();
    await elastic.restart();
    await pool.sendUnsent();

    assert.equal(pool.hasUnsent, false);
    assert.deepEqual(program.lines("copy.ndjson"), ['{"metric":2}', '{"metric":4}']);
    assert.deepEqual(await documentsIn(elastic, index), [{ metric: 2 }, { metric: 4 }]);
    const client = new MongoClient(mongo.url);
    const found = await client.db("my_db").collection("my_collection").find().toArray();
    await client.close();
    assert.deepEqual(
      found.map(({ _id, ...rest }) => rest),
      [{ metric: 2 }, { metric: 4 }],
    );
  });
});
