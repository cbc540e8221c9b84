/** Real timers ring up to a millisecond early, and time goes on while the flusher looks at its logs. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { type Clock, type Timer } from "../../src/clock.js";
import { Flusher } from "../../src/log/flush.js";
import { FakeClock } from "../support/fake-clock.js";
import { errno, SimDisk } from "../support/sim-disk.js";
import { openLog } from "./open-log.js";

/** Its timers ring `earlyMs` before their time, and each reading is a little later than the one before. */
class EarlyClock implements Clock {
  readonly bootId = new Uint8Array(8);
  readonly isWallTrusted = true;
  readonly #clock: FakeClock;
  readonly #earlyMs: number;
  readonly #stepMs: number;
  #lackMs = 0;

  constructor(clock: FakeClock, earlyMs: number, stepMs: number) {
    this.#clock = clock;
    this.#earlyMs = earlyMs;
    this.#stepMs = stepMs;
  }

  elapsedMs(): number {
    const nowMs = this.#clock.elapsedMs() - this.#lackMs;
    this.#lackMs = Math.max(0, this.#lackMs - this.#stepMs);
    return nowMs;
  }

  wallMs(): number {
    return this.#clock.wallMs();
  }

  after(ms: number, then: () => void): Timer {
    // No real timer is shorter.
    return this.#clock.after(Math.max(1, ms), () => {
      this.#lackMs = this.#earlyMs;
      then();
    });
  }
}

describe("a record behind which no other comes", () => {
  it("is written and synced in time, and after a failure, whenever in a look at the clock its moment falls", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.double({ min: 0.01, max: 0.9, noNaN: true }),
        fc.double({ min: 0.01, max: 0.3, noNaN: true }),
        fc.boolean(),
        async (earlyMs, stepMs, fails) => {
          const fake = new FakeClock();
          const clock = new EarlyClock(fake, earlyMs, stepMs);
          const disk = new SimDisk();
          const flusher = new Flusher(clock);
          const log = await openLog(disk, { clock });
          const policy = { writeIntervalMs: 1_000, syncIntervalMs: 5_000, memoryShareBytes: 1_000_000 };
          const flushed = flusher.add(log, policy, () => undefined);
          let failures = fails ? 1 : 0;
          disk.before = (call) => {
            if (call === "create" && failures-- > 0) throw errno("EROFS");
          };

          log.append("1", {});
          flusher.poke(flushed);
          await fake.advance(2_500);
          const unwritten = log.unwrittenBytes;
          await fake.advance(5_000);

          assert.deepEqual([unwritten, log.unsyncedBytes], [0, 0]);
          await flusher.close();
          await log.close();
        },
      ),
      { numRuns: 300 },
    );
  });
});
