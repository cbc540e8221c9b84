/**
 * The target against real Elasticsearch servers, with security and TLS, by both client versions.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { testConnection } from "../../../src/targets/elasticsearch/test-connection.js";
import { checkElasticsearchOptions } from "../../../src/targets/elasticsearch/options.js";
import { TargetConfigError, TargetUnavailableError, type Outcome } from "../../../src/targets/target.js";
import { FaultProxy } from "../../support/fault-proxy.js";
import {
  sharedElasticsearch,
  startElasticsearch,
  START_TIMEOUT_MS,
  VERSIONS,
  type ConnectionOptions,
  type ElasticsearchServer,
} from "../../servers/elasticsearch.js";
import { record, records } from "./records.js";
import { CLIENTS, closeTargets, kindsOf, never, openTarget } from "./targets.js";

let names = 0;

/** Asks again and again, at most five seconds long. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  const givesUpAt = performance.now() + 60_000;
  while (!(await isSo())) assert.ok(performance.now() < givesUpAt, "it did not become so within a minute");
}

/** An index that no other test, and no earlier run on a given server, has used. */
function newName(what: string): string {
  return `resilient-${what}-${Date.now()}-${names++}`;
}

function countsOf(outcomes: readonly Outcome[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind } of outcomes) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

function codeOf(outcome: Outcome | undefined): string | undefined {
  if (outcome?.kind === "rejected") return outcome.cause.code;
  return outcome?.kind === "retry" ? (outcome.cause as Error & { code?: string }).code : undefined;
}

