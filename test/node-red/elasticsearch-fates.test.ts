/**
 * What a real Elasticsearch refuses, as a user of the node meets it: what becomes of the record and of its neighbours,
 * and what the node shows.
 */
import assert from "node:assert/strict";
import { type ElasticsearchServer, START_TIMEOUT_MS, VERSIONS, sharedElasticsearch } from "../servers/elasticsearch.js";
import { type FlowNode, type NodeRed, startNodeRed } from "../support/node-red.js";
import { skipBecause } from "../support/skip.js";
import { elasticsearchNode, fanOut, listenersToAll, shownBy } from "./exporters.js";
import { TAB, heard, runtimeNode, send, until } from "./flows.js";

describe("what Elasticsearch refuses, in Node-RED", () => {
  let server: ElasticsearchServer;
  let nodeRed: NodeRed;
  let access: object;

  before(async function () {
    this.timeout(START_TIMEOUT_MS);
    if (VERSIONS[0] === "given") skipBecause(this, "indices are blocked for this test, which a given server is spared");
    server = await sharedElasticsearch(VERSIONS[0] as string);
    const { auth, tls } = server.connection;
    access = { nodes: server.url.href, auth: "basic", tls, credentials: auth };
    nodeRed = await startNodeRed("4.1");
  });
  afterEach(function () {
    if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
  });
  after(() => nodeRed?.remove());

  const deploy = (exporters: readonly FlowNode[]): Promise<void> =>
    nodeRed.deploy([TAB, runtimeNode(), fanOut(...exporters.map(({ id }) => id)), ...exporters, ...listenersToAll()]);
  const count = async (index: string): Promise<number> => {
    await server.request("POST", `/${index}/_refresh`);
    return ((await server.request("GET", `/${index}/_count`)).body as { count?: number }).count ?? 0;
  };
  const numbered = (length: number): { n: number }[] => Array.from({ length }, (_, n) => ({ n }));

  it("is set aside alone and heard by Catch, with what was sent and why; its neighbours are stored", async () => {
    await server.request("PUT", "/fates-mapped", { mappings: { properties: { n: { type: "long" } } } });
    const strict = { dynamic: "strict", properties: { n: { type: "long" }, "@timestamp": { type: "date" } } };
    await server.request("PUT", "/fates-strict", { mappings: strict });
    const ids = ["mapped", "strict"];
    await deploy(ids.map((id) => elasticsearchNode({ ...access, id, index: `fates-${id}` })));

    const bad = { n: "no number" };
    await send(nodeRed, { to: "mapped", payload: [...numbered(500), bad, ...numbered(499)] });
    await send(nodeRed, { to: "strict", payload: [{ n: 1 }, { n: 2, stray: true }] });
    await until("two to be caught", async () => (await heard(nodeRed)).caught.length === 2);

    // A batch is as large as it was when the time came: the neighbours may be in another one.
    const one = "green dot ready, 1 rejected";
    for (const id of ids) await until(`${id}: ${one}`, async () => shownBy(id, await heard(nodeRed)) === one);
    await until("the neighbours", async () => (await count("fates-mapped")) >= 999);
    assert.deepEqual([await count("fates-mapped"), await count("fates-strict")], [999, 1]);
    const { caught } = await heard(nodeRed);
    const mapped = caught.find(({ code }) => code === "document_parsing_exception");
    assert.deepEqual([mapped?.payload, mapped?.statusCode], [bad, 400]);
    assert.match(mapped?.message ?? "", /failed to parse field \[n\]/);
    const stray = caught.find(({ code }) => code === "strict_dynamic_mapping_exception");
    assert.deepEqual(stray?.payload, { n: 2, stray: true });
  });

  it("is kept where the index, a pipeline or the setting is to blame, with the reason, and goes on when that is mended", async () => {
    const settings: Readonly<Record<string, object>> = {
      readonly: { "index.blocks.write": true },
      // What a disk above its flood stage sets: answered by 429, not 403.
      flood: { "index.blocks.read_only_allow_delete": true },
    };
    const reasons: Readonly<Record<string, RegExp>> = {
      readonly: /fates-readonly.*blocked/,
      flood: /fates-flood.*(flood|read-only)/,
      closed: /fates-closed.*closed/,
      pipeline: /everything is rejected for one reason .* pipeline/,
    };
    const ids = Object.keys(reasons);
    for (const id of ids.slice(0, 3)) await server.request("PUT", `/fates-${id}`);
    for (const [id, blocks] of Object.entries(settings)) {
      await server.request("PUT", `/fates-${id}/_settings`, blocks);
    }
    await server.request("POST", "/fates-closed/_close");
    const caught = (await heard(nodeRed)).caught.length;
    await deploy(
      ids.map((id) =>
        elasticsearchNode({ ...access, id, index: `fates-${id}`, pipeline: id === "pipeline" ? "fates-missing" : "" }),
      ),
    );

    await send(nodeRed, ...ids.map((to) => ({ to, payload: numbered(25) })));
    for (const id of ids) {
      const held = "yellow dot held, 25 waiting";
      await until(`${id}: ${held}`, async () => shownBy(id, await heard(nodeRed)).startsWith(held));
      await nodeRed.waitFor(reasons[id] as RegExp);
      assert.equal(await count(`fates-${id}`), 0);
    }

    for (const [id, blocks] of Object.entries(settings)) {
      const freed = Object.fromEntries(Object.keys(blocks).map((name) => [name, null]));
      await server.request("PUT", `/fates-${id}/_settings`, freed);
    }
    await server.request("POST", "/fates-closed/_open");
    await server.request("PUT", "/_ingest/pipeline/fates-missing", { processors: [] });
    for (const id of ids) await until(`all of ${id}`, async () => (await count(`fates-${id}`)) === 25);
    assert.equal((await heard(nodeRed)).caught.length, caught);
  });

  it("is everything for a key that was revoked, and what is not Elasticsearch never takes a record", async () => {
    const key = await server.request("POST", "/_security/api_key", { name: "fates", expiration: "1h" });
    const { id: keyId, encoded } = key.body as { id: string; encoded: string };
    const withKey = { ...access, auth: "apiKey", index: "fates-key", credentials: { apiKey: encoded } };
    await deploy([
      elasticsearchNode({ ...withKey, id: "key" }),
      // The editor of Node-RED itself answers there, with a page.
      elasticsearchNode({ id: "page", nodes: nodeRed.url }),
    ]);

    await send(nodeRed, { to: "key", payload: { n: 1 } }, { to: "page", payload: { n: 1 } });
    await until("one", async () => (await count("fates-key")) === 1);
    await server.request("DELETE", "/_security/api_key", { ids: [keyId] });
    await send(nodeRed, { to: "key", payload: { n: 2 } });
    const red = "red ring to be mended, 1 waiting";
    await until(red, async () => shownBy("key", await heard(nodeRed)).startsWith(red));
    await nodeRed.waitFor(/resilient-elasticsearch:key.*401.*the key has expired or was revoked/);
    const down = "yellow ring target down, 1 waiting";
    await until(down, async () => shownBy("page", await heard(nodeRed)).startsWith(down));
    await nodeRed.waitFor(/resilient-elasticsearch:page.*not Elasticsearch/);

    await deploy([elasticsearchNode({ ...access, id: "key", index: "fates-key" })]);
    await until("both", async () => (await count("fates-key")) === 2);
  });
});
