/**
 * Size and number of batches against simulated links: a server that works off one batch after the other at its own
 * speed, behind a line with a delay.
 */
import assert from "node:assert/strict";
import { BatchSize } from "../../src/delivery/batch-size.js";
import { Concurrency } from "../../src/delivery/concurrency.js";
import { Pace } from "../../src/delivery/pace.js";
import { DeliveryRig } from "../support/delivery-rig.js";
import type { RigOptions } from "../support/delivery-rig.js";

interface Link {
  readonly roundTripMs: number;
  readonly recordsPerSecond: number;
}

/** Puts the target behind the link. */
function behind(link: Link, rig: DeliveryRig): void {
  let freeAtMs = 0;
  rig.target.script = async (batch) => {
    const { clock, target } = rig;
    const arrivesAtMs = clock.elapsedMs() + link.roundTripMs / 2;
    freeAtMs = Math.max(freeAtMs, arrivesAtMs) + (batch.length / link.recordsPerSecond) * 1_000;
    const answerAtMs = freeAtMs + link.roundTripMs / 2;
    await new Promise<void>((resolve) => clock.after(answerAtMs - clock.elapsedMs(), resolve));
    return { outcomes: target.store(batch) };
  };
}

async function drainTimeMs(
  link: Link,
  records: number,
  settings: RigOptions["settings"] = {},
): Promise<[number, DeliveryRig]> {
  const rig = new DeliveryRig({ settings });
  behind(link, rig);
  rig.append(records, { payload: "x".repeat(98) });
  const startedMs = rig.clock.elapsedMs();
  await rig.drain();
  const tookMs = rig.clock.elapsedMs() - startedMs;
  await rig.close();
  return [tookMs, rig];
}

describe("Flow control", () => {
  for (const link of [
    { roundTripMs: 1, recordsPerSecond: 50_000 },
    { roundTripMs: 50, recordsPerSecond: 10_000 },
    { roundTripMs: 400, recordsPerSecond: 2_000 },
    { roundTripMs: 100, recordsPerSecond: 200 },
  ]) {
    it(`drains at 0.9 of what a server takes, ${link.recordsPerSecond} records/s at ${link.roundTripMs} ms`, async () => {
      const records = Math.min(link.recordsPerSecond * 60, 100_000);

      const [tookMs] = await drainTimeMs(link, records);

      const share = ((records / link.recordsPerSecond) * 1_000) / tookMs;
      assert.ok(share >= 0.9, `${share.toFixed(3)} of it`);
    });
  }

  it("never has more batches under way than the user allows, nor one larger", async () => {
    const [, { target }] = await drainTimeMs({ roundTripMs: 400, recordsPerSecond: 20_000 }, 100_000, {
      concurrency: 3,
      batchRecords: 500,
    });

    assert.equal(target.mostInFlight, 3);
    assert.equal(Math.max(...target.offered.map((batch) => batch.length)), 500);
  });

  it("holds no more than a few batches in memory while a hundred thousand records wait", async () => {
    const rig = new DeliveryRig({ settings: { batchRecords: 500, batchBytes: 50_000, concurrency: 4 } });
    const { target, source } = rig;
    target.script = (batch) => ({
      outcomes: batch.map((r, i) => (i % 2 ? target.store([r])[0]! : { kind: "retry", cause: new Error("busy") })),
    });
    rig.append(100_000, { payload: "x".repeat(98) });

    await rig.clock.advance(600_000);

    assert.ok(source.mostTakenBytes <= 50_000 * 10, `${source.mostTakenBytes} bytes`);
    await rig.close();
  });
});

