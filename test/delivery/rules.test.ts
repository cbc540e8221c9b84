import assert from "node:assert/strict";
import { backoffMs, longestBackoffMs } from "../../src/delivery/backoff.js";
import { Circuit } from "../../src/delivery/circuit.js";
import { Holds } from "../../src/delivery/holds.js";
import { Quiet } from "../../src/delivery/quiet.js";
import { RejectGuard } from "../../src/delivery/reject-guard.js";
import { Throughput } from "../../src/delivery/throughput.js";
import { TargetUnavailableError } from "../../src/targets/target.js";
import { FakeClock, seededRandom } from "../support/fake-clock.js";

const RANGE = { backoffMinMs: 1_000, backoffMaxMs: 300_000 };
const DOWN = new TargetUnavailableError("connection refused");

function waitMs({ state }: Circuit, nowMs: number): number | undefined {
  return state.kind === "open" ? state.retryAtMs - nowMs : undefined;
}

describe("Back-off", () => {
  it("doubles its ceiling to the longest wait, spread over the whole of it", () => {
    assert.equal(
      backoffMs(0, RANGE, () => 1),
      1_000,
    );
    assert.equal(
      backoffMs(3, RANGE, () => 1),
      8_000,
    );
    assert.equal(
      backoffMs(1_000_000, RANGE, () => 1),
      300_000,
    );
    assert.equal(
      backoffMs(5, RANGE, () => 0.5),
      16_000,
    );
  });

  it("is never a hammer", () => {
    assert.equal(
      backoffMs(20, RANGE, () => 0),
      100,
    );
    assert.equal(
      longestBackoffMs(RANGE, () => 0),
      150_000,
    );
  });
});

describe("The circuit", () => {
  it("does not forget at once how long it had waited, when a target merely flaps", () => {
    const circuit = new Circuit(() => 1);
    for (let i = 0; i < 9; i++) circuit.trip(DOWN, 0, RANGE);
    circuit.letOneThrough(1_000);
    assert.equal(circuit.state.kind, "halfOpen");
    assert.equal(circuit.close(2_000), 2_000);

    circuit.trip(DOWN, 3_000, RANGE);
    const flappingMs = waitMs(circuit, 3_000);
    circuit.letOneThrough(4_000);
    circuit.close(4_000);
    circuit.trip(DOWN, 100_000, RANGE);

    assert.equal(flappingMs, 16_000);
    assert.equal(waitMs(circuit, 100_000), 1_000);
  });

  it("counts an outage from its beginning, whatever was tried in it", () => {
    const circuit = new Circuit(() => 0.5);
    circuit.letOneThrough(0);
    circuit.trip(DOWN, 1_000, RANGE);
    circuit.letOneThrough(5_000);
    circuit.trip(DOWN, 6_000, RANGE);
    circuit.letOneThrough(60_000);

    assert.equal(circuit.close(61_000), 60_000);
  });
});

describe("A destination that is held", () => {
  it("gets one try at a time, and waits longer after each", () => {
    const holds = new Holds(() => 1);
    assert.equal(holds.hold("a", DOWN, false, 0, RANGE), true);
    assert.equal(holds.isHeld("a", 999), true);
    assert.equal(holds.isHeld("a", 1_000), false);

    assert.equal(holds.beginTry("a"), true);
    assert.equal(holds.isHeld("a", 5_000), true);
    assert.equal(holds.hold("a", DOWN, false, 5_000, RANGE), false);

    assert.equal(holds.isHeld("a", 6_999), true);
    assert.equal(holds.isHeld("a", 7_000), false);
    assert.equal(holds.beginTry("b"), false);
  });
});

describe("The reject guard", () => {
  it("suspects a whole batch of one kind, even where much was delivered before", () => {
    const guard = new RejectGuard();
    guard.onDelivered("a");

    assert.equal(guard.holdsBack("a", "400", 19, 20), false);
    assert.equal(guard.holdsBack("a", "400", 20, 20), true);
  });

  it("goes on suspecting in smaller batches, until something is delivered", () => {
    const guard = new RejectGuard();
    guard.holdsBack("a", "400", 20, 20);
    assert.equal(guard.holdsBack("a", "400", 1, 20), true);

    guard.onDelivered("a");

    assert.equal(guard.holdsBack("a", "400", 1, 20), false);
  });

  it("believes rejections of several kinds, and another kind than the suspected one", () => {
    const guard = new RejectGuard();
    assert.equal(guard.holdsBack("a", undefined, 100, 20), false);
    guard.holdsBack("a", "400", 20, 20);

    assert.equal(guard.holdsBack("a", "404", 1, 20), false);
  });

  it("judges each destination by itself", () => {
    const guard = new RejectGuard();
    guard.holdsBack("a", "400", 19, 20);

    assert.equal(guard.holdsBack("b", "400", 19, 20), false);
    assert.equal(guard.holdsBack("a", "400", 1, 20), true);
  });
});

describe("A quiet log", () => {
  it("has one line a minute of each cause, and says how many it stands for", async () => {
    const clock = new FakeClock();
    const quiet = new Quiet(clock);
    const lines = [];
    for (let second = 0; second < 121; second++) {
      lines.push(quiet.mayLog("refused"));
      await clock.advance(1_000);
    }

    assert.deepEqual(
      lines.filter((line) => line !== undefined),
      [{ unlogged: 0 }, { unlogged: 59 }, { unlogged: 59 }],
    );
    assert.deepEqual(quiet.mayLog("another"), { unlogged: 0 });
  });
});

describe("Throughput", () => {
  it("is the mean of the last ten seconds, and nothing after ten quiet ones", () => {
    const throughput = new Throughput();
    const random = seededRandom(1);
    for (let ms = 0; ms < 60_000; ms += 100) throughput.add(10, 1_000, ms + random());

    assert.ok(Math.abs(throughput.rates(59_950).recordsPerSecond - 100) < 10);
    assert.deepEqual(throughput.rates(70_000), { recordsPerSecond: 0, bytesPerSecond: 0 });
  });
});
