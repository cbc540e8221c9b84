import assert from "node:assert/strict";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import fc from "fast-check";
import type { LogRecord } from "../../../src/record.js";
import type { Driver } from "../../../src/targets/elasticsearch/driver.js";
import { ElasticsearchOptionsError } from "../../../src/targets/elasticsearch/options.js";
import { TargetConfigError, TargetUnavailableError } from "../../../src/targets/target.js";
import { FakeClock } from "../../support/fake-clock.js";
import { record, records } from "./records.js";
import { actionsOf, bulkReply, documentsOf, errorReply, json, ScriptedPeer } from "./scripted-peer.js";
import { CLIENTS, closeTargets, kindsOf, makeTarget, never, openTarget } from "./targets.js";

/** The server has half a minute to answer. A close takes none of it, but a machine with other work takes some time. */
const MOST_CLOSING_MS = 10_000;
const HTML = { "content-type": "text/html" };

for (const client of CLIENTS) {
  describe(`Elasticsearch behind bad links (${client.name})`, () => {
    let peer: ScriptedPeer;
    const parts = { loadDriver: client.load };

    before(async () => {
      await client.load();
    });
    beforeEach(async () => {
      peer = await ScriptedPeer.listen();
    });
    afterEach(async () => {
      await closeTargets();
      await peer.close();
    });

    it("delivers nothing to a captive portal, and delivers once the portal is gone", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      const batch = records(3, (i) => ({ i }));
      const portals = [
        { status: 200, headers: HTML, body: "<html>Please log in</html>" },
        { status: 302, headers: { ...HTML, location: "http://portal.example/" }, body: "<html>moved</html>" },
        { status: 204 },
        { status: 200, headers: { "content-type": "application/json" }, body: { login: "https://portal.example" } },
        { status: 200, headers: { ...HTML, "x-elastic-product": "Elasticsearch" }, body: "<html>cached</html>" },
        json(200, {}),
        json(200, { errors: false }),
        json(200, { items: batch.map(() => ({ create: { status: 201 } })) }),
        json(200, { errors: false, items: [] }),
        json(201, { errors: false, items: batch.map(() => ({ create: { status: 201 } })) }),
      ];
      for (const portal of portals) {
        peer.onBulk = () => portal;
        await assert.rejects(target.deliver(batch, never), TargetUnavailableError, JSON.stringify(portal));
      }

      peer.onBulk = (request) => bulkReply(request, () => ({ status: 201 }));
      const { outcomes } = await target.deliver(batch, never);

      assert.deepEqual(kindsOf(outcomes), ["delivered", "delivered", "delivered"]);
    });

    it("does not take a portal for the server when it looks whether it is back", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      for (const portal of [
        { status: 200, headers: HTML },
        { status: 302, headers: { location: "http://portal.example/" } },
        { status: 204 },
        { status: 302, headers: { location: "http://portal.example/", "x-elastic-product": "Elasticsearch" } },
        { status: 403, headers: HTML },
        { status: 404, headers: HTML },
        { status: 503, headers: HTML },
        { status: 511, headers: HTML },
      ]) {
        peer.onOther = () => portal;
        await assert.rejects(target.probe(never), TargetUnavailableError, JSON.stringify(portal));
      }
      peer.onOther = () => ({ status: 401, headers: HTML });
      await assert.rejects(target.probe(never), TargetConfigError);

      // A key with hardly any privilege may not see the start page, but Elasticsearch itself says so.
      peer.onOther = () => errorReply(403, "security_exception");
      await target.probe(never);
    });

    it("counts an answer that was cut off as unknown", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      const answer = JSON.stringify({ errors: false, items: [{ create: { status: 201 } }] });
      const headers = { "content-type": "application/json", "x-elastic-product": "Elasticsearch" };
      for (const cut of [
        { status: 200, headers, body: answer.slice(0, -5) },
        { status: 200, headers, body: "" },
        { status: 200, headers: { ...headers, "content-encoding": "gzip" }, body: "no gzip" },
      ]) {
        peer.onBulk = () => cut;
        await assert.rejects(
          target.deliver(
            records(1, () => ({})),
            never,
          ),
          TargetUnavailableError,
        );
      }
      peer.onBulk = () => (response) => {
        response.writeHead(200, { ...headers, "content-length": answer.length });
        response.write(answer.slice(0, 10), () => response.destroy());
      };
      await assert.rejects(
        target.deliver(
          records(1, () => ({})),
          never,
        ),
        TargetUnavailableError,
      );
    });

    it("reads an answer with thirty thousand long errors", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      const reason = "x".repeat(800);
      peer.onBulk = (request) =>
        bulkReply(request, () => ({ status: 400, type: "document_parsing_exception", reason }));

      const { outcomes } = await target.deliver(
        records(30_000, () => ({})),
        never,
      );

      assert.equal(outcomes.length, 30_000);
      assert.ok(outcomes.every((outcome) => outcome.kind === "rejected" && outcome.cause.message.length < 600));
    });

    for (const [name, stall] of [
      ["reads and never answers", (): void => undefined],
      ["answers half of a body and no more", stallInBody],
    ] as const) {
      it(`gives up at its deadline when the server ${name}`, async () => {
        const clock = new FakeClock();
        const target = await openTarget({ connection: { nodes: peer.url } }, { ...parts, clock });
        peer.onBulk = () => stall;
        const delivering = target.deliver(
          records(1, () => ({})),
          never,
        );
        const failed = assert.rejects(delivering, /did not answer within 30/u);

        await peer.untilBulks(1);
        await clock.advance(31_000);

        await failed;
        assert.equal(clock.pendingTimers, 0);
      });
    }

    it("lets other requests finish when one runs into its deadline", async () => {
      const clock = new FakeClock();
      const target = await openTarget({ connection: { nodes: peer.url } }, { ...parts, clock });
      const signal = new AbortController().signal;
      const answers: (() => void)[] = [];
      peer.onBulk = (request) => (response) =>
        void answers.push(() => {
          const reply = bulkReply(request, () => ({ status: 201 }));
          response.writeHead(200, reply.headers).end(JSON.stringify(reply.body));
        });
      const late = assert.rejects(
        target.deliver(
          records(1, () => ({})),
          signal,
        ),
        TargetUnavailableError,
      );
      await peer.untilBulks(1);
      await clock.advance(20_000);
      const neighbour = target.deliver(
        records(1, () => ({})),
        signal,
      );
      await peer.untilBulks(2);

      await clock.advance(11_000);
      await late;
      answers[1]?.();

      assert.deepEqual(kindsOf((await neighbour).outcomes), ["delivered"]);
    });

    it("ends at the abort of the caller, with its reason", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      const caller = new AbortController();
      const reason = new Error("closing");
      let gone: Promise<unknown> | undefined;
      peer.onBulk = () => (response) => {
        gone = once(response, "close");
      };
      const ended = assert.rejects(
        target.deliver(
          records(1, () => ({})),
          caller.signal,
        ),
        reason,
      );
      await peer.untilBulks(1);
      assert.ok(gone !== undefined);

      caller.abort(reason);

      await ended;
      // The connection is let go of as well, or a mute server would collect them.
      await gone;
    });

    it("closes during a request without waiting for a mute server; its records stay unconfirmed", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      peer.onBulk = () => () => undefined;
      const ended = assert.rejects(
        target.deliver(
          records(1, () => ({})),
          never,
        ),
        TargetUnavailableError,
      );
      await peer.untilBulks(1);
      const startedAt = performance.now();

      await Promise.all([target.close(), target.close()]);

      await ended;
      assert.ok(performance.now() - startedAt < MOST_CLOSING_MS);
      await assert.rejects(
        target.deliver(
          records(1, () => ({})),
          never,
        ),
        TargetUnavailableError,
      );
    });

    it("sends only once, however often the server says 503: waiting is the delivery's business", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      for (const status of [502, 503, 504]) {
        peer.onBulk = () => ({ status, headers: HTML, body: "<html>gateway</html>" });
        await assert.rejects(
          target.deliver(
            records(1, () => ({})),
            never,
          ),
          TargetUnavailableError,
        );
      }

      assert.equal(peer.bulks.length, 3);
    });

    it("gives only the records with 429 back when others of the same request were stored", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      peer.onBulk = (request) =>
        bulkReply(request, (place) =>
          place % 3 === 0 ? { status: 429, type: "es_rejected_execution_exception" } : { status: 201 },
        );

      const { outcomes, consequence } = await target.deliver(
        records(9, (i) => ({ i })),
        never,
      );

      const expected = outcomes.map((_, i) => (i % 3 === 0 ? "retry" : "delivered"));
      assert.deepEqual(kindsOf(outcomes), expected);
      assert.equal(consequence?.kind, "throttle");
    });

    it("sends again byte for byte what it sent before, but for records that are gone", async () => {
      const target = await openTarget({ op: "upsert", id: "message", connection: { nodes: peer.url } }, parts);
      const batch = records(4, (i) => ({ i }), { routing: { id: "a", routing: "r", pipeline: "p" } });
      await target.deliver(batch, never);

      await target.deliver(batch, never);
      await target.deliver(batch.slice(2), never);

      const [first, second, rest] = peer.bulks.map((request) => request.body);
      assert.equal(second, first);
      assert.ok(first?.endsWith(rest ?? ""));
      assert.match(first ?? "", /"routing":"r","pipeline":"p","retry_on_conflict":3/u);
    });

    it("remembers by their uncompressed size which requests were too large, and halves such batches unsent", async () => {
      const target = await openTarget({ connection: { nodes: peer.url, compression: "on" } }, parts);
      const limit = 20_000;
      peer.onBulk = (request) =>
        request.body.length > limit ? { status: 413 } : bulkReply(request, () => ({ status: 201 }));
      const batch = records(30, () => ({ text: "x".repeat(1_000) }));
      const before = target.traits.maxBatchBytes;

      const refused = await target.deliver(batch, never);
      const learned = target.traits.maxBatchBytes;
      const again = await target.deliver(batch, never);
      const half = await target.deliver(batch.slice(15), never);

      assert.equal(peer.bulks[0]?.headers["content-encoding"], "gzip");
      assert.equal(refused.consequence?.kind, "split");
      assert.equal(again.consequence?.kind, "split");
      assert.equal(peer.bulks.length, 2);
      assert.ok(learned < before && learned > limit && learned < peer.bulks[0].body.length);
      assert.ok(half.outcomes.every((outcome) => outcome.kind === "delivered"));
    });

    it("rejects a record that alone is too large, and delivers the rest by halves", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      peer.onBulk = (request) =>
        request.body.length > 5_000 ? { status: 413 } : bulkReply(request, () => ({ status: 201 }));
      const batch = records(16, (i) => ({ text: "x".repeat(i === 11 ? 9_000 : 100) }));

      const kinds = await deliverByHalves((part) => target.deliver(part, never), batch);

      assert.deepEqual(
        kinds,
        batch.map((_, i) => (i === 11 ? "rejected" : "delivered")),
      );
    });

    it("finds by halves the record for which a request as a whole is refused", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      peer.onBulk = (request) =>
        request.body.includes("poison")
          ? errorReply(400, "x_content_parse_exception")
          : bulkReply(request, () => ({ status: 201 }));
      const batch = records(16, (i) => ({ text: i === 5 ? "poison" : "good" }));

      const kinds = await deliverByHalves((part) => target.deliver(part, never), batch);

      assert.deepEqual(
        kinds,
        batch.map((_, i) => (i === 5 ? "rejected" : "delivered")),
      );
    });

    it("delivers when the server appears after the start", async () => {
      const { port } = peer;
      await peer.close();
      const target = makeTarget({ connection: { nodes: `http://127.0.0.1:${port}` } }, parts);
      await assert.rejects(target.open(never), TargetUnavailableError);
      await assert.rejects(target.open(never), /nothing listens there/u);
      await assert.rejects(
        target.deliver(
          records(1, () => ({})),
          never,
        ),
        TargetUnavailableError,
      );

      peer = await ScriptedPeer.listen(port);
      await target.open(never);
      const { outcomes } = await target.deliver(
        records(1, () => ({})),
        never,
      );

      assert.deepEqual(kindsOf(outcomes), ["delivered"]);
    });

    it("never asks for nodes by itself, not even after a fault", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      peer.onBulk = () => (response) => response.destroy();
      await assert.rejects(
        target.deliver(
          records(1, () => ({})),
          never,
        ),
        TargetUnavailableError,
      );
      await target.open(never);

      assert.ok([...peer.others, ...peer.bulks].every((request) => !request.url.includes("_nodes")));
    });

    it("keeps the given addresses when the question for other nodes goes wrong, and says so", async () => {
      const answers = [
        { status: 302, headers: { location: "http://portal.example" } },
        { status: 200, headers: HTML, body: "<html>" },
        json(200, {}),
        json(200, { nodes: null }),
        json(200, { nodes: { a: {}, b: { http: { publish_address: 5 } } } }),
        { ...json(200, {}), body: '{"nodes":{' },
        errorReply(403, "security_exception"),
        // What a cluster behind port forwarding says: an address that leads nowhere from here.
        json(200, { nodes: { a: { http: { publish_address: "127.0.0.1:9" } } } }),
      ];
      for (const answer of answers) {
        const warnings: string[] = [];
        const onWarning = (message: string): void => void warnings.push(message);
        peer.onOther = (request) => (request.url.startsWith("/_nodes") ? answer : json(200, {}));
        const target = await openTarget(
          { connection: { nodes: peer.url, discoverNodes: true } },
          { ...parts, onWarning },
        );

        const { outcomes } = await target.deliver(
          records(1, () => ({})),
          never,
        );

        assert.deepEqual(kindsOf(outcomes), ["delivered"]);
        assert.equal(warnings.length, 1, JSON.stringify(answer));
        await target.close();
      }
    });

    it("uses other nodes of the cluster once they have answered, when the user wants that", async () => {
      const second = await ScriptedPeer.listen();
      try {
        const nodes = { a: { http: { publish_address: `127.0.0.1:${second.port}` } } };
        peer.onOther = (request) => (request.url.startsWith("/_nodes") ? json(200, { nodes }) : json(200, {}));
        const target = await openTarget({ connection: { nodes: peer.url, discoverNodes: true } }, parts);
        for (let i = 0; i < 8; i++)
          await target.deliver(
            records(1, () => ({})),
            never,
          );

        assert.equal(second.others[0]?.url, "/?filter_path=version.number");
        assert.ok(peer.bulks.length > 0 && second.bulks.length > 0);
        await closeTargets();
      } finally {
        await second.close();
      }
    });

    it("does not go through all that it sent when a large request fails: the flow would stand still meanwhile", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      peer.onBulk = () => (response) => void response.destroy();
      const { entries } = Object;
      let gone = 0;
      Object.entries = (value: object) => {
        if (Buffer.isBuffer(value)) gone++;
        return entries(value);
      };
      try {
        await assert.rejects(target.deliver([record({ text: "x".repeat(100_000) })], never), TargetUnavailableError);
      } finally {
        Object.entries = entries;
      }

      assert.equal(gone, 0);
    });

    it("goes on through the other node when one takes requests and never answers them", async () => {
      const mute = await ScriptedPeer.listen();
      try {
        const clock = new FakeClock();
        const target = await openTarget({ connection: { nodes: [peer.url, mute.url] } }, { ...parts, clock });
        mute.onOther = mute.onBulk = () => () => undefined;
        const deliver = (): Promise<unknown> => target.deliver([record({})], never);
        const both = [deliver(), deliver()];
        const settled = Promise.allSettled(both);
        await Promise.all([Promise.any(both), mute.untilBulks(1)]);
        await clock.advance(31_000);
        assert.deepEqual((await settled).map(({ status }) => status).sort(), ["fulfilled", "rejected"]);

        for (let i = 0; i < 3; i++) {
          await target.probe(never);
          await deliver();
        }

        assert.equal(peer.bulks.length, 4);
        await closeTargets();
      } finally {
        await mute.close();
      }
    });

    it("gives every record exactly one outcome, or none at all, whatever is answered", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, parts);
      const item = fc.record(
        {
          status: fc.oneof(fc.constantFrom(200, 201, 400, 403, 404, 409, 429, 500, 503), fc.integer(), fc.string()),
          error: fc.oneof(fc.jsonValue(), fc.record({ type: fc.string(), reason: fc.jsonValue() })),
        },
        { requiredKeys: [] },
      );
      const entry = fc.oneof(fc.record({ create: item }), fc.jsonValue());
      const body = fc.oneof(
        fc.record({ errors: fc.oneof(fc.boolean(), fc.jsonValue()), items: fc.array(entry, { maxLength: 6 }) }),
        fc.jsonValue(),
      );
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(200, 200, 400, 413, 429, 500, 503), body, async (status, answer) => {
          peer.onBulk = () => ({ ...json(status, {}), body: JSON.stringify(answer) });
          const batch = records(3, (i) => ({ i }));
          try {
            const { outcomes } = await target.deliver(batch, never);
            assert.equal(outcomes.filter(Boolean).length, batch.length);
          } catch (error) {
            if (!(error instanceof TargetUnavailableError || error instanceof TargetConfigError)) throw error;
          }
        }),
        { numRuns: 150 },
      );
    });

    it("shows nothing secret in any error", async () => {
      const secrets = ["s3cret-pa55", "top-s3cret-document"];
      const auth = { kind: "basic", username: "writer", password: secrets[0]! } as const;
      const target = await openTarget({ connection: { nodes: peer.url, auth } }, parts);
      const batch = records(2, () => ({ text: secrets[1] }));
      const { inspect } = await import("node:util");
      const texts: string[] = [];
      for (const answer of [
        errorReply(401, "security_exception"),
        errorReply(429, "x"),
        { status: 503 },
        errorReply(413, "x"),
      ]) {
        peer.onBulk = () => answer;
        try {
          texts.push(inspect(await target.deliver(batch, never), { depth: 10 }));
        } catch (error) {
          texts.push(inspect(error, { depth: 10, showHidden: true }));
        }
      }
      assert.match(peer.bulks[0]?.headers.authorization ?? "", /^Basic /u);
      await peer.close();
      await target
        .deliver(batch.slice(1), never)
        .catch((error: unknown) => texts.push(inspect(error, { depth: 10, showHidden: true })));
      peer = await ScriptedPeer.listen();

      assert.equal(texts.length, 5);
      for (const secret of [...secrets, Buffer.from(`writer:${secrets[0]}`).toString("base64")]) {
        assert.ok(texts.every((text) => !text.includes(secret)));
      }
    });

    it("takes a compatible server (OpenSearch) only when the user says so", async () => {
      const plain = { status: 200, headers: { "content-type": "application/json" } };
      peer.onOther = () => ({ ...plain, body: {} });
      peer.onBulk = (request) => ({ ...plain, body: bulkReply(request, () => ({ status: 201 })).body! });
      await assert.rejects(
        openTarget({ connection: { nodes: peer.url } }, parts),
        /without that setting|not Elasticsearch/u,
      );

      const target = await openTarget({ connection: { nodes: peer.url, compatibleServer: true } }, parts);
      const { outcomes } = await target.deliver(
        records(1, () => ({})),
        never,
      );

      assert.deepEqual(kindsOf(outcomes), ["delivered"]);
      assert.ok([...peer.bulks, ...peer.others].every(({ headers }) => !headers.accept?.includes("vnd.elasticsearch")));
    });

    describe("with a peer that does not speak", () => {
      let mute: Server;
      const sockets = new Set<Socket>();

      beforeEach(async () => {
        mute = createServer((socket) => {
          sockets.add(socket.pause());
          socket.on("error", () => undefined);
        });
        mute.listen(0, "127.0.0.1");
        await once(mute, "listening");
      });
      afterEach(async () => {
        for (const socket of sockets) socket.destroy();
        sockets.clear();
        const closed = once(mute, "close");
        mute.close();
        await closed;
      });

      for (const protocol of ["http", "https"]) {
        it(`gives up at its deadline (${protocol})`, async () => {
          const { port } = mute.address() as AddressInfo;
          const nodes = `${protocol}://127.0.0.1:${port}`;
          const target = makeTarget({ connection: { nodes, requestTimeoutMs: 100 } }, parts);
          await assert.rejects(target.open(never), TargetUnavailableError);

          await assert.rejects(
            target.deliver(
              records(1, () => ({})),
              never,
            ),
            /did not answer within 0\.1 s/u,
          );
        });

        it(`is closed at once although a connection is still being made (${protocol})`, async () => {
          const { port } = mute.address() as AddressInfo;
          const target = makeTarget({ connection: { nodes: `${protocol}://127.0.0.1:${port}` } }, parts);
          const connected = once(mute, "connection");
          const opening = assert.rejects(target.open(never), TargetUnavailableError);
          await connected;
          const startedAt = performance.now();

          await target.close();

          await opening;
          assert.ok(performance.now() - startedAt < MOST_CLOSING_MS);
        });
      }
    });
  });
}

