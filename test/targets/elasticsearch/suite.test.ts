/**
 * What every target must do, shown on real Elasticsearch: TLS, and a key that may only create documents and the index;
 * directly and behind a bad link. Then the target in the delivery, where destinations wait apart from each other.
 */
import assert from "node:assert/strict";
import { systemClock } from "../../../src/clock.js";
import { Delivery } from "../../../src/delivery/loop.js";
import type { LogRecord } from "../../../src/record.js";
import { checkElasticsearchOptions } from "../../../src/targets/elasticsearch/options.js";
import { ElasticsearchTarget } from "../../../src/targets/elasticsearch/target.js";
import type { Rejection } from "../../../src/targets/target.js";
import { FaultProxy } from "../../support/fault-proxy.js";
import { MemorySource, recordOf } from "../../support/memory-source.js";
import { describeTarget, type TargetBench } from "../../support/target-suite.js";
import {
  sharedElasticsearch,
  START_TIMEOUT_MS,
  VERSIONS,
  type ElasticsearchServer,
} from "../../servers/elasticsearch.js";
import { CLIENTS, type ClientVersion } from "./targets.js";

const REQUEST_TIMEOUT_MS = 1_500;
let names = 0;

async function makeBench(
  server: ElasticsearchServer,
  client: ClientVersion,
  proxy?: FaultProxy,
): Promise<Omit<TargetBench, "dispose">> {
  const index = `resilient-suite-${Date.now()}-${names++}`;
  await server.request("PUT", `/${index}`, { mappings: { properties: { n: { type: "long" } } } });
  const role = { index: [{ names: [index], privileges: ["create_doc", "auto_configure"] }] };
  const key = await server.request("POST", "/_security/api_key", { name: "suite", role_descriptors: { role } });
  const { encoded } = key.body as { encoded: string };
  const settings = checkElasticsearchOptions({
    index,
    connection: {
      ...server.connection,
      auth: { kind: "apiKey", apiKey: encoded },
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      compression: "on",
      ...(proxy === undefined ? {} : { nodes: `${server.url.protocol}//localhost:${proxy.port}` }),
    },
  });
  const make = (): ElasticsearchTarget => new ElasticsearchTarget(settings, { loadDriver: client.load });
  return {
    target: make(),
    another: make,
    async readBack() {
      await server.request("POST", `/${index}/_refresh`);
      const { body } = await server.request("GET", `/${index}/_search?size=10000`);
      return (body as { hits: { hits: { _source: { n: number } }[] } }).hits.hits.map((hit) => hit._source.n);
    },
    poison: () => ({ payload: { n: "no number" } }),
  };
}

for (const version of VERSIONS) {
  describe(`Elasticsearch ${version}`, () => {
    let server: ElasticsearchServer;

    before(async function () {
      this.timeout(START_TIMEOUT_MS);
      server = await sharedElasticsearch(version);
      for (const client of CLIENTS) await client.load();
    });

    describeTarget(`Elasticsearch ${version}`, {
      oncePer: "id",
      can: { stop: false, mute: false, poison: true },
      deadlineMs: REQUEST_TIMEOUT_MS + 500,
      make: async () => ({ ...(await makeBench(server, CLIENTS[0]!)), dispose: () => Promise.resolve() }),
    });

    for (const client of CLIENTS) {
      describeTarget(`Elasticsearch ${version} behind a bad link (${client.name})`, {
        oncePer: "id",
        can: { stop: true, mute: true, poison: true },
        deadlineMs: REQUEST_TIMEOUT_MS + 500,
        async make({ isStarted }) {
          const proxy = await FaultProxy.listen(Number(server.url.port), server.url.hostname);
          if (!isStarted) await proxy.set({ accept: "refuse" });
          return {
            ...(await makeBench(server, client, proxy)),
            stop: () => proxy.set({ accept: "refuse" }),
            start: () => proxy.set({}),
            mute: () => proxy.set({ stall: "down" }),
            unmute: () => proxy.set({}),
            dispose: () => proxy.close(),
          };
        },
      });
    }

    describe("in the delivery", function () {
      /** Delivers until so many records have found their end. */
      async function deliver(
        records: readonly LogRecord[],
        ends: number,
      ): Promise<{ dead: Rejection[]; source: MemorySource }> {
        const bench = await makeBench(server, CLIENTS[0]!);
        const settings = checkElasticsearchOptions({ index: "unused", connection: server.connection });
        await bench.target.close();
        const source = new MemorySource();
        const dead: Rejection[] = [];
        let changed = (): void => undefined;
        const delivery = new Delivery({
          source,
          target: new ElasticsearchTarget(settings),
          clock: systemClock,
          deadLetters: {
            async setAside(_, rejection) {
              dead.push(rejection);
            },
          },
          settings: { batchWaitMs: 5, backoffMinMs: 20, backoffMaxMs: 200 },
          onEvent: () => setImmediate(changed),
        });
        source.append(...records);
        await new Promise<void>((resolve) => {
          changed = () => {
            if (source.confirmed.length >= ends) resolve();
          };
        });
        await delivery.close();
        return { dead, source };
      }

      it("keeps delivering to one index while another one is read-only", async () => {
        const [blocked, open] = [`resilient-blocked-${Date.now()}`, `resilient-open-${Date.now()}`];
        await server.request("PUT", `/${blocked}`);
        await server.request("PUT", `/${blocked}/_settings`, { "index.blocks.write": true });
        const records = Array.from({ length: 200 }, (_, n) =>
          recordOf(n, { routing: { index: n % 2 === 0 ? blocked : open } }),
        );

        const { dead, source } = await deliver(records, 100);

        assert.deepEqual(dead, []);
        assert.ok(source.confirmed.every((offset) => offset % 2 === 1));
        await server.request("DELETE", `/${blocked},${open}?ignore_unavailable=true`);
      });

      it("keeps the backlog out of the dead letters when a pipeline's name is wrong", async () => {
        const index = `resilient-guard-${Date.now()}`;
        const good = recordOf(60, { routing: { index: `${index}-good` } });
        const records = Array.from({ length: 60 }, (_, n) => recordOf(n, { routing: { index, pipeline: "no-such" } }));

        const { dead } = await deliver([...records, good], 1);

        assert.ok(dead.length < 20, `${dead.length} dead letters`);
        await server.request("DELETE", `/${index}*`);
      });
    });
  });
}
