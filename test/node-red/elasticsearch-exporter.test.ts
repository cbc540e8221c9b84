/** The Elasticsearch exporter in a real Node-RED, against a real Elasticsearch with security and TLS. */
import assert from "node:assert/strict";
import {
  type ElasticsearchServer,
  START_TIMEOUT_MS,
  VERSIONS,
  sharedElasticsearch,
  startElasticsearch,
} from "../servers/elasticsearch.js";
import { freePort } from "../servers/mongodb.js";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { type FlowNode, type NodeRed, startNodeRed } from "../support/node-red.js";
import { skipBecause } from "../support/skip.js";
import { elasticsearchNode } from "./exporters.js";
import { TAB, heard, listeners, runtimeNode, send, until } from "./flows.js";
import { SPECIAL, hasQueueFile, traces } from "./secrets.js";

const WAITING = 100_000;
/** Of a user who may write below readings and nothing else. */
const LOGIN = { username: "writer", password: SPECIAL };
const NO_SECRETS = { username: "", password: "", apiKey: "", passphrase: "" };

describe("the Elasticsearch exporter", () => {
  let server: ElasticsearchServer;
  let tls: { readonly ca: string };
  let apiKey: string;

  before(async function () {
    this.timeout(START_TIMEOUT_MS);
    if (VERSIONS[0] === "given") skipBecause(this, "users are made for this test, which a given server is spared");
    server = await sharedElasticsearch(VERSIONS[0] as string);
    tls = { ca: server.connection.tls?.ca ?? "" };
    const mayWrite = { names: ["readings*"], privileges: ["create_doc", "auto_configure"] };
    await server.request("PUT", "/_security/role/writer", { indices: [mayWrite] });
    await server.request("PUT", `/_security/user/${LOGIN.username}`, { password: SPECIAL, roles: ["writer"] });
    const role = { writer: { indices: [mayWrite] } };
    const key = await server.request("POST", "/_security/api_key", { name: "readings", role_descriptors: role });
    apiKey = (key.body as { encoded: string }).encoded;
  });

  for (const version of NODE_RED_VERSIONS) {
    describe(`in Node-RED ${version}`, function () {
      this.timeout(180_000);
      let nodeRed: NodeRed;
      const prefix = `readings-${version.replace(".", "")}-`;

      before(async () => {
        nodeRed = await startNodeRed(version);
      });
      afterEach(function () {
        if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
      });
      after(() => nodeRed?.remove());

      const node = (more: object): FlowNode =>
        elasticsearchNode({ nodes: server.url.href, tls, credentials: NO_SECRETS, ...more });
      const deploy = (exporter: FlowNode): Promise<void> =>
        nodeRed.deploy([TAB, runtimeNode(), exporter, ...listeners(["exporter"])]);
      const lastStatus = async (): Promise<string> => (await heard(nodeRed)).statuses.at(-1) ?? "";

      it("stores each message once, in the index of its topic and day, and refuses a name that is none", async () => {
        const names = { index: "topic", indexType: "msg", indexPrefix: prefix, dateSuffix: "-%Y" };
        const login = { auth: "apiKey", credentials: { ...NO_SECRETS, apiKey } };
        await deploy(node({ ...names, ...login, options: { topicField: "room", timestampFrom: "at" } }));

        await send(
          nodeRed,
          { payload: { n: 1, at: "2026-01-31T12:00:00Z" }, topic: "attic" },
          { payload: { n: 2 }, topic: "../_all" },
          { payload: [{ n: 3 }, { n: 4 }], topic: "cellar" },
          { payload: { n: 5 } },
        );
        await until("three documents", async () => (await count(`${prefix}*`)) === 3);

        const found = await search(`${prefix}attic-*`);
        assert.deepEqual(found, [
          { n: 1, at: "2026-01-31T12:00:00Z", room: "attic", "@timestamp": "2026-01-31T12:00:00Z" },
        ]);
        const { caught, completed } = await heard(nodeRed);
        assert.deepEqual(
          caught.map(({ payload, code }) => [payload, code]),
          [
            [{ n: 2 }, "no-destination"],
            [{ n: 5 }, "no-destination"],
          ],
        );
        assert.match(caught[0]?.message ?? "", /index name ".*\.\.\/_all" contains "\/"/);
        assert.equal(completed.length, 2);
        await until("ready", async () => (await lastStatus()) === "green dot ready");
      });

      it("says in status and log what only the user can mend, and what mends itself", async () => {
        const basic = { auth: "basic", credentials: { ...NO_SECRETS, ...LOGIN } };
        const index = `${prefix}statuses`;
        const wrong = { ...basic, credentials: { ...basic.credentials, password: "wrong" } };
        const cases: readonly (readonly [string, object, RegExp, RegExp])[] = [
          ["wrong password", wrong, /^red ring to be mended/, /log|password|credentials/i],
          ["unknown authority", { ...basic, tls: {} }, /^red ring to be mended/, /certificate/],
          [
            "unknown host",
            { ...basic, nodes: "https://nowhere.invalid:9200" },
            /^yellow ring target down/,
            /nowhere\.invalid/,
          ],
          [
            "no right to write",
            { ...basic, index: "elsewhere" },
            /^(yellow dot held|red ring to be mended)/,
            /elsewhere/,
          ],
          ["not checked", { ...basic, tls: { verify: false } }, /^green dot ready, certificate not checked/, /./],
        ];
        let seen = 0;
        for (const [name, more, status, line] of cases) {
          const from = nodeRed.lines.length;
          await deploy(node({ index, ...more }));
          await send(nodeRed, { payload: { name } });
          // Not what the exporter before this one showed.
          const shown = async (): Promise<string> => (await heard(nodeRed)).statuses.slice(seen).at(-1) ?? "";
          await until(`${name}: ${status}`, async () => status.test(await shown()));
          await nodeRed.waitFor(line, from);
          seen = (await heard(nodeRed)).statuses.length;
        }
        // What waited for the password, the authority, the host and the right is there now, each once.
        await until("what waited", async () => (await count(index)) === cases.length);
      });

      it("leaves no trace of its secrets", async () => {
        const passphrase = `${SPECIAL}passphrase`;
        const index = `${prefix}secrets`;
        const login = { auth: "basic", credentials: { ...NO_SECRETS, ...LOGIN, apiKey, passphrase } };
        await deploy(node({ index, ...login }));
        await send(nodeRed, { payload: { n: 1 } });
        await until("a document", async () => (await count(index)) === 1);

        await deploy(node({ index, ...login, credentials: { ...login.credentials, password: `${SPECIAL}!` } }));
        await send(nodeRed, { payload: { n: 2 } }, { payload: { n: "not a number" } });
        await until("a refused login", async () => (await lastStatus()).startsWith("red ring to be mended"));
        await until("a queue file", () => hasQueueFile(nodeRed));
        assert.deepEqual(await traces(nodeRed, [SPECIAL, passphrase, apiKey]), []);
        await deploy(node({ index, ...login }));
        await until("a dead letter", async () => (await heard(nodeRed)).caught.some(({ rejection }) => rejection));
        await deploy(node({ index, auth: "apiKey", credentials: { ...login.credentials, apiKey: `${apiKey}x` } }));
        await until("a refused key", async () => (await lastStatus()).startsWith("red ring to be mended"));

        assert.deepEqual(await traces(nodeRed, [SPECIAL, passphrase, apiKey]), []);
      });

      // Another start of a server: once is enough.
      if (version !== "5") return;
      it(`keeps ${WAITING} records while the server is down for the whole start, and drains by itself`, async () => {
        const index = "readings";
        const port = await freePort();
        const flush = { durability: "everyMessage" };
        await deploy(elasticsearchNode({ nodes: `http://127.0.0.1:${port}`, index, flush, credentials: NO_SECRETS }));
        const before = (await heard(nodeRed)).completed.length;
        for (let first = 0; first < WAITING; first += 10_000) {
          const payload = Array.from({ length: 10_000 }, (_, i) => ({ n: first + i, celsius: (first + i) / 1_000 }));
          await send(nodeRed, { payload });
        }
        await until("all to be safe", async () => (await heard(nodeRed)).completed.length === before + 10, 60_000);
        await nodeRed.kill9();
        await nodeRed.restart();
        await until("an outage", async () => (await lastStatus()).includes(`${WAITING} waiting`), 60_000);

        const late = await startElasticsearch(VERSIONS[0] as string, { security: false, port });
        try {
          await until("ready", async () => (await lastStatus()).startsWith("green dot ready"), 120_000);
          await late.request("POST", `/${index}/_refresh`);
          // As many documents as records, and no number twice: then none is missing either.
          const twice = { terms: { field: "n", min_doc_count: 2, size: 5 } };
          const question = { size: 0, track_total_hits: true, aggs: { twice } };
          const answer = (await late.request("POST", `/${index}/_search`, question)).body as SearchAnswer;
          assert.equal(answer.hits.total.value, WAITING);
          assert.deepEqual(answer.aggregations?.["twice"]?.buckets, []);
        } finally {
          await late.kill();
        }
      });
    });
  }

  async function count(index: string): Promise<number> {
    await server.request("POST", `/${index}/_refresh`);
    const { status, body } = await server.request("GET", `/${index}/_count`);
    return status === 404 ? 0 : (body as { count: number }).count;
  }

  async function search(index: string): Promise<unknown[]> {
    const { status, body } = await server.request("POST", `/${index}/_search`, {});
    // Not there yet, or its shards are still being made.
    if (status !== 200) return [];
    return (body as SearchAnswer).hits.hits.map(({ _source }) => _source);
  }
});

interface SearchAnswer {
  readonly hits: {
    readonly total: { readonly value: number };
    readonly hits: readonly { readonly _source: unknown }[];
  };
  readonly aggregations?: Readonly<Record<string, { readonly buckets: readonly unknown[] }>>;
}
