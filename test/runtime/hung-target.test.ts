/** A target whose disk never answers (a network file system whose server is gone), and the others of the same runtime. */
import assert from "node:assert/strict";
import { Pool } from "../../src/runtime/pool.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { StoreRig, send } from "../support/store-rig.js";

/** Node-RED gives a close 15 s for everything. */
const CLOSE_MS = 10_000;

class HungTarget extends ScriptedTarget {
  #hangs = true;
  #released: () => void = () => undefined;
  readonly #until = new Promise<void>((resolve) => (this.#released = resolve));

  settle(): Promise<void> {
    return this.#hangs ? this.#until : Promise.resolve();
  }

  answers(): void {
    this.#hangs = false;
    this.#released();
  }
}

describe("a target whose disk never answers", () => {
  let rig: StoreRig;
  let target: HungTarget;

  beforeEach(() => {
    rig = new StoreRig();
    target = new HungTarget();
  });
  afterEach(async () => {
    target.answers();
    await rig.close();
    assert.equal(rig.clock.pendingTimers, 0);
  });

  const troubles = (): (string | undefined)[] =>
    rig.events.filter((event) => event.kind === "storage").map(({ trouble }) => trouble?.message);

  it("is told of once, in the status too, until it is well again", async () => {
    const { exporter } = await rig.exporter("a", {}, { target });
    send(exporter, 1);

    await rig.clock.advance(30_000);
    const shown = exporter.status().storage;
    for (let n = 0; n < 20; n++) {
      send(exporter, n);
      await rig.clock.advance(1_000);
    }
    assert.deepEqual(shown, { message: troubles()[0], code: "settle-late", ofTarget: true });
    assert.equal(troubles().length, 1, "every round tells of it anew, or every write takes it back");
    assert.match(troubles()[0]!, /could not make durable .* has not answered for 5 s/);
    assert.equal(exporter.status().delivered, 21, "it is delivered all the same");
    target.answers();
    await rig.clock.advance(10_000);

    assert.deepEqual(troubles().slice(1), [undefined]);
    assert.equal(exporter.status().storage, undefined);
  });

  it("is told from one that asks for less, which is shown until it takes something", async () => {
    const busy = new ScriptedTarget();
    let isFull = true;
    const cause = new Error("the write queue is full");
    busy.script = (batch) =>
      isFull
        ? { outcomes: batch.map(() => ({ kind: "retry", cause })), consequence: { kind: "throttle", cause } }
        : { outcomes: busy.store(batch) };
    const { exporter } = await rig.exporter("a", {}, { target: busy });
    send(exporter, 1);

    await rig.clock.advance(2_000);
    const { problem, circuit } = exporter.status();
    assert.deepEqual(problem, { message: cause.message, code: "throttled", configuration: false });
    assert.equal(circuit, "closed");
    isFull = false;
    await rig.clock.advance(120_000);

    assert.equal(exporter.status().problem, undefined);
    assert.equal(exporter.status().delivered, 1);
  });

  it("is shown, too, when it takes a batch and says nothing more, until it does", async () => {
    const silent = new ScriptedTarget({ isLocal: true });
    const { exporter } = await rig.exporter("a", {}, { target: silent });
    silent.mute();
    send(exporter, 1);

    await rig.clock.advance(8_000);
    assert.equal(exporter.status().problem, undefined, "a card that is slow for once is no news");
    await rig.clock.advance(5_000);
    assert.equal(exporter.status().problem?.code, "no-answer");
    silent.unmute();
    await rig.clock.advance(1);

    assert.equal(exporter.status().problem, undefined);
    assert.equal(exporter.status().delivered, 1);
  });

  it("lets others be as safe as they ask for, when they ask", async () => {
    const { exporter: hung } = await rig.exporter("hung", {}, { target });
    const { exporter } = await rig.exporter("other", { durability: "everyMessage" });
    send(hung, 1);
    await rig.clock.advance(20_000);

    for (let n = 0; n < 20; n++) {
      send(hung, n);
      const sent = send(exporter, n);
      await rig.clock.advance(100);
      assert.ok(sent.isDone && sent.error === undefined, `message ${n} waited for the disk of another target`);
    }
  });

  it("does not keep a close waiting beyond its time, and the messages of senders who waited are safe", async () => {
    const { exporter } = await rig.exporter("a", { durability: "everyMessage" }, { target });
    send(exporter, 1);
    await rig.clock.advance(1);
    target.isUp = false;
    const last = send(exporter, 2);

    const startedMs = rig.clock.elapsedMs();
    let endedMs = Infinity;
    const closing = exporter.close().catch((error: unknown) => assert.match(String(error), /could not make durable/));
    void closing.finally(() => (endedMs = rig.clock.elapsedMs()));
    await rig.clock.advance(60_000);
    await closing;

    assert.ok(endedMs - startedMs <= CLOSE_MS, `${endedMs - startedMs} ms`);
    assert.deepEqual(last, { isDone: true, error: undefined });
  });

  it("goes on delivering for a pool when it cannot take over what another member has left", async () => {
    const flush = DEFAULT_FLUSH;
    const pool = await Pool.open(rig.store, { id: "pool", flush });
    const gone = new ScriptedTarget();
    gone.isUp = false;
    await pool.addMember({ id: "gone", target: gone, flush });
    await pool.addMember({ id: "hung", target: () => target, flush });
    pool.send(1, {}, (error) => assert.ifError(error));
    await rig.clock.advance(20_000);
    const released = pool.releaseMember("gone");
    await rig.clock.advance(5_000);
    await released;

    const adopted = assert.rejects(pool.adoptOrphan("gone", "hung"), /not answered/);
    await rig.clock.advance(10_000);
    await adopted;
    pool.send(2, {}, (error) => assert.ifError(error));
    await rig.clock.advance(2_000);

    assert.equal(target.arrived.length, 2);
  });
});
