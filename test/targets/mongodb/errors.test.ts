import assert from "node:assert/strict";
import type { Answer } from "../../../src/targets/target.js";
import { TargetConfigError, TargetUnavailableError } from "../../../src/targets/target.js";
import { DRIVER_CLASSES, SERVER_CODES, type Verdict } from "../../../src/targets/mongodb/errors.js";
import { isDroppedConnection, judgeCode, judgeThrown } from "../../../src/targets/mongodb/judge.js";
import { doubleRig, type DoubleRig, kinds, never, records } from "./rig.js";

/** One row of expectations for each group of server codes, written down apart from the code's own table. */
interface Expected {
  readonly codes: readonly number[];
  readonly command: Verdict;
  readonly document: Verdict;
  readonly concern: Verdict;
}

const same = (codes: readonly number[], verdict: Verdict): Expected => ({
  codes,
  command: verdict,
  document: verdict,
  concern: verdict,
});
const faulty = (...codes: number[]): Expected => ({ codes, command: "hold", document: "rejected", concern: "retry" });

const EXPECTED: readonly Expected[] = [
  { codes: [11000, 11001, 12582], command: "hold", document: "duplicateKey", concern: "retry" },
  faulty(121),
  faulty(2),
  faulty(9, 14, 15, 16, 22, 378),
  faulty(28, 40, 52, 53, 54, 55, 56, 57, 66),
  faulty(61),
  { codes: [116, 10003, 10334, 17419, 17420], command: "split", document: "rejected", concern: "retry" },
  faulty(17280),
  { codes: [73, 13297], command: "badName", document: "badName", concern: "retry" },
  same([13], "hold"),
  same([11, 18, 31, 214, 334, 337, 391, 392, 404], "config"),
  same([8000], "config"),
  same([20], "config"),
  same([26], "hold"),
  same([48], "retry"),
  same([59, 72, 115, 166, 238, 322, 323, 324, 347, 352, 50768], "hold"),
  same([64, 75], "retry"),
  same([79, 100], "hold"),
  same([6, 7, 89, 202, 384, 9001], "unavailable"),
  same([91, 189, 372, 10058, 10107, 11600, 11602, 13435, 13436], "unavailable"),
  same([133, 216], "unavailable"),
  same([264, 301, 12501, 14031], "unavailable"),
  same([371], "unavailable"),
  same([24, 46, 50, 112, 117, 146, 237, 262, 279, 290, 355, 363, 365, 402, 11601, 46841], "throttle"),
  same([433, 449, 450, 462], "throttle"),
  same([16500], "throttle"),
  same([63, 150, 227, 249, 319, 338, 343, 453, 13388], "retry"),
  same([206, 211, 215, 225, 251], "retry"),
  { codes: [1, 8, 65, 96, 125], command: "unavailable", document: "retryAlone", concern: "retry" },
];

const UNKNOWN_CODE = 4_711;

