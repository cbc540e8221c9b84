/**
 * The delivery on the real log, with a simulated disk beneath: what the log in memory promises, the real one must keep.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { Delivery } from "../../src/delivery/loop.js";
import { deflateCompression } from "../../src/log/format/compression.js";
import { Log } from "../../src/log/log.js";
import { TargetUnavailableError } from "../../src/targets/target.js";
import type { Answer, Outcome } from "../../src/targets/target.js";
import { FakeClock, seededRandom } from "../support/fake-clock.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { SimDisk } from "../support/sim-disk.js";

const DEEDS = ["store", "retry", "alone", "reject", "hold", "throttle", "split", "unavailable", "lostAnswer"] as const;
type Deed = (typeof DEEDS)[number];

function answerTo(deed: Deed, target: ScriptedTarget, batch: Parameters<ScriptedTarget["deliver"]>[0]): Answer {
  const cause = new Error(deed);
  const retry: Outcome = { kind: "retry", cause, alone: deed === "alone" };
  const mostly = (other: Outcome): Outcome[] => batch.map((r, i) => (i % 3 === 0 ? other : target.store([r])[0]!));
  switch (deed) {
    case "store":
      return { outcomes: target.store(batch) };
    case "retry":
    case "alone":
      return { outcomes: mostly(retry) };
    case "reject":
      return { outcomes: mostly({ kind: "rejected", cause: { code: "bad", message: "bad" } }) };
    case "hold":
    case "throttle":
      return { outcomes: mostly(retry), consequence: { kind: deed, cause } };
    case "split":
      return {
        outcomes: batch.map(() => retry),
        consequence: { kind: deed, cause: { code: "large", message: "large" } },
      };
    case "lostAnswer":
      target.store(batch);
      throw new TargetUnavailableError("the answer was lost");
    case "unavailable":
      throw new TargetUnavailableError("connection refused");
  }
}

describe("On the real log, every record", () => {
  it("reaches one end across restarts, whatever the target answers", async () => {
    const life = fc.record({
      appends: fc.array(fc.integer({ min: 1, max: 80 }), { maxLength: 4 }),
      deeds: fc.array(fc.constantFrom(...DEEDS), { maxLength: 15 }),
      passMs: fc.nat(30_000),
      concurrency: fc.integer({ min: 1, max: 3 }),
      batchRecords: fc.integer({ min: 1, max: 50 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(life, { minLength: 1, maxLength: 3 }), fc.nat(), async (lives, seed) => {
        const clock = new FakeClock();
        const disk = new SimDisk();
        const target = new ScriptedTarget();
        const dead = new Set<string>();
        let accepted = 0;
        const openLog = (): Promise<Log> =>
          Log.open({
            folder: "/queue/log",
            logId: Buffer.alloc(16, 1),
            files: disk,
            clock,
            random: randomBytes,
            compression: deflateCompression,
            persistent: true,
            consumers: ["exporter"],
            segmentBytes: 64 * 1024,
            onLoss: async (loss) => assert.fail(JSON.stringify(loss)),
          });
        for (const [i, { appends, deeds, passMs, concurrency, batchRecords }] of lives.entries()) {
          const log = await openLog();
          const source = log.consumer("exporter");
          let next = 0;
          target.script = async (batch) => {
            await new Promise<void>((resolve) => clock.after(10, resolve));
            return answerTo(deeds[next++] ?? "store", target, batch);
          };
          const delivery = new Delivery({
            source,
            target,
            clock,
            random: seededRandom(seed),
            settings: { concurrency, batchRecords },
            deadLetters: {
              async setAside(record) {
                const id = record.id.toString("hex");
                assert.ok(!dead.has(id), "set aside twice");
                dead.add(id);
              },
            },
          });
          for (const count of appends) {
            for (let n = 0; n < count; n++) log.append(`{"n":${accepted + n}}`, { to: String(n % 2) });
            accepted += count;
            await log.write();
            await clock.advance(passMs / appends.length);
          }
          if (i === lives.length - 1) await clock.advanceUntil(() => source.backlog().records === 0, 30 * 86_400_000);
          const closing = delivery.close();
          await clock.advance(3_000);
          await closing;
          await log.close();
        }

        // A record may be in both: it arrived, the answer was lost, and the next answer was a refusal.
        assert.equal(new Set([...target.ids, ...dead]).size, accepted);
        assert.equal(clock.pendingTimers, 0);
      }),
      { numRuns: Number(process.env["FATE_RUNS"] ?? 60) },
    );
  });
});
