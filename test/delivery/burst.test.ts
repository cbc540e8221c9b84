/** More comes than the target takes, for a while; the real machine's figures are the bench's `burst`. */
import assert from "node:assert/strict";
import { RatedTarget } from "../support/rated-target.js";
import { StoreRig, send } from "../support/store-rig.js";

const PER_SECOND = 10_000;
const SLOW_PER_SECOND = 1_000;
const FULL_PER_SECOND = 20_000;
const SLOW_S = 6;

describe("a burst of 10,000 messages a second into a target that takes 1,000", () => {
  it("never has the flow wait, and is drained at the target's own speed once that takes more", async () => {
    const rig = new StoreRig();
    const target = new RatedTarget(rig.clock, SLOW_PER_SECOND);
    const { exporter } = await rig.exporter("a", {}, { target });
    let sent = 0;
    const flow = async (ms: number, until = (): boolean => false): Promise<number> => {
      let at = 0;
      for (; at < ms && !until(); at += 10) {
        for (let i = 0; i < PER_SECOND / 100; i++) {
          const { isDone, error } = send(exporter, { n: sent++ });
          assert.ok(isDone && error === undefined, `message ${sent} had to wait`);
        }
        await rig.clock.advance(10);
      }
      return at;
    };

    await flow(SLOW_S * 1_000);
    const slowly = target.rate.done;
    target.rate.perSecond = FULL_PER_SECOND;
    const tookMs = await flow(60_000, () => exporter.status().waiting < PER_SECOND / 4);

    assert.ok(slowly >= 0.9 * SLOW_S * SLOW_PER_SECOND, `${slowly} while it was slow`);
    const drained = ((target.rate.done - slowly) / tookMs) * 1_000;
    assert.ok(drained >= 0.9 * FULL_PER_SECOND, `${Math.round(drained)}/s of ${FULL_PER_SECOND}/s`);
    assert.equal(exporter.status().dropped, 0);
    assert.equal(new Set(target.arrived).size, target.arrived.length);
    await rig.close();
  });
});
