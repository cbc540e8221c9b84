import assert from "node:assert/strict";
import {
  CLASS_VERDICTS,
  ITEM_ROWS,
  type ItemVerdict,
  REQUEST_ROWS,
  type RequestVerdict,
  judgeThrown,
  readRetryAfter,
  withoutCredentials,
} from "../../../src/targets/elasticsearch/errors.js";
import type { BulkOp } from "../../../src/targets/elasticsearch/options.js";
import { TargetConfigError, TargetUnavailableError, type Answer } from "../../../src/targets/target.js";
import { records } from "./records.js";
import { bulkReply, errorReply, json, ScriptedPeer, type ScriptedReply } from "./scripted-peer.js";
import { CLIENTS, closeTargets, kindsOf, never, openTarget } from "./targets.js";

/** What is expected of one record's status, written down apart from the code's own table. */
const ITEMS: readonly (readonly [number, string | undefined, ItemVerdict, ...BulkOp[]])[] = [
  [200, undefined, "delivered"],
  [201, undefined, "delivered"],
  [409, "version_conflict_engine_exception", "duplicate", "create"],
  [409, "version_conflict_engine_exception", "duplicate", "index"],
  [409, "version_conflict_engine_exception", "retry", "update", "upsert"],
  [400, "document_parsing_exception", "rejected"],
  [400, "mapper_parsing_exception", "rejected"],
  [400, "strict_dynamic_mapping_exception", "rejected"],
  [400, "routing_missing_exception", "rejected"],
  [400, "timestamp_error", "rejected"],
  [400, "invalid_index_name_exception", "rejected"],
  [400, "x_content_parse_exception", "rejected"],
  [400, "parse_exception", "rejected"],
  [400, "illegal_argument_exception", "rejected"],
  [400, "index_closed_exception", "hold"],
  [400, "validation_exception", "hold"],
  [404, "index_not_found_exception", "hold"],
  [404, "resource_not_found_exception", "hold"],
  [404, "document_missing_exception", "rejected"],
  [403, "cluster_block_exception", "hold"],
  [403, "security_exception", "hold"],
  [429, "cluster_block_exception", "hold"],
  [429, "es_rejected_execution_exception", "throttle"],
  [429, "circuit_breaking_exception", "throttle"],
  [429, undefined, "throttle"],
  [503, undefined, "hold"],
];

/** The same for a whole request. */
const REQUESTS: readonly (readonly [number, string | undefined, RequestVerdict])[] = [
  [400, "action_request_validation_exception", "bisect"],
  [400, "illegal_argument_exception", "bisect"],
  [400, "x_content_parse_exception", "bisect"],
  [400, "parse_exception", "bisect"],
  [400, "media_type_header_exception", "config"],
  [401, undefined, "config"],
  [403, "security_exception", "config"],
  [403, "cluster_block_exception", "unavailable"],
  [404, undefined, "config"],
  [405, undefined, "config"],
  [406, undefined, "config"],
  [407, undefined, "unavailable"],
  [408, undefined, "retry"],
  [409, undefined, "retry"],
  [413, undefined, "split"],
  [415, undefined, "config"],
  [425, undefined, "retry"],
  [429, undefined, "throttle"],
  [500, undefined, "unknown"],
  [501, undefined, "unknown"],
  [502, undefined, "unavailable"],
  [503, undefined, "unavailable"],
  [504, undefined, "unavailable"],
  [511, undefined, "unavailable"],
];

/** And for what the client throws before or instead of a status. */
const CLASSES: readonly (readonly [string, RequestVerdict])[] = [
  ["ConnectionError", "unavailable"],
  ["TimeoutError", "unavailable"],
  ["RequestAbortedError", "unavailable"],
  ["NoLivingConnectionsError", "unavailable"],
  ["ProductNotSupportedError", "unavailable"],
  ["DeserializationError", "unavailable"],
  ["SerializationError", "bisect"],
  ["ConfigurationError", "config"],
];

describe("Elasticsearch's answers", () => {
  it("are all expected here: no row of the tables is left untested", () => {
    const items = ITEM_ROWS.map(({ status, type, verdict, ops = [] }) => [status, type, verdict, ...ops]);
    const requests = REQUEST_ROWS.map(({ status, type, verdict }) => [status, type, verdict]);

    assert.deepEqual(items, ITEMS);
    assert.deepEqual(requests, REQUESTS);
    assert.deepEqual([...CLASS_VERDICTS], CLASSES);
  });
});