describe("MongoDB's answers", () => {
  let rig: DoubleRig;

  beforeEach(async () => {
    rig = await doubleRig();
  });

  afterEach(() => rig.close());

  it("are all expected here: no code of the table is left untested", () => {
    const expected = EXPECTED.flatMap((row) => row.codes).sort((a, b) => a - b);
    const known = SERVER_CODES.flatMap((row) => row.codes.map(([code]) => code)).sort((a, b) => a - b);

    assert.deepEqual(known, expected);
  });

  for (const { codes, command, document, concern } of [
    ...EXPECTED,
    { codes: [UNKNOWN_CODE], command: "unavailable", document: "retryAlone", concern: "retry" } as const,
  ]) {
    const what = judgeCode(codes[0]!, "command").what;

    it(`${codes.join(", ")} (${what}): ${command} for a whole command`, async () => {
      for (const code of codes) {
        const target = await rig.target();
        rig.double.next("insert", { ok: 0, code, errmsg: "scripted" });

        await check(() => target.deliver(records(3), never), command, 3, code);
      }
    });

    it(`${codes.join(", ")} (${what}): ${document} for one document, the others are delivered`, async () => {
      const target = await rig.target();
      for (const code of codes) {
        const keyPattern = { serial: 1 };
        rig.double.next("insert", { n: 2, writeErrors: [{ index: 1, code, errmsg: "scripted", keyPattern }] });

        const answer = await target.deliver(records(3), never);

        const [first, second, third] = answer.outcomes;
        assert.deepEqual([first?.kind, third?.kind], ["delivered", "delivered"]);
        checkOutcome(second, document, code);
        assert.equal(answer.consequence?.kind, consequenceBesideDelivered(document), `consequence of ${code}`);
      }
    });

    it(`${codes.join(", ")} (${what}): ${concern} as a write concern's error`, async () => {
      for (const code of codes) {
        const target = await rig.target();
        rig.double.next("insert", { n: 3, writeConcernError: { code, errmsg: "scripted" } });

        await check(() => target.deliver(records(3), never), concern, 3, code);
      }
    });
  }

  it("with the labels of an overloaded server are obeyed, and its wait is kept", async () => {
    const target = await rig.target();
    rig.double.next("insert", {
      ok: 0,
      code: UNKNOWN_CODE,
      errmsg: "too many requests",
      errorLabels: ["SystemOverloadedError", "RetryableError"],
      baseBackoffMS: 700,
    });

    const answer = await target.deliver(records(2), never);

    assert.deepEqual(kinds(answer), ["retry", "retry"]);
    assert.equal(answer.consequence?.kind, "throttle");
    assert.equal(answer.consequence?.kind === "throttle" && answer.consequence.retryAfterMs, 700);
  });

  it("that hold a write error and a failed write concern settle each record by its own", async () => {
    const target = await rig.target();
    rig.double.next("insert", {
      n: 1,
      writeErrors: [
        { index: 0, code: 121, errmsg: "Document failed validation", errInfo: { details: { why: "no unit" } } },
      ],
      writeConcernError: { code: 64, errmsg: "waiting for replication timed out" },
    });

    const answer = await target.deliver(records(2), never);

    assert.deepEqual(kinds(answer), ["rejected", "retry"]);
    assert.match(JSON.stringify(answer.outcomes[0]), /no unit/);
  });

  it("that do not account for every document leave the whole batch unknown", async () => {
    for (const reply of [
      { n: 2 },
      { n: 4 },
      {},
      { n: "3" },
      { n: 2, writeErrors: "none" },
      { n: 2, writeErrors: [{}] },
      { writeErrors: [{ index: 0, code: 121, errmsg: "" }] },
    ]) {
      const target = await rig.target();
      rig.double.next("insert", reply);

      await assert.rejects(target.deliver(records(3), never), TargetUnavailableError);
    }
  });

  async function check(deliver: () => Promise<Answer>, verdict: Verdict, count: number, code: number): Promise<void> {
    // Fixed in the dialog here, so a bad name is the settings' fault.
    if (verdict === "unavailable") return assert.rejects(deliver, isA(TargetUnavailableError, code));
    if (verdict === "config" || verdict === "badName") return assert.rejects(deliver, isA(TargetConfigError, code));
    const answer = await deliver();
    assert.equal(answer.outcomes.length, count);
    for (const outcome of answer.outcomes) checkOutcome(outcome, verdict, code);
    assert.equal(answer.consequence?.kind, verdict === "retry" ? undefined : verdict, `consequence of ${code}`);
  }
});