describe("Elasticsearch target", () => {
  let peer: ScriptedPeer;

  beforeEach(async () => {
    peer = await ScriptedPeer.listen();
  });
  afterEach(async () => {
    await closeTargets();
    await peer.close();
  });

  it("leaves an empty routing, pipeline or id out of the request", async () => {
    const target = await openTarget({ id: "message", connection: { nodes: peer.url } });
    const one = record({ a: 1 }, { routing: { id: "", routing: "", pipeline: "", index: "" } });

    await target.deliver([one], never);

    const [action] = actionsOf(peer.bulks[0]!);
    assert.deepEqual(Object.keys(action!).sort(), ["_id", "_index", "op"]);
    assert.equal(action?._index, "readings");
    assert.match(String(action?._id), /^[0-9a-f]{8}-[0-9a-f]{4}-7/u);
  });

  it("rejects a record whose id, routing or pipeline would fail the whole request, and sends the others", async () => {
    const target = await openTarget({ id: "message", connection: { nodes: peer.url } });
    const batch = [
      record({ n: 0 }, { routing: { id: "x".repeat(513) } }),
      record({ n: 1 }),
      record({ n: 2 }, { routing: { pipeline: "_none" } }),
      record({ n: 3 }, { routing: { routing: "a\nb" } }),
      record({ n: 4 }),
    ];

    const { outcomes } = await target.deliver(batch, never);

    assert.deepEqual(kindsOf(outcomes), ["rejected", "delivered", "rejected", "rejected", "delivered"]);
    assert.deepEqual(
      documentsOf(peer.bulks[0]!).map((document) => (document as { n: number }).n),
      [1, 4],
    );
  });

  it("rejects records for an index name that Elasticsearch would read otherwise, without asking it", async () => {
    const target = await openTarget({ connection: { nodes: peer.url } });
    for (const index of ["<x-{now/d}>", ".security", "a,b", "Upper", "-x", "a*", "x".repeat(256)]) {
      const { outcomes } = await target.deliver([record({}, { routing: { index } })], never);
      assert.deepEqual(kindsOf(outcomes), ["rejected"], index);
    }

    assert.equal(peer.bulks.length, 0);
  });

  it("quotes what comes from messages, so that it cannot add lines or keys to the request", async () => {
    const target = await openTarget({ id: "message", connection: { nodes: peer.url } });
    const id = 'a"}}\n{"delete":{"_id":"1"}}';

    await target.deliver([record({}, { routing: { id } })], never);

    const actions = actionsOf(peer.bulks[0]!);
    assert.equal(actions.length, 1);
    assert.equal(actions[0]?._id, id);
  });

  it("puts the day of the record, not of sending, into the index name, and groups by it", async () => {
    const target = await openTarget({ dateSuffix: "-%Y.%m.%d", connection: { nodes: peer.url } });
    const old = record({}, { acceptedAtMs: Date.UTC(2024, 1, 29, 23, 59, 59, 999) });
    const next = record({}, { acceptedAtMs: Date.UTC(2024, 2, 1) });
    const named = record({}, { acceptedAtMs: Date.UTC(2024, 2, 1), routing: { index: "other" } });

    assert.equal(target.destinationOf(old), "readings-2024.02.29");
    assert.equal(target.destinationOf(next), "readings-2024.03.01");
    assert.equal(target.destinationOf(named), "other-2024.03.01");
  });

  it("writes to so many indices that records name as it was told, days aside, and lets what is for others wait", async () => {
    const target = await openTarget({
      index: "fixed",
      dateSuffix: "-%Y.%m.%d",
      maxDestinations: 2,
      connection: { nodes: peer.url },
    });
    const of = (index: string, day = 1) =>
      record({}, { routing: index === "" ? {} : { index }, acceptedAtMs: Date.UTC(2026, 0, day) });

    const answers = [];
    for (const one of [of("a"), of("b"), of("c"), of("a", 2), of("")]) answers.push(await target.deliver([one], never));

    const kinds = answers.flatMap(({ outcomes }) => kindsOf(outcomes));
    assert.deepEqual(kinds, ["delivered", "delivered", "retry", "delivered", "delivered"]);
    assert.equal(answers[2]?.consequence?.kind, "hold");
    assert.match(String(answers[2].consequence.cause), /2 different destinations/u);
    assert.deepEqual(
      peer.bulks.map((bulk) => actionsOf(bulk)[0]?._index),
      ["a-2026.01.01", "b-2026.01.01", "a-2026.01.02", "fixed-2026.01.01"],
    );
  });

  it("adds the fields that the user named, and never over what the payload has", async () => {
    const fields = { topic: "topic", acceptedAt: "accepted", device: "device", replayed: "late", doubtful: "unsure" };
    const target = await openTarget({ fields, device: "pi-7", connection: { nodes: peer.url } });
    const acceptedAtMs = Date.UTC(2026, 0, 2, 3, 4, 5, 6);
    const at = "2026-01-02T03:04:05.006Z";
    const routing = { topic: 'a"b' };
    const batch = [
      record({ v: 1 }, { acceptedAtMs, routing, replayed: true }),
      record({ "@timestamp": "mine", topic: null, device: {}, late: 0 }, { acceptedAtMs, routing, replayed: true }),
      record(7, { acceptedAtMs, isTimeDoubtful: true }),
    ];

    await target.deliver(batch, never);

    assert.deepEqual(documentsOf(peer.bulks[0]!), [
      { "@timestamp": at, topic: 'a"b', accepted: at, late: true, device: "pi-7", v: 1 },
      { accepted: at, "@timestamp": "mine", topic: null, device: {}, late: 0 },
      { "@timestamp": at, accepted: at, unsure: true, device: "pi-7", payload: 7 },
    ]);
  });

  it("sends the same lines for records that lie together as for each by itself, whatever they hold", async () => {
    const fields = { topic: "topic", acceptedAt: "", device: "", replayed: "", doubtful: "" };
    const target = await openTarget({ fields, connection: { nodes: peer.url } });
    const payload = fc.oneof(
      fc.jsonValue({ maxDepth: 1 }),
      fc.dictionary(fc.constantFrom("v", "@timestamp", "topic", 'say "@timestamp"'), fc.jsonValue({ maxDepth: 1 })),
      fc.constant({ v: 2n ** 60n }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(payload, { minLength: 1, maxLength: 30 }), async (payloads) => {
        const together = payloads.map((one, i) => record(one, { routing: { topic: `t${i >> 3}` } }));
        const alone = together.map(({ offset, id, codec, bytes, size, routing, acceptedAtMs, replayed }): LogRecord => {
          return { offset, id, codec, bytes, size, routing, acceptedAtMs, replayed };
        });

        await target.deliver(together, never);
        await target.deliver(alone, never);

        assert.deepEqual(peer.bulks.at(-1)!.body, peer.bulks.at(-2)!.body);
      }),
      { numRuns: 100 },
    );
  });

  it("takes @timestamp from the payload field that the user named, where it can be a time", async () => {
    const target = await openTarget({ timestampFrom: "ts", connection: { nodes: peer.url } });
    const acceptedAtMs = Date.UTC(2026, 0, 1);
    const values = [1_700_000_000_000, "2020-01-01", null, { a: 1 }, "", true];

    await target.deliver(
      values.map((ts) => record({ ts }, { acceptedAtMs })),
      never,
    );

    const accepted = "2026-01-01T00:00:00.000Z";
    assert.deepEqual(
      documentsOf(peer.bulks[0]!).map((document) => (document as Record<string, unknown>)["@timestamp"]),
      [1_700_000_000_000, "2020-01-01", accepted, accepted, accepted, accepted],
    );
  });

  it("sends what a data stream and a time series take: create, and no id where the server derives it", async () => {
    const stream = await openTarget({ destination: "dataStream", connection: { nodes: peer.url } });
    const series = await openTarget({
      destination: "timeSeries",
      requireDataStream: false,
      connection: { nodes: peer.url },
    });

    await stream.deliver([record({})], never);
    await series.deliver([record({})], never);

    const [toStream, toSeries] = peer.bulks;
    assert.match(toStream?.url ?? "", /require_data_stream=true/u);
    assert.doesNotMatch(toSeries?.url ?? "", /require_data_stream/u);
    assert.ok(actionsOf(toStream!)[0]?._id !== undefined);
    assert.ok(actionsOf(toSeries!)[0]?._id === undefined);
  });

  it("warns once about documents in the failure store, and about equal points of a time series", async () => {
    const warnings: string[] = [];
    const onWarning = (message: string): void => void warnings.push(message);
    const target = await openTarget({ destination: "timeSeries", connection: { nodes: peer.url } }, { onWarning });
    peer.onBulk = (request) =>
      bulkReply(request, (place) =>
        place === 0
          ? { status: 201, failure_store: "used" }
          : { status: 409, type: "version_conflict_engine_exception" },
      );
    const batch = records(3, () => ({}));

    const first = await target.deliver(batch, never);
    await target.deliver(batch, never);

    assert.deepEqual(kindsOf(first.outcomes), ["delivered", "duplicate", "duplicate"]);
    assert.equal(warnings.length, 2);
  });

  describe("when the id that the user gave is taken", () => {
    const conflict = { status: 409, type: "version_conflict_engine_exception" };
    const withId = (parts: { replayed?: boolean } = {}): LogRecord => record({}, { routing: { id: "mine" }, ...parts });

    it("rejects the record, since another one may be there", async () => {
      const target = await openTarget({ id: "message", connection: { nodes: peer.url } });
      peer.onBulk = (request) => bulkReply(request, () => conflict);

      const { outcomes } = await target.deliver([withId(), record({})], never);

      assert.deepEqual(kindsOf(outcomes), ["rejected", "duplicate"]);
    });

    it("counts it as delivered after an attempt that was not answered, in this life or an earlier one", async () => {
      const target = await openTarget({ id: "message", connection: { nodes: peer.url } });
      const unanswered = withId();
      peer.onBulk = () => (response) => response.destroy();
      await assert.rejects(target.deliver([unanswered], never), TargetUnavailableError);
      peer.onBulk = (request) => bulkReply(request, () => conflict);

      const again = await target.deliver([unanswered, withId({ replayed: true }), withId()], never);

      assert.deepEqual(kindsOf(again.outcomes), ["duplicate", "duplicate", "rejected"]);
    });

    it("counts it as delivered when the user says so", async () => {
      const target = await openTarget({ id: "message", existingIdIsDelivered: true, connection: { nodes: peer.url } });
      peer.onBulk = (request) => bulkReply(request, () => conflict);

      assert.deepEqual(kindsOf((await target.deliver([withId()], never)).outcomes), ["duplicate"]);
    });
  });

  it("shares one client between exporters with equal settings, until the last one closes", async () => {
    const first = await openTarget({ connection: { nodes: peer.url } });
    const second = await openTarget({ index: "others", connection: { nodes: [peer.url] } });
    await first.close();

    const { outcomes } = await second.deliver([record({})], never);

    assert.deepEqual(kindsOf(outcomes), ["delivered"]);
  });

  it("ends at its close only its own requests, not those of others that share its client", async () => {
    const first = await openTarget({ connection: { nodes: peer.url } });
    const second = await openTarget({ connection: { nodes: peer.url } });
    const answers: (() => void)[] = [];
    peer.onBulk = (request) => (response) =>
      void answers.push(() => {
        const reply = bulkReply(request, () => ({ status: 201 }));
        response.writeHead(200, reply.headers).end(JSON.stringify(reply.body));
      });
    const ended = assert.rejects(first.deliver([record({})], never), TargetUnavailableError);
    await peer.untilBulks(1);
    const delivering = second.deliver([record({})], never);
    await peer.untilBulks(2);

    await first.close();
    await ended;
    answers[1]?.();

    assert.deepEqual(kindsOf((await delivering).outcomes), ["delivered"]);
  });

  it("never marks anything delivered at an address that cannot be right", async () => {
    for (const nodes of ["", "localhost:9200", "ftp://x", "http://", "http://a b", []]) {
      assert.throws(() => makeTarget({ connection: { nodes } }), ElasticsearchOptionsError, String(nodes));
    }
    const target = makeTarget({ connection: { nodes: "http://127.0.0.1:1" } });
    await assert.rejects(target.open(never), TargetUnavailableError);
    await assert.rejects(target.deliver([record({})], never), TargetUnavailableError);
  });

  it("gives each address family five seconds, since slow links need more than Node's 250 ms", async () => {
    let options: Record<string, unknown> | undefined;
    class Client {
      constructor(given: Record<string, unknown>) {
        options = given;
      }
      connectionPool = { connections: [] };
      transport = { request: () => Promise.reject(new Error("no network here")) };
      close = (): Promise<void> => Promise.resolve();
    }
    const fake = { Client, HttpConnection: Client, Transport: Client } as unknown as Driver;
    const target = makeTarget(
      { connection: { nodes: "https://slow.example" } },
      { loadDriver: () => Promise.resolve(fake) },
    );

    await assert.rejects(target.open(never), TargetUnavailableError);

    const family = { autoSelectFamily: true, autoSelectFamilyAttemptTimeout: 5_000 };
    for (const part of ["tls", "agent"]) {
      assert.deepEqual({ ...(options?.[part] as object), ...family }, options?.[part]);
    }
    assert.equal(options?.["maxRetries"], 0);
  });
});

/** Halves a batch as the delivery does. */
async function deliverByHalves(
  deliver: (part: readonly LogRecord[]) => ReturnType<ReturnType<typeof makeTarget>["deliver"]>,
  batch: readonly LogRecord[],
): Promise<string[]> {
  const answer = await deliver(batch);
  if (answer.consequence?.kind !== "split") return kindsOf(answer.outcomes);
  assert.ok(batch.length > 1, "a record alone must not be split");
  const middle = batch.length / 2;
  return [
    ...(await deliverByHalves(deliver, batch.slice(0, middle))),
    ...(await deliverByHalves(deliver, batch.slice(middle))),
  ];
}

function stallInBody(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/json", "x-elastic-product": "Elasticsearch" });
  response.write('{"errors":false,"items":[');
}