for (const client of CLIENTS) {
  describe(`Verdicts of Elasticsearch's answers (${client.name})`, () => {
    let peer: ScriptedPeer;

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

    /** What becomes of three records of which the second is answered so. */
    async function answerToItem(status: number, type: string | undefined, op: BulkOp): Promise<Answer> {
      const id = op === "update" || op === "upsert" ? "message" : "record";
      const target = await openTarget({ op, id, connection: { nodes: peer.url } }, { loadDriver: client.load });
      const item = { status, ...(type === undefined ? {} : { type }) };
      peer.onBulk = (request) => bulkReply(request, (place) => (place === 1 ? item : { status: 201 }));
      return target.deliver(
        records(3, (i) => ({ i }), { routing: { id: "x" } }),
        never,
      );
    }

    for (const [status, type, verdict, ...ops] of ITEMS) {
      for (const op of ops.length > 0 ? ops : (["create"] as const)) {
        it(`answers ${verdict} to a record with ${status} ${type ?? "of any type"} (${op}), its neighbours are delivered`, async () => {
          const answer = await answerToItem(status, type, op);

          const isWaiting = verdict === "throttle" || verdict === "hold";
          const expected = isWaiting ? "retry" : verdict;
          assert.deepEqual(kindsOf(answer.outcomes), ["delivered", expected, "delivered"]);
          assert.equal(answer.consequence?.kind, isWaiting ? verdict : undefined);
          const outcome = answer.outcomes[1]!;
          if (outcome.kind === "rejected") {
            assert.equal(outcome.cause.code, type);
            assert.equal(outcome.cause.statusCode, status);
            assert.match(outcome.cause.message, /reason of/u);
          }
        });
      }
    }

    for (const [status, type] of [
      [500, "illegal_state_exception"],
      [400, "an_exception_of_a_later_version"],
      [418, undefined],
    ] as const) {
      it(`tries a record with ${status} ${type ?? ""} again by itself, since it knows nothing of that`, async () => {
        const answer = await answerToItem(status, type, "create");

        const outcome = answer.outcomes[1]!;
        assert.equal(outcome.kind, "retry");
        assert.equal(outcome.kind === "retry" && outcome.alone, true);
      });
    }

    it("lets a destination wait whose record alone is too much for the server's memory", async () => {
      const target = await openTarget({ connection: { nodes: peer.url } }, { loadDriver: client.load });
      peer.onBulk = (request) => bulkReply(request, () => ({ status: 429, type: "circuit_breaking_exception" }));

      const answer = await target.deliver(
        records(1, () => ({})),
        never,
      );

      assert.equal(answer.consequence?.kind, "hold");
    });

    /** What becomes of a batch whose request as a whole is answered so. */
    async function answerToRequest(reply: ScriptedReply, count = 4): Promise<Answer> {
      const target = await openTarget({ connection: { nodes: peer.url } }, { loadDriver: client.load });
      peer.onBulk = () => reply;
      return target.deliver(
        records(count, (i) => ({ i })),
        never,
      );
    }

    for (const [status, type, verdict] of REQUESTS) {
      const name = `${status} ${type ?? "of any type"}`;
      const reply =
        type === undefined
          ? { status, headers: { "content-type": "text/html" }, body: "<html>proxy</html>" }
          : errorReply(status, type);
      switch (verdict) {
        case "unavailable":
          it(`opens the circuit when a request is answered ${name}`, async () => {
            await assert.rejects(answerToRequest(reply), TargetUnavailableError);
          });
          break;
        case "config":
          it(`asks the user to mend the settings when a request is answered ${name}`, async () => {
            await assert.rejects(answerToRequest(reply), TargetConfigError);
          });
          break;
        case "retry":
          it(`sends a batch again when its request is answered ${name}`, async () => {
            const answer = await answerToRequest(reply);

            assert.deepEqual(new Set(kindsOf(answer.outcomes)), new Set(["retry"]));
            assert.equal(answer.consequence, undefined);
          });
          break;
        case "throttle":
          it(`asks for less when a request is answered ${name}`, async () => {
            const answer = await answerToRequest(reply);

            assert.deepEqual(new Set(kindsOf(answer.outcomes)), new Set(["retry"]));
            assert.equal(answer.consequence?.kind, "throttle");
          });
          break;
        case "split":
        case "bisect":
          it(`halves a batch whose request is answered ${name}, and rejects a record that is alone`, async () => {
            const several = await answerToRequest(reply);
            const alone = await answerToRequest(reply, 1);

            assert.deepEqual(new Set(kindsOf(several.outcomes)), new Set(["retry"]));
            assert.equal(several.consequence?.kind, "split");
            assert.deepEqual(kindsOf(alone.outcomes), ["rejected"]);
          });
          break;
        case "unknown":
          it(`halves a batch whose request is answered ${name}, and never rejects at once`, async () => {
            const several = await answerToRequest(reply);
            const alone = await answerToRequest(reply, 1);

            assert.equal(several.consequence?.kind, "split");
            assert.equal(alone.outcomes[0]?.kind, "retry");
            assert.equal(alone.outcomes[0]?.kind === "retry" && alone.outcomes[0].alone, true);
          });
          break;
        default:
          verdict satisfies never;
      }
    }

    it("says nothing of the records when something in between answers 400 with a page", async () => {
      const page = { status: 400, headers: { "content-type": "text/html" }, body: "<h1>Bad Request</h1>" };

      await assert.rejects(answerToRequest(page, 1), TargetUnavailableError);
    });

    it("opens the circuit for a status that nobody has heard of", async () => {
      await assert.rejects(answerToRequest({ status: 599, body: "?" }), TargetUnavailableError);
    });

    it("hints at the version when a server before 8.13 does not know the parameter for data streams", async () => {
      const reason = "request [/_bulk] contains unrecognized parameter: [require_data_stream]";
      const reply = {
        status: 400,
        headers: { "content-type": "application/json", "x-elastic-product": "Elasticsearch" },
        body: { error: { type: "illegal_argument_exception", reason }, status: 400 },
      };

      await assert.rejects(answerToRequest(reply), /before 8\.13.*switch it off/u);
    });

    it("halves what is above the server's indexing pressure, and asks for less when others fill it", async () => {
      const replyTo = (bytes: number): ScriptedReply => {
        const numbers = `all_bytes=900, coordinating_operation_bytes=${bytes}, max_coordinating_bytes=1000`;
        const reason = `rejected execution of coordinating operation [${numbers}]`;
        return json(429, { error: { type: "es_rejected_execution_exception", reason }, status: 429 });
      };

      assert.equal((await answerToRequest(replyTo(1001))).consequence?.kind, "split");
      assert.deepEqual(kindsOf((await answerToRequest(replyTo(1001), 1)).outcomes), ["rejected"]);
      assert.equal((await answerToRequest(replyTo(999))).consequence?.kind, "throttle");
    });

    it("halves what is above a shard's indexing pressure, until the record that alone is too much is rejected", async () => {
      const refusal = (bytes: number): { status: number; type: string; reason: string } => {
        const numbers = `all_bytes=0, primary_operation_bytes=${bytes}, max_primary_bytes=1000`;
        const reason = `rejected execution of primary operation [${numbers}]`;
        return { status: 429, type: "es_rejected_execution_exception", reason };
      };
      const answerTo = async (bytes: number, count: number): Promise<Answer> => {
        const target = await openTarget({ connection: { nodes: peer.url } }, { loadDriver: client.load });
        peer.onBulk = (request) => bulkReply(request, (place) => (place === 0 ? refusal(bytes) : { status: 201 }));
        return target.deliver(
          records(count, () => ({})),
          never,
        );
      };

      const several = await answerTo(1001, 3);
      const alone = await answerTo(1001, 1);
      const busy = await answerTo(999, 1);

      assert.deepEqual(kindsOf(several.outcomes), ["retry", "delivered", "delivered"]);
      for (const { consequence } of [several, alone]) {
        assert.equal(consequence?.kind, "split");
        assert.equal(consequence?.kind === "split" && consequence.cause.code, "too-large");
      }
      assert.equal(busy.consequence?.kind, "throttle");
    });

    for (const status of [429, 503]) {
      it(`waits as long as Retry-After says after ${status}, at most five minutes`, async () => {
        const waits: (number | undefined)[] = [];
        for (const seconds of ["7", "86400"]) {
          const reply = errorReply(status, "es_rejected_execution_exception", { "retry-after": seconds });
          try {
            const { consequence } = await answerToRequest(reply);
            waits.push(consequence?.kind === "throttle" ? consequence.retryAfterMs : undefined);
          } catch (error) {
            assert.ok(error instanceof TargetUnavailableError);
            waits.push(error.retryAfterMs);
          }
        }

        assert.deepEqual(waits, [7_000, 300_000]);
      });
    }
  });
}

