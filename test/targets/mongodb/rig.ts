/** What the tests of this folder share: targets against the wire double, closed after each test. */
import { encode } from "../../../src/codec.js";
import type { LogRecord } from "../../../src/record.js";
import { checkMongoOptions } from "../../../src/targets/mongodb/options.js";
import { MongoTarget } from "../../../src/targets/mongodb/target.js";
import { recordOf, type RecordParts } from "../../support/memory-source.js";
import { WireDouble } from "../../support/wire-double.js";

/** For tests that wait for one of them. */
export const QUICK = { selectTimeoutMs: 400, connectTimeoutMs: 400, requestTimeoutMs: 400 };
/** For all others: a machine with other work may stop anyone for a second. */
export const PATIENT = { selectTimeoutMs: 5_000, connectTimeoutMs: 5_000, requestTimeoutMs: 5_000 };

/** Never aborts. */
export const never: AbortSignal = new AbortController().signal;

/** A record with any payload, through the codec as in life. */
export function record(n: number, payload: unknown, parts: RecordParts = {}): LogRecord {
  return recordOf(n, { ...parts, encoded: encode(payload) });
}

export function records(count: number, payloadOf: (n: number) => unknown = (n) => ({ n })): LogRecord[] {
  return Array.from({ length: count }, (_, n) => record(n, payloadOf(n)));
}

export function makeTarget(url: string, options: object = {}, connection: object = {}): MongoTarget {
  return new MongoTarget(
    checkMongoOptions({
      database: "plant",
      collection: "readings",
      ...options,
      connection: { uri: url, ...PATIENT, ...connection },
    }),
  );
}

export interface DoubleRig {
  readonly double: WireDouble;
  /** Opened already. */
  target(options?: object, connection?: object): Promise<MongoTarget>;
  close(): Promise<void>;
}

export async function doubleRig(): Promise<DoubleRig> {
  const double = await WireDouble.listen();
  const targets: MongoTarget[] = [];
  return {
    double,
    async target(options = {}, connection = {}) {
      const target = makeTarget(double.url, options, { appName: `test ${targets.length}`, ...connection });
      // One client each: what one answer does to a client must not reach the next test case.
      targets.push(target);
      await target.open(never);
      return target;
    },
    async close(): Promise<void> {
      for (const target of targets) await target.close();
      await double.close();
    },
  };
}

export function kinds(answer: { outcomes: readonly { kind: string }[] }): string[] {
  return answer.outcomes.map((outcome) => outcome.kind);
}
