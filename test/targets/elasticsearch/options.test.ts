import assert from "node:assert/strict";
import fc from "fast-check";
import { checkElasticsearchOptions, ElasticsearchOptionsError } from "../../../src/targets/elasticsearch/options.js";

function fieldOf(options: unknown): string {
  try {
    checkElasticsearchOptions(options);
  } catch (error) {
    assert.ok(error instanceof ElasticsearchOptionsError, String(error));
    return error.field;
  }
  return "";
}

describe("Elasticsearch options", () => {
  it("need no more than an index", () => {
    const settings = checkElasticsearchOptions({ index: "readings" });

    assert.deepEqual(settings.connection.nodes, ["http://localhost:9200/"]);
    assert.equal(settings.op, "create");
    assert.equal(settings.id, "record");
    assert.equal(settings.timestamp, true);
    assert.equal(settings.connection.tls.verify, true);
  });

  const connection = (parts: object): object => ({ index: "i", connection: parts });
  const cases: readonly (readonly [string, unknown])[] = [
    ["options", undefined],
    ["options", []],
    ["index", {}],
    ["index", { index: 5 }],
    ["index", { index: "<x-{now/d}>" }],
    ["index", { index: "_all" }],
    ["index", { index: "a,b" }],
    ["dateSuffix", { index: "i", dateSuffix: "-%Q" }],
    ["op", { index: "i", op: "delete" }],
    ["op", { index: "i", op: "index", destination: "dataStream" }],
    ["id", { index: "i", op: "update" }],
    ["maxDestinations", { index: "i", maxDestinations: 0.5 }],
    ["pipeline", { index: "i", pipeline: "_none" }],
    ["routing", { index: "i", routing: "a\nb" }],
    ["fields", { index: "i", fields: { topic: "x", device: "x" } }],
    ["fields", { index: "i", fields: { acceptedAt: "@timestamp" } }],
    ["connection", { index: "i", connection: "http://x" }],
    ["connection.nodes", connection({ nodes: [] })],
    ["connection.nodes", connection({ nodes: ["http://a", "b:9200"] })],
    ["connection.nodes", connection({ nodes: "http://a/?x=1" })],
    ["connection.cloudId", connection({ cloudId: "name" })],
    ["connection.cloudId", connection({ cloudId: `name:${Buffer.from("x").toString("base64")}` })],
    ["connection.auth.kind", connection({ auth: { kind: "kerberos" } })],
    ["connection.auth.password", connection({ auth: { kind: "basic", username: "u" } })],
    ["connection.auth.apiKey", connection({ auth: { kind: "apiKey", apiKey: "a\r\nx-evil: 1" } })],
    ["connection.headers", connection({ headers: { Authorization: "Basic x" } })],
    ["connection.headers", connection({ headers: { "content-type": "text/plain" } })],
    ["connection.headers", connection({ headers: { "a b": "x" } })],
    ["connection.headers", connection({ headers: { "Transfer-Encoding": "chunked" } })],
    ["connection.headers", connection({ headers: { "Proxy-Authorization": "Basic x" } })],
    ["connection.headers.x-a", connection({ headers: { "X-A": "a\nb" } })],
    ["connection.tls.cert", connection({ tls: { cert: "-----BEGIN" } })],
    ["connection.tls.caFingerprint", connection({ nodes: "https://a", tls: { caFingerprint: "12" } })],
    ["connection.tls.caFingerprint", connection({ nodes: "http://a", tls: { caFingerprint: "a".repeat(64) } })],
    ["connection.proxy", connection({ proxy: "socks5://x" })],
    ["connection.requestTimeoutMs", connection({ requestTimeoutMs: 0 })],
    ["connection.requestTimeoutMs", connection({ requestTimeoutMs: "30" })],
    ["connection.discoverNodes", connection({ discoverNodes: true, proxy: "http://p:3128" })],
    ["connection.compression", connection({ compression: true })],
  ];
  for (const [field, options] of cases) {
    it(`name ${field} when it is wrong: ${JSON.stringify(options) ?? "nothing"}`, () => {
      assert.equal(fieldOf(options), field);
    });
  }

  it("move login data out of an address, so that it never shows", () => {
    const { connection: checked } = checkElasticsearchOptions(connection({ nodes: "https://us%40er:pa%3Ass@h:1/p" }));

    assert.deepEqual(checked.nodes, ["https://h:1/p"]);
    assert.deepEqual(checked.auth, { kind: "basic", username: "us@er", password: "pa:ss" });
  });

  it("prefer the login that was set to the one in an address", () => {
    const auth = { kind: "bearer", token: "t" };

    assert.deepEqual(checkElasticsearchOptions(connection({ nodes: "http://u:p@h", auth })).connection.auth, auth);
  });

  it("cannot pollute prototypes, and never fail in another way, whatever comes", () => {
    const names = ["index", "connection", "headers", "nodes", "auth", "tls", "kind", "__proto__", "constructor", "op"];
    const leaf = fc.oneof(fc.jsonValue(), fc.constantFrom("basic", "create", "http://h", "i"));
    const { node } = fc.letrec((tie) => ({
      node: fc.dictionary(fc.constantFrom(...names), fc.oneof({ maxDepth: 3 }, leaf, tie("node")), {
        noNullPrototype: true,
      }),
    }));
    fc.assert(
      fc.property(node, (options) => {
        fieldOf(JSON.parse(JSON.stringify(options)));

        assert.equal(({} as Record<string, unknown>)["kind"], undefined);
      }),
    );
    const headers = JSON.parse('{"__proto__":"x"}') as object;
    assert.equal(fieldOf(connection({ headers })), "");
  });
});
