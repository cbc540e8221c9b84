/** New records before older ones: every record is still given once, and confirmed once, in any order of things. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { MAX_CONFIRMED_RANGES } from "../../src/log/consumer/consumer.js";
import { Log } from "../../src/log/log.js";
import type { LogRecord } from "../../src/record.js";
import { FakeClock } from "../support/fake-clock.js";
import { SimDisk } from "../support/sim-disk.js";
import { uncompressed } from "../support/store-rig.js";

function openLog(disk: SimDisk, clock = new FakeClock()): Promise<Log> {
  return Log.open({
    folder: "/queue/log",
    logId: Buffer.alloc(16, 1),
    files: disk,
    clock,
    random: randomBytes,
    compression: uncompressed,
    persistent: true,
    consumers: ["reader"],
    segmentBytes: 64 * 1024,
    onLoss: async (loss) => assert.fail(JSON.stringify(loss)),
  });
}

const numberOf = (record: LogRecord): number => (JSON.parse(record.bytes.toString()) as { n: number }).n;
const never = new AbortController().signal;
const LIMITS = { records: 10, bytes: 1024 * 1024 };

describe("new records first", () => {
  it("come before what is on disk, in their order, and then the rest", async () => {
    const log = await openLog(new SimDisk());
    const reader = log.consumer("reader");
    for (let n = 0; n < 6; n++) log.append(`{"n":${n}}`, {});
    await log.sync();
    for (let n = 6; n < 9; n++) log.append(`{"n":${n}}`, {});

    assert.equal(reader.untakenLive, 3);
    const live = await reader.take({ ...LIMITS, live: true }, never);
    assert.equal(reader.untakenLive, 0);
    const rest = await reader.take({ ...LIMITS, live: true }, never);

    assert.deepEqual(
      [live.map(numberOf), rest.map(numberOf)],
      [
        [6, 7, 8],
        [0, 1, 2, 3, 4, 5],
      ],
    );
    reader.confirm(live);
    assert.equal(reader.backlog().records, 6);
    reader.confirm(rest);
    assert.deepEqual([reader.offset, reader.backlog().records], [9, 0]);
    await log.close();
  });

  it("that were given back are given again", async () => {
    const log = await openLog(new SimDisk());
    const reader = log.consumer("reader");
    log.append('{"n":0}', {});
    await log.sync();
    for (const n of [1, 2, 3]) log.append(`{"n":${n}}`, {});

    const taken = await reader.take({ ...LIMITS, live: true }, never);
    reader.release(taken.slice(1));
    reader.confirm(taken.slice(0, 1));

    assert.deepEqual((await reader.take({ ...LIMITS, live: true }, never)).map(numberOf), [2, 3]);
    await log.close();
  });

  it("never bar the way to the older ones, however many gaps they leave", async () => {
    const log = await openLog(new SimDisk());
    const reader = log.consumer("reader");
    const count = 4 * MAX_CONFIRMED_RANGES;
    for (let n = 0; n < 10; n++) log.append(`{"n":${n}}`, {});
    await log.sync();
    for (let n = 10; n < count; n++) log.append(`{"n":${n}}`, {});
    const live = await reader.take({ records: count, bytes: 1e9, live: true }, never);
    assert.equal(live.length, count - 10);

    reader.confirm(live.filter((_, i) => i % 2 === 0));
    reader.release(live.filter((_, i) => i % 2 === 1));
    const seen: number[] = [];
    while (reader.backlog().records > 0) {
      const taken = await reader.take({ ...LIMITS, live: true }, never);
      seen.push(...taken.map(numberOf));
      reader.confirm(taken);
    }

    assert.equal(new Set(seen).size, 10 + (count - 10) / 2);
    assert.equal(seen.length, new Set(seen).size);
    await log.close();
  });

  it("and old ones are each given to one and confirmed once, whatever is written, given back or passed over", async () => {
    const step = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({ kind: fc.constant("append" as const), count: fc.integer({ min: 1, max: 12 }) }),
      },
      {
        weight: 4,
        arbitrary: fc.record({
          kind: fc.constant("take" as const),
          live: fc.boolean(),
          records: fc.integer({ min: 1, max: 9 }),
          bytes: fc.integer({ min: 1, max: 400 }),
          skips: fc.constantFrom(0, 0, 2, 3),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({ kind: fc.constant("end" as const), confirms: fc.array(fc.boolean(), { maxLength: 9 }) }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("write" as const, "sync" as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("reopen" as const) }) },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constant("drop" as const),
          share: fc.double({ min: 0, max: 0.5, noNaN: true }),
        }),
      },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: "max" }), async (steps) => {
        const disk = new SimDisk();
        const clock = new FakeClock();
        let log = await openLog(disk, clock);
        let reader = log.consumer("reader");
        let appended = 0;
        let held: LogRecord[] = [];
        const done = new Set<number>();
        /** A record keeps its offset through a restart; what was done with before may leave its own to others. */
        const offsets: number[] = [];
        const taking = async (live: boolean, records: number, bytes: number, skips: number): Promise<LogRecord[]> => {
          const skip = skips === 0 ? {} : { skip: (record: LogRecord) => numberOf(record) % skips === 0 };
          const abort = new AbortController();
          const wanted = reader.take({ records, bytes, live, ...skip }, abort.signal);
          await new Promise((resolve) => setImmediate(resolve));
          abort.abort(new Error("nothing"));
          return wanted.catch(() => []);
        };
        const end = (records: readonly LogRecord[], confirms: readonly boolean[]): void => {
          const confirmed = records.filter((_, i) => confirms[i % Math.max(1, confirms.length)] ?? true);
          reader.confirm(confirmed);
          for (const record of confirmed) {
            assert.ok(!done.has(numberOf(record)), "confirmed twice");
            done.add(numberOf(record));
          }
          reader.release(records.filter((record) => !confirmed.includes(record)));
        };
        const isBelow = (record: LogRecord): boolean => record.offset < reader.offset;
        for (const next of steps) {
          switch (next.kind) {
            case "append":
              for (let i = 0; i < next.count; i++) offsets.push(log.append(`{"n":${appended++}}`, {}));
              break;
            case "take": {
              const taken = await taking(next.live, next.records, next.bytes, next.skips);
              for (const record of taken) {
                assert.ok(!done.has(numberOf(record)), `${numberOf(record)} was given though it is done`);
                assert.ok(!held.some(({ offset }) => offset === record.offset), "given twice");
              }
              held.push(...taken);
              break;
            }
            case "end":
              end(held, next.confirms);
              held = [];
              break;
            case "write":
              await log.write();
              break;
            case "sync":
              await log.sync();
              break;
            case "drop": {
              const below = Math.floor(log.nextOffset * next.share);
              log.dropBelow(below);
              held = held.filter((record) => !isBelow(record));
              for (let n = 0; n < appended; n++) if (!done.has(n) && reader.isConfirmed(offsets[n]!)) done.add(n);
              break;
            }
            case "reopen":
              end(held, [false]);
              held = [];
              await log.close();
              log = await openLog(disk, clock);
              reader = log.consumer("reader");
              break;
          }
        }
        end(held, [true]);
        while (reader.backlog().records > 0) {
          const taken = await taking(true, 5, 1_000, 0);
          assert.ok(taken.length > 0, "stuck");
          end(taken, [true]);
        }

        assert.equal(done.size, appended);
        await log.close();
      }),
      { numRuns: 400 },
    );
  });
});