describe("Elasticsearch's errors", () => {
  for (const [name, verdict] of CLASSES) {
    it(`judges the client's ${name} as ${verdict}`, () => {
      const error = Object.assign(new Error("something"), { name });

      assert.equal(judgeThrown(error).verdict, verdict);
    });
  }

  it("judges what the client was never known to throw as unavailable", () => {
    for (const thrown of [new TypeError("terminated"), new Error("incorrect header check"), "text", undefined, null]) {
      assert.equal(judgeThrown(thrown).verdict, "unavailable");
    }
  });

  for (const [text, verdict, hint] of [
    ["self-signed certificate in certificate chain", "config", /set the certificate authority/u],
    ["unable to verify the first certificate", "config", /set the certificate authority/u],
    ["Hostname/IP does not match certificate's altnames: Host: a", "config", /another host name/u],
    ["certificate has expired", "config", /clock of this machine/u],
    ["Server certificate CA fingerprint does not match the value", "config", /fingerprint was set/u],
    ["…:tlsv13 alert certificate required:…", "config", /wants a client certificate/u],
    ["…:tlsv1 alert unknown ca:…", "config", /does not accept our client certificate/u],
    ["certificate is not yet valid", "unavailable", /check the clock/u],
    ["…:wrong version number:…", "unavailable", /try http/u],
  ] as const) {
    it(`judges a connection that failed on "${text}" as ${verdict}, and says what to do`, () => {
      const judged = judgeThrown(Object.assign(new Error(text), { name: "ConnectionError" }));

      assert.equal(judged.verdict, verdict);
      assert.match(judged.message, hint);
    });
  }

  it("tells a connection that was dropped under the request from one that was never made, or is slow", () => {
    const wasDropped = (message: string, name = "ConnectionError"): boolean =>
      judgeThrown(Object.assign(new Error(message), { name })).droppedWith === message;
    const local = " - Local: 127.0.0.1:1, Remote: 127.0.0.1:2";

    for (const text of ["other side closed", "read ECONNRESET", "socket hang up"]) {
      assert.ok(wasDropped(text) && wasDropped(text + local), text);
    }
    for (const text of ["write EPIPE", "write ECONNRESET", "Connection closed while reading the body"]) {
      assert.ok(wasDropped(text), text);
    }
    for (const text of [
      "connect ECONNREFUSED 127.0.0.1:9200",
      "connect ECONNRESET 127.0.0.1:9200",
      "connect ETIMEDOUT 127.0.0.1:9200",
      "getaddrinfo ENOTFOUND elastic",
      "Client network socket disconnected before secure TLS connection was established",
      "self-signed certificate",
      "Bad response: 502",
    ]) {
      assert.ok(!wasDropped(text), text);
    }
    assert.ok(!wasDropped("read ECONNRESET", "TimeoutError"));
  });

  it("reads Retry-After as a date by the server's own clock, since ours may be years off", () => {
    const headers = { "retry-after": "Tue, 24 Nov 2026 08:00:30 GMT", date: "Tue, 24 Nov 2026 08:00:00 GMT" };

    assert.equal(readRetryAfter(headers, 0), 30_000);
    assert.equal(readRetryAfter({ "retry-after": headers["retry-after"] }, Date.parse(headers.date)), 30_000);
    assert.equal(readRetryAfter({ "retry-after": "Tue, 24 Nov 2020 08:00:00 GMT" }, Date.parse(headers.date)), 0);
    assert.equal(readRetryAfter({ "retry-after": "soon" }, 0), undefined);
    assert.equal(readRetryAfter({}, 0), undefined);
  });

  it("never shows the login data of an address", () => {
    assert.equal(withoutCredentials("at https://user:pa55@host:9200/x and b"), "at https://host:9200/x and b");
  });
});
