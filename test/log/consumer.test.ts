/** A consumer of a real log, on a simulated disk, beside a plain model of what it should give. */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { LogConsumer } from "../../src/log/consumer/consumer.js";
import type { Log } from "../../src/log/log.js";
import type { LogRecord } from "../../src/record.js";
import { SimDisk } from "../support/sim-disk.js";
import { openLog } from "./open-log.js";

function textOf({ bytes }: LogRecord): string {
  return bytes.toString();
}

async function takeNow(consumer: LogConsumer, records: number, skip?: (r: LogRecord) => boolean): Promise<LogRecord[]> {
  const abort = new AbortController();
  const limits = skip === undefined ? { records, bytes: 1e6 } : { records, bytes: 1e6, skip };
  const taking = consumer.take(limits, abort.signal);
  const nothing = new Promise<LogRecord[]>((resolve) =>
    setImmediate(() => {
      resolve([]);
      abort.abort();
    }),
  );
  return Promise.race([taking, nothing]).catch(() => []);
}

type Step =
  | { readonly do: "append"; readonly count: number }
  | { readonly do: "take"; readonly count: number; readonly skipEach: number }
  | { readonly do: "finish"; readonly confirmMask: number }
  | { readonly do: "write" | "sync" | "reopen" };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.integer({ min: 1, max: 6 }).map((count): Step => ({ do: "append", count })),
  fc
    .tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 0, max: 3 }))
    .map(([count, skipEach]): Step => ({ do: "take", count, skipEach })),
  fc.nat({ max: 255 }).map((confirmMask): Step => ({ do: "finish", confirmMask })),
  fc.constantFrom<Step>({ do: "write" }, { do: "sync" }, { do: "reopen" }),
);

/** What the consumer should do: records by number, in order of acceptance. */
class Model {
  accepted = 0;
  readonly waiting: number[] = [];
  held: number[] = [];

  take(count: number, skips: (n: number) => boolean): number[] {
    const given = this.waiting.filter((n) => !skips(n)).slice(0, count);
    for (const n of given) this.waiting.splice(this.waiting.indexOf(n), 1);
    return given;
  }

  giveBack(numbers: readonly number[]): void {
    this.waiting.push(...numbers);
    this.waiting.sort((a, b) => a - b);
  }
}

async function play(steps: readonly Step[]): Promise<void> {
  const disk = new SimDisk();
  const model = new Model();
  let log = await openLog(disk);
  let held: LogRecord[] = [];
  const ids = new Map<string, string>();
  for (const now of steps) {
    const consumer = log.consumer("a");
    switch (now.do) {
      case "append":
        for (let i = 0; i < now.count; i++) {
          log.append(`${model.accepted}`, {});
          model.waiting.push(model.accepted++);
        }
        break;
      case "take": {
        if (held.length > 0) break;
        const skips = (n: number): boolean => now.skipEach > 0 && n % (now.skipEach + 1) === 0;
        const expected = model.take(now.count, skips);
        held =
          expected.length === 0 ? [] : await takeNow(consumer, now.count, (record) => skips(Number(textOf(record))));
        assert.deepEqual(held.map(textOf), expected.map(String));
        for (const record of held) {
          const id = record.id.toString("hex");
          assert.equal(id, ids.get(textOf(record)) ?? id, "a record changed its id");
          ids.set(textOf(record), id);
        }
        break;
      }
      case "finish": {
        const confirmed = held.filter((_, i) => ((now.confirmMask >> i) & 1) === 1);
        const released = held.filter((record) => !confirmed.includes(record));
        consumer.confirm(confirmed);
        consumer.release(released);
        model.giveBack(released.map((record) => Number(textOf(record))));
        held = [];
        break;
      }
      case "write":
        await log.write();
        break;
      case "sync":
        await log.sync();
        break;
      case "reopen":
        await log.close();
        model.giveBack(held.map((record) => Number(textOf(record))));
        held = [];
        log = await openLog(disk);
    }
    const { records } = log.consumer("a").backlog();
    assert.equal(records, model.waiting.length + held.length, `backlog after ${now.do}`);
  }
  await log.close();
  assert.equal(disk.openFiles, 0);
}

describe("a consumer", () => {
  it("gives every record once, in order, until it is confirmed, through any mixture of what may happen", async () => {
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), play), { numRuns: 200 });
  });

  it("gives back exactly the rest of a batch, whichever of its records were confirmed", async () => {
    for (let mask = 0; mask < 64; mask++) {
      const log: Log = await openLog(new SimDisk());
      const consumer = log.consumer("a");
      for (let n = 0; n < 6; n++) log.append(`${n}`, {});
      const batch = await takeNow(consumer, 6);
      const confirmed = batch.filter((_, i) => ((mask >> i) & 1) === 1);
      const rest = batch.filter((record) => !confirmed.includes(record));

      consumer.confirm(confirmed);
      consumer.release(rest);
      log.append("6", {});
      log.append("7", {});

      const next = await takeNow(consumer, 8);
      assert.deepEqual(next.map(textOf), [...rest.map(textOf), "6", "7"]);
      await log.close();
    }
  });

  it("wakes the one who waits when a record comes", async () => {
    const log = await openLog(new SimDisk());
    const taking = log.consumer("a").take({ records: 5, bytes: 100 }, new AbortController().signal);

    log.append("0", {});

    assert.deepEqual((await taking).map(textOf), ["0"]);
    await log.close();
  });

  it("lets the one who waits go when told to", async () => {
    const log = await openLog(new SimDisk());
    const abort = new AbortController();
    const taking = log.consumer("a").take({ records: 5, bytes: 100 }, abort.signal);

    abort.abort(new Error("closing"));

    await assert.rejects(taking, /closing/);
    await log.close();
  });

  it("gives a record alone that is larger than a batch may be", async () => {
    const log = await openLog(new SimDisk());
    log.append("1".repeat(500), {});
    log.append("2", {});

    const batch = await log.consumer("a").take({ records: 5, bytes: 100 }, new AbortController().signal);

    assert.deepEqual(
      batch.map((record) => textOf(record).length),
      [500],
    );
    await log.close();
  });
});
