import assert from "node:assert/strict";
import {
  addressesIn,
  checkElasticsearchSettings,
  elasticsearchConnection,
  elasticsearchDocuments,
  elasticsearchPlace,
  hasLoginInAddress,
} from "../../../nodes/elasticsearch-exporter/elasticsearch-settings.js";
import { type ElasticsearchSettings, checkElasticsearchOptions } from "../../../src/targets/elasticsearch/options.js";

const asIs = (text: string): string => text;
const dialog = { connectBy: "nodes", nodes: "http://localhost:9200", auth: "none" };

function optionsOf(config: Record<string, unknown>, credentials = {}): ElasticsearchSettings {
  const { settings } = checkElasticsearchSettings(config, asIs);
  const connection = elasticsearchConnection(config, settings, credentials, asIs);
  return checkElasticsearchOptions({
    ...elasticsearchDocuments(config, settings, asIs),
    connection,
    index: "readings",
  });
}

describe("the dialog of an Elasticsearch exporter", () => {
  it("gives what the target takes when it was left alone", () => {
    const { connection, op, id, timestamp } = optionsOf(dialog);

    assert.deepEqual(connection.nodes, ["http://localhost:9200/"]);
    assert.deepEqual([op, id, timestamp, connection.auth.kind], ["create", "record", true, "none"]);
  });

  it("takes a list of addresses as people write it", () => {
    assert.deepEqual(addressesIn(" https://a:9200, b:9200\n[::1]:9200 "), [
      "https://a:9200",
      "http://b:9200",
      "http://[::1]:9200",
    ]);
  });

  it("uses the secrets of the chosen login only", () => {
    const credentials = { username: "u", password: "p", apiKey: " key\n", token: "t" };

    assert.deepEqual(optionsOf({ ...dialog, auth: "apiKey" }, credentials).connection.auth, {
      kind: "apiKey",
      apiKey: "key",
    });
    assert.deepEqual(optionsOf(dialog, credentials).connection.auth, { kind: "none" });
    assert.throws(() => optionsOf({ ...dialog, auth: "bearer" }), /token is missing/);
  });

  it("puts the proxy's login into its address, whatever its characters", () => {
    const secret = `p@:/?#[]"%ü`;
    const { proxy } = optionsOf(
      { ...dialog, proxy: "http://proxy:3128" },
      { proxyUser: "u@x", proxyPassword: secret },
    ).connection;

    const { username, password } = new URL(proxy);
    assert.deepEqual([username, password].map(decodeURIComponent), ["u@x", secret]);
  });

  it("notices a login that stands in an address of the flow", () => {
    assert.equal(hasLoginInAddress(dialog), false);
    assert.equal(hasLoginInAddress({ ...dialog, nodes: "http://a:9200 https://u:p@b:9200" }), true);
    assert.equal(hasLoginInAddress({ ...dialog, proxy: "http://u:p@proxy:3128" }), true);
    assert.equal(hasLoginInAddress({ ...dialog, nodes: "https://u:${PASSWORD}@b:9200 ${ADDRESS}" }), false);
  });

  it("is another place for secrets when address or protection differ, and the same when only waits do", () => {
    const place = elasticsearchPlace(dialog, asIs);

    for (const more of [
      { nodes: "http://localhost:9200, http://other:9200" },
      { connectBy: "cloudId", cloudId: "a:YiRj" },
      { tls: { verify: false } },
      { tls: { fingerprint: "00".repeat(32) } },
      { proxy: "http://proxy:3128" },
      { options: { discoverNodes: true } },
      { options: { headers: '{"X-Found-Cluster":"other"}' } },
    ])
      assert.notEqual(elasticsearchPlace({ ...dialog, ...more }, asIs), place, JSON.stringify(more));
    for (const more of [
      { options: { requestTimeoutMs: 100 } },
      { index: "other" },
      { nodes: "http://u:p@localhost:9200" },
    ])
      assert.equal(elasticsearchPlace({ ...dialog, ...more }, asIs), place, JSON.stringify(more));
  });
});