for (const version of VERSIONS) {
  for (const client of CLIENTS) {
    describe(`Elasticsearch ${version} (${client.name})`, () => {
      const parts = { loadDriver: client.load };
      let server: ElasticsearchServer;
      let connection: ConnectionOptions;
      const made: string[] = [];

      before(async function () {
        this.timeout(START_TIMEOUT_MS);
        server = await sharedElasticsearch(version);
        await client.load();
        ({ connection } = server);
      });
      afterEach(closeTargets);
      after(async () => {
        // A given server is somebody's: leave nothing in it.
        if (!server.isOurs)
          for (const index of made) await server.request("DELETE", `/${index}?ignore_unavailable=true`);
      });

      function index(what: string): string {
        const name = newName(what);
        made.push(name);
        return name;
      }

      async function countIn(name: string): Promise<number> {
        await server.request("POST", `/${name}/_refresh`);
        return ((await server.request("GET", `/${name}/_count`)).body as { count?: number }).count ?? 0;
      }

      async function documentsIn(name: string): Promise<Record<string, unknown>[]> {
        await server.request("POST", `/${name}/_refresh`);
        const { body } = await server.request("GET", `/${name}/_search?size=100&seq_no_primary_term=true&sort=_doc`);
        const { hits } = (body as { hits: { hits: { _source: Record<string, unknown> }[] } }).hits;
        return hits.map((hit) => hit._source);
      }

      async function apiKey(privileges: readonly string[], pattern: string): Promise<{ id: string; encoded: string }> {
        const role = { index: [{ names: [pattern], privileges }] };
        const reply = await server.request("POST", "/_security/api_key", {
          name: "writer",
          role_descriptors: { role },
        });
        return reply.body as { id: string; encoded: string };
      }

      it("stores each record once, however often it is sent", async () => {
        const name = index("once");
        const target = await openTarget({ index: name, connection }, parts);
        const batch = records(1_000, (i) => ({ i }));

        const first = await target.deliver(batch, never);
        const again = await target.deliver(batch, never);

        assert.deepEqual(countsOf(first.outcomes), { delivered: 1_000 });
        assert.deepEqual(countsOf(again.outcomes), { duplicate: 1_000 });
        assert.equal(await countIn(name), 1_000);
      });

      it("stores any payload as a document, strings that are not quite text included", async () => {
        const name = index("payloads");
        const target = await openTarget({ index: name, connection: { ...connection, compression: "on" } }, parts);
        const odd = ["\ud800", "a\u0000b", "\udfff\ud83d", "\u2028", "é".repeat(3_000)];
        const batch = [
          ...odd.map((text) => record({ text })),
          ...odd.map((text) => record({ [`key ${text.slice(0, 20)}`]: 1 })),
          record({ bytes: Buffer.from([0xff, 0xfe, 0x00]) }),
          record({ at: new Date(0), big: 2n ** 60n, nan: NaN }),
          record(["a", "b"]),
          record("text"),
          record(null),
          record({}),
        ];

        const { outcomes } = await target.deliver(batch, never);

        assert.deepEqual(countsOf(outcomes), { delivered: batch.length }, JSON.stringify(outcomes));
        assert.equal(await countIn(name), batch.length);
      });

      it("delivers 999 of a thousand and rejects the one that does not fit the mapping, in one request", async () => {
        const name = index("mapping");
        await server.request("PUT", `/${name}`, { mappings: { properties: { n: { type: "long" } } } });
        const target = await openTarget({ index: name, connection }, parts);

        const { outcomes } = await target.deliver(
          records(1_000, (i) => ({ n: i === 500 ? "five hundred" : i })),
          never,
        );

        assert.deepEqual(countsOf(outcomes), { delivered: 999, rejected: 1 });
        assert.equal(codeOf(outcomes[500]), "document_parsing_exception");
        assert.equal(await countIn(name), 999);
      });

      it("rejects a field that a strict mapping does not allow", async () => {
        const name = index("strict");
        await server.request("PUT", `/${name}`, {
          mappings: { dynamic: "strict", properties: { "@timestamp": { type: "date" }, a: { type: "long" } } },
        });
        const target = await openTarget({ index: name, connection }, parts);

        const { outcomes } = await target.deliver([record({ a: 1 }), record({ b: 1 })], never);

        assert.deepEqual(kindsOf(outcomes), ["delivered", "rejected"]);
        assert.equal(codeOf(outcomes[1]), "strict_dynamic_mapping_exception");
      });

      for (const [what, settings, status] of [
        ["read-only", { "index.blocks.write": true }, 403],
        ["over the flood stage of its disk", { "index.blocks.read_only_allow_delete": true }, 429],
      ] as const) {
        it(`lets an index wait that is ${what}, while another one keeps taking records`, async () => {
          const [name, other] = [index("blocked"), index("open")];
          await server.request("PUT", `/${name}`);
          await server.request("PUT", `/${name}/_settings`, settings);
          const target = await openTarget({ index: name, connection }, parts);
          const batch = records(3, (i) => ({ i }));

          const held = await target.deliver(batch, never);
          const open = await target.deliver([record({}, { routing: { index: other } })], never);
          const off = Object.fromEntries(Object.keys(settings).map((key) => [key, null]));
          await server.request("PUT", `/${name}/_settings`, off);
          const after = await target.deliver(batch, never);

          assert.equal(held.consequence?.kind, "hold");
          assert.deepEqual(countsOf(held.outcomes), { retry: 3 });
          const [outcome] = held.outcomes;
          assert.equal(
            outcome?.kind === "retry" && (outcome.cause as Error & { statusCode?: number }).statusCode,
            status,
          );
          assert.deepEqual(kindsOf(open.outcomes), ["delivered"]);
          assert.deepEqual(countsOf(after.outcomes), { delivered: 3 });
        });
      }

      it("lets a closed index wait", async () => {
        const name = index("closed");
        await server.request("PUT", `/${name}`);
        await server.request("POST", `/${name}/_close`);
        const target = await openTarget({ index: name, connection }, parts);

        const { outcomes, consequence } = await target.deliver([record({})], never);

        assert.equal(codeOf(outcomes[0]), "index_closed_exception");
        assert.equal(consequence?.kind, "hold");
      });

      it("waits for an alias that must exist instead of making an index of its name", async () => {
        const name = index("alias");
        const target = await openTarget({ index: name, requireAlias: true, connection }, parts);

        const { outcomes, consequence } = await target.deliver([record({})], never);

        assert.equal(codeOf(outcomes[0]), "index_not_found_exception");
        assert.equal(consequence?.kind, "hold");
        assert.equal((await server.request("GET", `/${name}`)).status, 404);
      });

      it("rejects what names a pipeline that does not exist, and tries again alone what a pipeline failed on", async () => {
        const name = index("pipelines");
        await server.request("PUT", "/_ingest/pipeline/resilient-fails", { processors: [{ fail: { message: "no" } }] });
        await server.request("PUT", "/_ingest/pipeline/resilient-drops", { processors: [{ drop: {} }] });
        const target = await openTarget({ index: name, connection }, parts);
        const through = (pipeline: string): ReturnType<typeof record> => record({}, { routing: { pipeline } });

        const { outcomes } = await target.deliver(
          [through("no-such"), through("resilient-fails"), through("resilient-drops"), record({})],
          never,
        );

        assert.deepEqual(kindsOf(outcomes), ["rejected", "retry", "delivered", "delivered"]);
        assert.equal(codeOf(outcomes[0]), "illegal_argument_exception");
        assert.equal(outcomes[1]?.kind === "retry" && outcomes[1].alone, true);
        assert.equal(await countIn(name), 1);
      });

      it("replaces, changes and makes documents by the user's ids, in order", async () => {
        const name = index("modes");
        const options = { index: name, id: "message", timestamp: false, connection } as const;
        const at = (id: string): { routing: Record<string, string> } => ({ routing: { id } });
        const replace = await openTarget({ ...options, op: "index" }, parts);
        const update = await openTarget({ ...options, op: "update" }, parts);
        const upsert = await openTarget({ ...options, op: "upsert" }, parts);
        assert.ok(replace.traits.ordered && update.traits.ordered && upsert.traits.ordered);

        await replace.deliver([record({ a: 1, b: 1 }, at("x")), record({ a: 2 }, at("x"))], never);
        const missing = await update.deliver([record({ c: 3 }, at("x")), record({ c: 3 }, at("y"))], never);
        const made = await upsert.deliver([record({ d: 4 }, at("x")), record({ d: 4 }, at("z"))], never);

        assert.deepEqual(kindsOf(missing.outcomes), ["delivered", "rejected"]);
        assert.equal(codeOf(missing.outcomes[1]), "document_missing_exception");
        assert.deepEqual(kindsOf(made.outcomes), ["delivered", "delivered"]);
        const found = (await documentsIn(name)).sort((a, b) => Number(a["a"] ?? 9) - Number(b["a"] ?? 9));
        assert.deepEqual(found, [{ a: 2, c: 3, d: 4 }, { d: 4 }]);
      });

      it("writes a data stream, and waits for one that does not exist", async () => {
        const stream = `logs-${newName("stream")}`;
        await server.request("PUT", `/_index_template/${stream}`, {
          index_patterns: [stream],
          data_stream: {},
          priority: 900,
        });
        const target = await openTarget({ destination: "dataStream", index: stream, connection }, parts);
        const batch = records(5, (i) => ({ i }));

        const first = await target.deliver(batch, never);
        const again = await target.deliver(batch, never);
        const stray = await target.deliver([record({}, { routing: { index: index("stray") } })], never);

        assert.deepEqual(countsOf(first.outcomes), { delivered: 5 });
        assert.deepEqual(countsOf(again.outcomes), { duplicate: 5 });
        assert.equal(await countIn(stream), 5);
        assert.equal(stray.consequence?.kind, "hold");
      });

      it("writes a time series, where equal points count as there already", async () => {
        const stream = newName("series");
        await server.request("PUT", `/_index_template/${stream}`, {
          index_patterns: [stream],
          data_stream: {},
          priority: 901,
          template: {
            settings: {
              "index.mode": "time_series",
              "index.routing_path": ["sensor"],
              "index.time_series.start_time": "2020-01-01T00:00:00Z",
              "index.time_series.end_time": "2099-01-01T00:00:00Z",
            },
            mappings: { properties: { sensor: { type: "keyword", time_series_dimension: true } } },
          },
        });
        const target = await openTarget({ destination: "timeSeries", index: stream, connection }, parts);
        const now = Date.now();
        const batch = records(3, (i) => ({ sensor: `s${i}`, v: 1 }), { acceptedAtMs: now });
        const old = record({ sensor: "s", v: 1 }, { acceptedAtMs: Date.UTC(2001, 1, 1) });

        const first = await target.deliver(batch, never);
        const again = await target.deliver([...batch, old], never);

        assert.deepEqual(countsOf(first.outcomes), { delivered: 3 }, JSON.stringify(first.outcomes));
        assert.deepEqual(kindsOf(again.outcomes), ["duplicate", "duplicate", "duplicate", "rejected"]);
        assert.equal(codeOf(again.outcomes[3]), "timestamp_error");
      });

      it("needs no more than create_doc and auto_configure, and says by name what is missing", async () => {
        const name = index("limited");
        const { encoded } = await apiKey(["create_doc", "auto_configure"], name);
        const auth = { kind: "apiKey", apiKey: encoded } as const;
        const options = { index: name, connection: { ...connection, auth } };
        const target = await openTarget(options, parts);

        const { outcomes } = await target.deliver([record({})], never);
        const other = await target.deliver([record({}, { routing: { index: index("forbidden") } })], never);
        const report = await testConnection(checkElasticsearchOptions(options), never, parts);
        const wrongOp = { ...options, op: "index" };
        const lacking = await testConnection(checkElasticsearchOptions(wrongOp), never, parts);

        assert.deepEqual(kindsOf(outcomes), ["delivered"]);
        assert.equal(other.consequence?.kind, "hold");
        assert.equal(codeOf(other.outcomes[0]), "security_exception");
        assert.equal(report.ok, true, report.messages.join(" "));
        assert.match(report.messages.join(" "), /as API key "writer"/u);
        assert.equal(lacking.ok, false);
        assert.match(lacking.messages[0] ?? "", /privilege "index" on index .* is missing/u);
      });

      it("asks for settings to be mended when a key was revoked or a login is wrong", async () => {
        const name = index("revoked");
        const { id, encoded } = await apiKey(["create_doc", "auto_configure"], name);
        const auth = { kind: "apiKey", apiKey: encoded } as const;
        const target = await openTarget({ index: name, connection: { ...connection, auth } }, parts);
        await server.request("DELETE", "/_security/api_key", { ids: [id] });

        await assert.rejects(target.deliver([record({})], never), TargetConfigError);
        await assert.rejects(target.probe(never), TargetConfigError);
        const wrong = { kind: "basic", username: "elastic", password: "wr0ng-pa55" } as const;
        await assert.rejects(openTarget({ connection: { ...connection, auth: wrong } }, parts), (error: Error) => {
          assert.ok(error instanceof TargetConfigError);
          assert.doesNotMatch(String(error), /wr0ng/u);
          return true;
        });
        const report = await testConnection(
          checkElasticsearchOptions({ index: name, connection: { ...connection, auth: wrong } }),
          never,
          parts,
        );
        assert.equal(report.ok, false);
        assert.match(report.messages[0] ?? "", /login is wrong/u);
      });

      it("loses nothing and repeats nothing when answers are lost on the way", async function () {
        if (!server.isOurs) return this.skip();
        const name = index("lost");
        const proxy = await FaultProxy.listen(Number(server.url.port), server.url.hostname);
        try {
          const nodes = `${server.url.protocol}//localhost:${proxy.port}`;
          const target = await openTarget({ index: name, connection: { ...connection, nodes } }, parts);
          await target.deliver([record({ i: -1 })], never);
          const batch = records(200, (i) => ({ i }));
          const arrived = until(async () => (await countIn(name)) === 201);
          // The connection is there already, so what is cut off is the answer.
          await proxy.set({ cut: { direction: "down", afterBytes: 0 } });
          await assert.rejects(target.deliver(batch, never), TargetUnavailableError);
          await arrived;

          await proxy.set({});
          const again = await target.deliver(batch, never);

          assert.deepEqual(countsOf(again.outcomes), { duplicate: 200 });
          assert.equal(await countIn(name), 201);
        } finally {
          await closeTargets();
          await proxy.close();
        }
      });

      describe("on a server of our own", () => {
        before(function () {
          if (!server.isOurs) this.skip();
        });

        it("trusts no certificate that it was not told to, and says what to set", async () => {
          const { tls: _, ...without } = connection;

          await assert.rejects(openTarget({ connection: without }, parts), (error: Error) => {
            assert.ok(error instanceof TargetConfigError);
            assert.match(error.message, /set the certificate authority/u);
            return true;
          });
          await openTarget({ connection: { ...without, tls: { verify: false } } }, parts);
          const caFingerprint = new X509Certificate(connection.tls?.ca ?? "").fingerprint256;
          await openTarget({ connection: { ...without, tls: { caFingerprint } } }, parts);
          const wrong = "AB:".repeat(31) + "AB";
          await assert.rejects(
            openTarget({ connection: { ...without, tls: { caFingerprint: wrong } } }, parts),
            /fingerprint/u,
          );
        });

        it("gives up on a frozen server at its deadline, and delivers when it goes on", async () => {
          const name = index("frozen");
          const options = { index: name, connection: { ...connection, requestTimeoutMs: 500 } };
          await server.request("PUT", `/${name}`);
          const target = await openTarget(options, parts);
          const batch = records(10, (i) => ({ i }));
          server.freeze();
          try {
            await assert.rejects(target.deliver(batch, never), /did not answer/u);
            await assert.rejects(target.probe(never), TargetUnavailableError);
          } finally {
            server.thaw();
          }

          const patient = await openTarget({ index: name, connection }, parts);
          const { outcomes } = await patient.deliver(batch, never);

          assert.ok(outcomes.every((outcome) => outcome.kind === "delivered" || outcome.kind === "duplicate"));
          assert.equal(await countIn(name), 10);
        });
      });
    });
  }
}