describe("The size of a batch", () => {
  const most = { records: 1_000, bytes: 1_000_000 };

  it("doubles from small while the target takes it", () => {
    const size = new BatchSize();
    const records = [];
    for (let i = 0; i < 6; i++) {
      records.push(size.within(most).records);
      size.onAnswer(1_000, 1);
    }

    assert.deepEqual(records, [63, 125, 250, 500, 1_000, 1_000]);
  });

  it("is half after an error, and grows again", () => {
    const size = new BatchSize();
    for (let i = 0; i < 5; i++) size.onAnswer(1_000, 1);
    size.halve();
    const halved = size.within(most).records;
    for (let i = 0; i < 200; i++) size.onAnswer(1_000, 1);

    assert.equal(halved, 500);
    assert.ok(size.within(most).records > 500);
  });

  it("stops where more brings nothing", () => {
    const size = new BatchSize();
    size.restart();
    for (let i = 0; i < 40; i++) {
      const { bytes } = size.within(most);
      // Beyond 300,000 bytes the server is no faster.
      size.onAnswer(bytes, bytes <= 300_000 ? 10 : bytes / 30_000);
    }

    const { bytes } = size.within(most);
    assert.ok(bytes > 250_000 && bytes < 500_000, `${bytes} bytes`);
    assert.ok(size.isSettled);
  });

  it("remembers what was refused for its size", () => {
    const size = new BatchSize();
    for (let i = 0; i < 5; i++) size.onAnswer(1_000, 1);
    size.refuseBytes(800_000);
    for (let i = 0; i < 100; i++) size.onAnswer(1_000, 1);

    assert.equal(size.within(most).bytes, 400_000);
  });

  it("starts small after an outage and is soon where it was", () => {
    const size = new BatchSize();
    for (let i = 0; i < 5; i++) size.onAnswer(1_000, 1);
    size.restart();
    assert.equal(size.within(most).records, 63);
    for (let i = 0; i < 3; i++) size.onAnswer(1_000, 1);

    assert.equal(size.within(most).records, 500);
  });

  it("becomes smaller from outage to outage while nothing comes through: the link may be too slow for it", () => {
    const size = new BatchSize();
    const sizes: number[] = [];
    for (let i = 0; i < 4; i++) {
      size.restart();
      sizes.push(size.within(most).records);
    }
    size.onAnswer(1_000, 1);
    size.restart();
    sizes.push(size.within(most).records);

    assert.deepEqual(sizes, [63, 32, 16, 16, 32]);
  });
});

describe("The number of batches at one time", () => {
  /** Answers that take `costMs`, one round trip after the other. */
  function answer(concurrency: Concurrency, rounds: number, costMs: (round: number) => number, fromMs = 0): number {
    let nowMs = fromMs;
    for (let round = 0; round < rounds; round++) {
      nowMs += costMs(round);
      concurrency.onAnswer(100_000, costMs(round), nowMs, true, 8);
    }
    return nowMs;
  }

  it("grows while answers are no slower, up to the user's limit", () => {
    const concurrency = new Concurrency();
    answer(concurrency, 50, () => 100);

    assert.equal(concurrency.limit, 8);
  });

  it("shrinks when answers become clearly slower", () => {
    const concurrency = new Concurrency();
    const nowMs = answer(concurrency, 50, () => 100);
    answer(concurrency, 3, () => 400, nowMs);

    assert.ok(concurrency.limit < 8);
  });

  it("is half when the target asks for less, and one after an outage", () => {
    const concurrency = new Concurrency();
    answer(concurrency, 50, () => 100);
    concurrency.halve();
    assert.equal(concurrency.limit, 4);

    concurrency.restart();
    assert.equal(concurrency.limit, 1);
  });

  it("does not grow while the limit is not used", () => {
    const concurrency = new Concurrency();
    const before = concurrency.limit;
    for (let i = 1; i < 50; i++) concurrency.onAnswer(100_000, 100, i * 100, false, 8);

    assert.equal(concurrency.limit, before);
  });
});

describe("The pace", () => {
  it("lets the bytes of a second go at most at once, however long it was quiet", () => {
    const pace = new Pace(1_000, 0);
    pace.spend(1_000);
    assert.equal(pace.waitMs(0), 1_000);
    assert.equal(pace.waitMs(1_000), 0);

    pace.waitMs(3_600_000);
    pace.spend(3_000);

    assert.equal(pace.waitMs(3_600_000), 2_000);
  });

  it("does not wait without a limit", () => {
    const pace = new Pace(undefined, 0);
    pace.spend(1e9);

    assert.equal(pace.waitMs(0), 0);
  });
});
