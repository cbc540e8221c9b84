import assert from "node:assert/strict";
import { BootWatch, isPlausibleWall, systemClock, WallWatch } from "../src/clock.js";

const MINUTE_MS = 60_000;
const NOW_MS = Date.UTC(2026, 5, 1);

describe("the wall clock", () => {
  it("is trusted once it has run evenly for ten minutes, and not before", () => {
    const watch = new WallWatch();
    watch.look(0, NOW_MS);

    assert.equal(watch.look(9 * MINUTE_MS, NOW_MS + 9 * MINUTE_MS), false);
    assert.equal(watch.look(10 * MINUTE_MS, NOW_MS + 10 * MINUTE_MS), true);
  });

  it("is not trusted for another ten minutes after a jump, in either direction", () => {
    for (const jumpMs of [-3_600_000, -3_000, 3_000, 1e12]) {
      const watch = new WallWatch();
      watch.look(0, NOW_MS);
      watch.look(20 * MINUTE_MS, NOW_MS + 20 * MINUTE_MS);

      assert.equal(watch.look(21 * MINUTE_MS, NOW_MS + 21 * MINUTE_MS + jumpMs), false);
      assert.equal(watch.look(30 * MINUTE_MS, NOW_MS + 30 * MINUTE_MS + jumpMs), false);
      assert.equal(watch.look(32 * MINUTE_MS, NOW_MS + 32 * MINUTE_MS + jumpMs), true);
    }
  });

  it("is trusted while a time server slows it down or speeds it up", () => {
    const watch = new WallWatch();
    for (let minute = 0; minute <= 600; minute++) {
      const isTrusted = watch.look(minute * MINUTE_MS, NOW_MS + minute * MINUTE_MS * 1.0005);
      assert.equal(isTrusted, minute >= 10);
    }
  });

  it("is never trusted with a time from before this was written, however evenly it runs", () => {
    const watch = new WallWatch();
    for (let minute = 0; minute < 100; minute++)
      assert.equal(watch.look(minute * MINUTE_MS, minute * MINUTE_MS), false);
    assert.ok(!isPlausibleWall(0));
  });
});

describe("the wall clock of a machine that a time server sets", () => {
  it("is trusted as soon as it has been set, even by years", () => {
    let isSet = false;
    const watch = new WallWatch(() => isSet);
    assert.equal(watch.look(0, NOW_MS), false, "plausible, but days behind: what was saved at the shutdown");
    assert.equal(watch.look(MINUTE_MS, NOW_MS + MINUTE_MS), false);

    isSet = true;

    assert.equal(watch.look(2 * MINUTE_MS, NOW_MS + 1e9), true);
    assert.equal(watch.look(3 * MINUTE_MS, NOW_MS + 1e9 + MINUTE_MS), true);
  });

  it("has to run evenly again when somebody sets it after that", () => {
    const watch = new WallWatch(() => true);
    assert.equal(watch.look(0, NOW_MS), true);

    assert.equal(watch.look(MINUTE_MS, NOW_MS - 3_600_000), false);
    assert.equal(watch.look(12 * MINUTE_MS, NOW_MS - 3_600_000 + 11 * MINUTE_MS), true);
  });

  it("is asked for on the disk once a second at most, and never again once it was set", () => {
    let looks = 0;
    const watch = new WallWatch(() => ++looks === 3);

    for (let ms = 0; ms < 10_000; ms += 10) watch.look(ms, NOW_MS + ms);

    assert.equal(looks, 3);
  });
});

describe("the boot", () => {
  const boot = Buffer.from("0102030405060708", "hex");

  it("keeps its id while the machine is awake, whatever two readings are apart", () => {
    const watch = new BootWatch(boot);
    for (let at = 0; at < 100_000; at += 777) {
      assert.deepEqual(
        watch.id(at, () => at + (at % 20) - 10),
        boot,
      );
    }
  });

  it("has another id after each sleep, the same in every process of the machine", () => {
    const [one, other] = [new BootWatch(boot), new BootWatch(boot)];
    one.id(1_000, () => 1_000);

    const afterFirst = one.id(5_000, () => 5_000 + 8 * 3_600_000);
    const afterSecond = one.id(9_000, () => 9_000 + 9 * 3_600_000);

    assert.notDeepEqual(afterFirst, boot);
    assert.notDeepEqual(afterSecond, afterFirst);
    assert.equal(afterFirst.length, 8);
    assert.deepEqual(
      other.id(9_100, () => 9_100 + 9 * 3_600_000),
      afterSecond,
    );
  });

  it("of this machine can be told", () => {
    assert.equal(systemClock.bootId.length, 8);
    assert.deepEqual(systemClock.bootId, systemClock.bootId);
  });
});
