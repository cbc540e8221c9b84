import assert from "node:assert/strict";
import {
  CLASS_VERDICTS,
  ITEM_ROWS,
  REQUEST_ROWS,
  judgeThrown,
  readRetryAfter,
  withoutCredentials,
} from "../../../src/targets/elasticsearch/errors.js";
import type { BulkOp } from "../../../src/targets/elasticsearch/options.js";
import { TargetConfigError, TargetUnavailableError, type Answer } from "../../../src/targets/target.js";
import { records } from "./records.js";
import { bulkReply, errorReply, ScriptedPeer, type ScriptedReply } from "./scripted-peer.js";
import { CLIENTS, closeTargets, kindsOf, never, openTarget } from "./targets.js";

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

    for (const row of ITEM_ROWS) {
      for (const op of row.ops ?? (["create"] as const)) {
        it(`answers ${row.verdict} to a record with ${row.status} ${row.type ?? "of any type"} (${op}), its neighbours are delivered`, async () => {
          const answer = await answerToItem(row.status, row.type, op);

          const isWaiting = row.verdict === "throttle" || row.verdict === "hold";
          const expected = isWaiting ? "retry" : row.verdict;
          assert.deepEqual(kindsOf(answer.outcomes), ["delivered", expected, "delivered"]);
          assert.equal(answer.consequence?.kind, isWaiting ? row.verdict : undefined);
          const outcome = answer.outcomes[1]!;
          if (outcome.kind === "rejected") {
            assert.equal(outcome.cause.code, row.type);
            assert.equal(outcome.cause.statusCode, row.status);
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

    for (const row of REQUEST_ROWS) {
      const name = `${row.status} ${row.type ?? "of any type"}`;
      const reply =
        row.type === undefined
          ? { status: row.status, headers: { "content-type": "text/html" }, body: "<html>proxy</html>" }
          : errorReply(row.status, row.type);
      switch (row.verdict) {
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
          row.verdict satisfies never;
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
  for (const [name, verdict] of CLASS_VERDICTS) {
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
