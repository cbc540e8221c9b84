/** Records on their way to a file straight from the log that they lie in, while that goes on. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { encode, jsonText, plainJson } from "../../../src/codec.js";
import type { Log } from "../../../src/log/log.js";
import type { LogRecord } from "../../../src/record.js";
import { FileTarget } from "../../../src/targets/file/target.js";
import { deflateCompression } from "../../../src/log/format/compression.js";
import { openLog } from "../../log/open-log.js";
import { SimDisk } from "../../support/sim-disk.js";
import { tempFolder } from "../../support/temp-folder.js";

const never = new AbortController().signal;

const payload = fc.oneof(
  { weight: 6, arbitrary: fc.jsonValue({ maxDepth: 1 }) },
  fc.constantFrom<unknown>(
    "",
    "\ud800",
    "\u2028\n\r",
    "text\nof\nlines",
    2n ** 60n,
    Buffer.from("a\nb\n"),
    new Date(0),
  ),
  fc.constantFrom("x".repeat(70_000), "ü\n".repeat(20_000)),
);

type Step =
  | { readonly kind: "append"; readonly payloads: readonly unknown[] }
  | { readonly kind: "take"; readonly records: number; readonly every: number }
  | { readonly kind: "sync" }
  | { readonly kind: "restart" };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("append" as const), payloads: fc.array(payload, { minLength: 1, maxLength: 40 }) }),
  fc.record({
    kind: fc.constant("take" as const),
    records: fc.integer({ min: 1, max: 60 }),
    every: fc.integer({ min: 2, max: 9 }),
  }),
  fc.constantFrom<Step>({ kind: "sync" }, { kind: "restart" }),
);

describe("Lines of records that lie in a log", () => {
  let root: string;
  let count = 0;

  beforeEach(() => {
    root = tempFolder();
  });

  it("are those of their payloads, whatever happens to the log while they are written", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 20 }), fc.boolean(), async (steps, hasView) => {
        const file = join(root, `${count++}.log`);
        const disk = new SimDisk();
        const target = new FileTarget({ file, format: "json" });
        await target.open(never);
        const open = async (): Promise<Log> => {
          const log = await openLog(disk, { segmentBytes: 3e5, compression: deflateCompression });
          if (hasView) log.consumer("a").view = (routing) => ({ ...routing });
          return log;
        };
        let log = await open();
        const lines: string[] = [];
        const expected: string[] = [];
        const append = (payloads: readonly unknown[]): void => {
          for (const one of payloads) {
            const encoded = plainJson(one) ?? encode(one);
            const offset = log.append(encoded, { topic: `t${lines.length % 3}` });
            lines[offset] = typeof encoded === "string" ? encoded : jsonText(encoded).toString();
          }
        };
        const deliver = async (records: readonly LogRecord[], meanwhile: readonly unknown[]): Promise<void> => {
          for (const { offset } of records) expected.push(lines[offset]!);
          const delivering = target.deliver(records, never);
          append(meanwhile);
          await Promise.all([delivering, log.sync()]);
          log.consumer("a").confirm(records);
        };

        append(["first"]);
        for (const one of steps) {
          if (one.kind === "append") append(one.payloads);
          else if (one.kind === "sync") await log.sync();
          else if (one.kind === "restart") {
            await log.close();
            log = await open();
          } else if (log.consumer("a").untaken > 0) {
            const skip = ({ offset }: LogRecord): boolean => offset % one.every === 0;
            const limits = { records: one.records, bytes: 1e6 };
            const stop = AbortSignal.timeout(0); // all that is left may be what is skipped
            const batch = await log
              .consumer("a")
              .take({ ...limits, skip }, stop)
              .catch(() => []);
            const others = await log
              .consumer("a")
              .take(limits, AbortSignal.timeout(0))
              .catch(() => []);
            if (batch.length > 0) await deliver(batch, ["more", 2n ** 61n]);
            if (others.length > 0) await deliver(others, ["and more"]);
          }
        }
        await target.close();
        await log.close();

        assert.equal(fs.readFileSync(file, "utf8"), expected.map((line) => `${line}\n`).join(""));
      }),
      { numRuns: 25 },
    );
  });
});
