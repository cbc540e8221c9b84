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
});