describe("What MongoDB's driver throws", () => {
  const EXPECTED_CLASSES: Readonly<Record<string, Verdict>> = {
    MongoParseError: "config",
    MongoAPIError: "config",
    MongoInvalidArgumentError: "config",
    MongoMissingCredentialsError: "config",
    MongoMissingDependencyError: "config",
    MongoRuntimeError: "config",
    MongoCompatibilityError: "config",
    MongoServerSelectionError: "unavailable",
    MongoTopologyClosedError: "unavailable",
    MongoNotConnectedError: "retry",
    MongoClientClosedError: "retry",
    MongoServerClosedError: "retry",
    PoolClosedError: "retry",
    MongoNetworkError: "unavailable",
    MongoNetworkTimeoutError: "unavailable",
    PoolClearedError: "unavailable",
    PoolClearedOnNetworkError: "unavailable",
    MongoOperationTimeoutError: "unavailable",
    AbortError: "unavailable",
    TimeoutError: "unavailable",
    WaitQueueTimeoutError: "retry",
    MongoUnexpectedServerResponseError: "unavailable",
    MongoDecompressionError: "unavailable",
    MongoStalePrimaryError: "unavailable",
    MongoExpiredSessionError: "unavailable",
    BSONError: "rejected",
    BSONVersionError: "rejected",
    RangeError: "rejected",
    TypeError: "rejected",
    Error: "unavailable",
  };

  const named = (name: string, more: object = {}, cause?: unknown): Error =>
    Object.assign(new Error("scripted", { cause }), { name, ...more });

  it("is all expected here: no class of the table is left untested", () => {
    const byCode = ["MongoWriteConcernError", "MongoServerError"];
    const known = new Set(DRIVER_CLASSES.flatMap((row) => row.classes));

    assert.deepEqual([...known].sort(), [...Object.keys(EXPECTED_CLASSES), ...byCode].sort());
  });

  for (const [name, verdict] of Object.entries(EXPECTED_CLASSES)) {
    it(`${name}: ${verdict}`, () => {
      assert.equal(judgeThrown(named(name)).verdict, verdict);
    });
  }

  it("MongoServerError, MongoWriteConcernError: by their code", () => {
    assert.equal(judgeThrown(named("MongoServerError", { code: 18 })).verdict, "config");
    assert.equal(judgeThrown(named("MongoServerError", { code: 24 })).verdict, "throttle");
  });

  it("a certificate that no waiting will mend: config; one that is not valid yet: the clock's fault, unavailable", () => {
    for (const code of ["DEPTH_ZERO_SELF_SIGNED_CERT", "SELF_SIGNED_CERT_IN_CHAIN", "CERT_HAS_EXPIRED"]) {
      const error = named("MongoServerSelectionError", {}, named("MongoNetworkError", {}, named("Error", { code })));
      assert.equal(judgeThrown(error).verdict, "config");
      assert.equal(judgeThrown(error).code, code);
    }
    for (const code of ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "ERR_TLS_CERT_ALTNAME_INVALID"]) {
      assert.equal(judgeThrown(named("MongoNetworkError", {}, named("Error", { code }))).verdict, "config");
    }
    for (const code of ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA"]) {
      const judged = judgeThrown(named("MongoServerSelectionError", {}, named("MongoNetworkError", { code })));
      assert.equal(judged.verdict, "config");
      assert.match(judged.what, /client certificate/);
    }
    const early = judgeThrown(named("MongoServerSelectionError", {}, named("Error", { code: "CERT_NOT_YET_VALID" })));
    assert.equal(early.verdict, "unavailable");
    assert.match(early.what, /clock/);
  });

  it("a server too old for the driver: config", () => {
    const error = named("MongoServerSelectionError", {}, named("MongoCompatibilityError"));

    assert.equal(judgeThrown(error).verdict, "config");
  });

  it("the labels of an overloaded server on a network error say nothing", () => {
    const errorLabels = ["SystemOverloadedError", "RetryableError"];

    assert.equal(judgeThrown(named("MongoNetworkError", { errorLabels })).verdict, "unavailable");
  });

  it("a connection that was dropped under the call is told from one that was never made, is slow, or had to go too", () => {
    assert.ok(isDroppedConnection(named("MongoNetworkError")));
    assert.ok(isDroppedConnection(named("MongoNetworkError", { errorLabels: ["RetryableWriteError"] })));

    assert.ok(!isDroppedConnection(named("MongoNetworkError", { errorLabels: ["SystemOverloadedError"] })));
    assert.ok(!isDroppedConnection(named("MongoNetworkError", { errorLabels: ["HandshakeError"] })));
    for (const name of ["MongoNetworkTimeoutError", "PoolClearedOnNetworkError", "MongoServerSelectionError"]) {
      assert.ok(!isDroppedConnection(named(name)), name);
    }
  });

  it("a DNS that cannot be asked: unavailable; one that knows no such name: config", () => {
    for (const code of ["ENOTFOUND", "ESERVFAIL", "ETIMEOUT", "EREFUSED", "ECONNREFUSED"]) {
      for (const syscall of ["querySrv", "queryTxt"]) {
        assert.equal(judgeThrown(named("Error", { code, syscall })).verdict, "unavailable");
      }
    }
    assert.equal(judgeThrown(named("Error", { code: "ENODATA", syscall: "querySrv" })).verdict, "config");
    assert.equal(judgeThrown(named("Error", { code: "ENODATA" })).verdict, "unavailable");
  });

  it("anything else, even no error at all: unavailable, never rejected", () => {
    for (const thrown of [undefined, null, "text", 5, new (class Odd extends Error {})("odd")]) {
      assert.equal(judgeThrown(thrown).verdict, "unavailable");
    }
  });
});

function isA(type: typeof TargetUnavailableError | typeof TargetConfigError, code: number) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof type, `${code}: ${String(error)}`);
    // ReauthenticationRequired makes the driver log in again by itself, and these targets have no login.
    assert.equal(error.code, code === 391 ? "MongoMissingCredentialsError" : String(code));
    return true;
  };
}

function checkOutcome(outcome: Answer["outcomes"][number] | undefined, verdict: Verdict, code: number): void {
  switch (verdict) {
    case "rejected":
    case "duplicateKey":
      assert.equal(outcome?.kind, "rejected", `outcome of ${code}`);
      assert.ok(outcome.kind === "rejected");
      assert.equal(outcome.cause.code, String(code));
      assert.equal(outcome.cause.statusCode, code);
      return;
    default:
      assert.equal(outcome?.kind, "retry", `outcome of ${code}`);
      assert.ok(outcome.kind === "retry");
      assert.equal(outcome.alone ?? false, verdict === "retryAlone");
      assert.match(outcome.cause.message, /MongoDB/);
  }
}

/** What has been delivered is kept, so an unusable target is told of mildly, and by the next attempt. */
function consequenceBesideDelivered(verdict: Verdict): string | undefined {
  if (verdict === "unavailable") return "throttle";
  if (verdict === "config" || verdict === "badName") return "hold";
  return verdict === "hold" || verdict === "throttle" ? verdict : undefined;
}
