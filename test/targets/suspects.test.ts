import assert from "node:assert/strict";
import { Suspects } from "../../src/targets/suspects.js";
import { recordOf } from "../support/memory-source.js";

const isThere = (): Promise<void> => Promise.resolve();
const isAway = (): Promise<void> => Promise.reject(new Error("away"));

describe("Suspects", () => {
  it("blames no batch for the first drop, and asks nobody: that is how an outage begins", async () => {
    const suspects = new Suspects();

    assert.equal(await suspects.isToBlame(recordOf(0), () => assert.fail("asked")), false);
  });

  it("blames a batch for the next drop when the other end is there, and not while it is away", async () => {
    const suspects = new Suspects();
    await suspects.isToBlame(recordOf(0), isThere);

    assert.equal(await suspects.isToBlame(recordOf(0), isAway), false);
    assert.equal(await suspects.isToBlame(recordOf(0), isThere), true);
    assert.equal(await suspects.isToBlame(recordOf(1), isThere), false, "another batch");
  });

  it("begins anew once the batch was answered", async () => {
    const suspects = new Suspects();
    await suspects.isToBlame(recordOf(0), isThere);

    suspects.forget(recordOf(0));

    assert.equal(await suspects.isToBlame(recordOf(0), isThere), false);
  });

  it("remembers 64 batches, and of more those that it heard of last", async () => {
    const suspects = new Suspects();
    for (let n = 0; n < 65; n++) await suspects.isToBlame(recordOf(n), isThere);

    assert.equal(await suspects.isToBlame(recordOf(64), isThere), true);
    assert.equal(await suspects.isToBlame(recordOf(1), isThere), true);
    assert.equal(await suspects.isToBlame(recordOf(0), isThere), false);
  });

  it("blames twenty batches, and no more before one was answered: nothing at all seems to get through", async () => {
    const suspects = new Suspects();
    const isBlamed = async (n: number): Promise<boolean> => {
      await suspects.isToBlame(recordOf(n), isThere);
      return suspects.isToBlame(recordOf(n), isThere);
    };
    for (let n = 0; n < 20; n++) assert.ok(await isBlamed(n));

    assert.equal(await isBlamed(20), false);
    assert.equal(await isBlamed(19), true, "blamed before");
    suspects.forget(recordOf(99));
    assert.equal(await isBlamed(20), true);
  });
});
