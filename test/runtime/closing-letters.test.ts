/** An exporter that is closed while something is on its way to its dead letters, or back from there. */
import assert from "node:assert/strict";
import type { Transform } from "../../src/transform.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { SlowDisk, StoreRig, send } from "../support/store-rig.js";

describe("an exporter that is closed", () => {
  let clock: FakeClock;
  let disk: SlowDisk;
  let rig: StoreRig;

  beforeEach(() => {
    clock = new FakeClock();
    disk = new SlowDisk(clock);
    rig = new StoreRig({ clock, files: disk });
  });
  afterEach(() => rig.close());

  async function ended(work: Promise<unknown>): Promise<void> {
    await clock.advance(30_000);
    await work;
  }

  it("keeps what its transform fails for meanwhile, and can be opened again", async () => {
    let fail!: (error: Error) => void;
    const transform: Transform = { run: () => new Promise((_, reject) => (fail = reject)) };
    const { exporter } = await rig.exporter("a", {}, { transform });
    const sent = send(exporter, "odd");
    const closing = exporter.close();
    await clock.advance(10);

    fail(new Error("not a number"));
    await ended(closing);

    assert.equal(sent.error?.message, "not a number");
    const { exporter: again } = await rig.exporter("a");
    assert.equal(again.member.deadLetters.count, 1);
  });

  it("has what is being given back in one place afterwards, not in two", async () => {
    const target = new ScriptedTarget();
    const no = { code: "no", message: "never" };
    target.script = (batch) => ({ outcomes: batch.map(() => ({ kind: "rejected", cause: no })) });
    const { exporter } = await rig.exporter("a", {}, { target });
    for (let n = 0; n < 5; n++) send(exporter, n);
    await clock.advance(20_000);
    target.script = () => new Error("away");
    disk.syncMs = 4_000;

    const requeued = exporter.member.requeue({});
    await clock.advance(10);
    await ended(exporter.close());

    assert.equal(await requeued, 5);
    const { exporter: again } = await rig.exporter("a");
    assert.deepEqual([again.status().waiting, again.member.deadLetters.count], [5, 0]);
  });
});