describe("A small Elasticsearch without security", () => {
  let server: ElasticsearchServer;

  before(async function () {
    if (VERSIONS.includes("given")) return this.skip();
    this.timeout(START_TIMEOUT_MS);
    const settings = "node.processors: 1\nthread_pool.write.queue_size: 1\nindexing_pressure.memory.limit: 40kb";
    server = await startElasticsearch("9.5.3", { security: false, settings });
  });
  afterEach(closeTargets);

  it("asks for less when a request is above what it takes, takes the halves, and rejects a record that is alone", async () => {
    const target = await openTarget({ index: "pressure", connection: server.connection });
    const batch = records(64, () => ({ text: "x".repeat(1_000) }));

    const refused = await target.deliver(batch, never);
    const half = await target.deliver(batch.slice(0, 16), never);
    const alone = await target.deliver([record({ text: "x".repeat(64_000) })], never);

    assert.equal(refused.consequence?.kind, "throttle");
    assert.deepEqual(countsOf(alone.outcomes), { rejected: 1 });
    assert.deepEqual(countsOf(refused.outcomes), { retry: 64 });
    assert.deepEqual(countsOf(half.outcomes), { delivered: 16 });
  });

  it("says in a test of the connection that no login is asked for", async () => {
    const report = await testConnection(
      checkElasticsearchOptions({ index: "i", connection: server.connection }),
      never,
    );

    assert.equal(report.ok, true);
    assert.match(report.messages.join(" "), /Connected to Elasticsearch 9\.5\.3\. The server asks for no login\./u);
  });

  it("has everything that was acknowledged after it was killed in the midst of writing, exactly once", async () => {
    const target = await openTarget({ index: "killed", connection: server.connection });
    let sent = 0;
    let unsure: ReturnType<typeof records> = [];
    const settleAll = async (): Promise<void> => {
      while (unsure.length > 0) {
        const { outcomes } = await target.deliver(unsure, never);
        assert.equal(countsOf(outcomes)["rejected"], undefined, JSON.stringify(outcomes));
        // A server that has just started may still be too busy: it says so, and is asked again.
        unsure = unsure.filter((_, i) => outcomes[i]?.kind === "retry");
      }
    };
    const write = async (): Promise<void> => {
      for (; ; sent += unsure.length, await settleAll()) unsure = records(20, (i) => ({ i: sent + i }));
    };
    await server.request("PUT", "/killed");
    const died = assert.rejects(write(), TargetUnavailableError);
    while (sent < 200) await new Promise((resolve) => setImmediate(resolve));
    await server.kill();
    await died;

    await server.restart();
    await settleAll();

    await server.request("POST", "/killed/_refresh");
    assert.equal(((await server.request("GET", "/killed/_count")).body as { count: number }).count, sent);
  });

  it("sends again only what a full write queue has refused, until all of it is there once", async () => {
    const target = await openTarget({ index: "queue", connection: server.connection });
    const names = Array.from({ length: 6 }, (_, i) => `queue-${i}`);
    for (const name of names) await server.request("PUT", `/${name}`);
    let waiting: ReturnType<typeof records>[] = [];
    let refused = 0;
    let sent = 0;

    for (let round = 0; waiting.length > 0 || refused === 0; round++) {
      assert.ok(round < 100, refused > 0 ? "the queue stays full" : "the queue was never full");
      // A server that is quick, or hears of one after the other, may have taken them all.
      if (waiting.length === 0) waiting = names.map((name) => records(8, (i) => ({ i }), { routing: { index: name } }));
      if (refused === 0) sent += 48;
      const answers = await Promise.all(waiting.map((batch) => target.deliver(batch, new AbortController().signal)));
      for (const { outcomes, consequence } of answers) {
        const count = outcomes.filter(({ kind }) => kind === "retry").length;
        assert.equal(consequence?.kind, count > 0 ? "throttle" : undefined);
        refused += count;
      }
      waiting = waiting
        .map((batch, i) => batch.filter((_, n) => answers[i]?.outcomes[n]?.kind === "retry"))
        .filter((batch) => batch.length > 0);
    }

    await server.request("POST", "/queue-*/_refresh");
    assert.equal(((await server.request("GET", "/queue-*/_count")).body as { count: number }).count, sent);
  });
});
