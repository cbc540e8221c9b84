import assert from "node:assert/strict";
import { Monitor } from "../../src/connectivity/monitor.js";
import type { NetworkState } from "../../src/connectivity/monitor.js";
import { DeliveryRig } from "../support/delivery-rig.js";
import { FakeClock } from "../support/fake-clock.js";

const REFUSED = new Error("connection refused");
const [A, B, BROKEN, WORKING] = [{}, {}, {}, {}];

describe("The monitor of the network", () => {
  let undo: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
    undo = [];
  });

  /** A monitor whose probe does what `network` says. */
  function watching(hasProbe = true): {
    clock: FakeClock;
    monitor: Monitor;
    network: { isThere: boolean; looks: number };
    changes: NetworkState["kind"][];
  } {
    const clock = new FakeClock();
    const network = { isThere: true, looks: 0 };
    const changes: NetworkState["kind"][] = [];
    const monitor = new Monitor({
      clock,
      ...(hasProbe && {
        probe: async () => {
          network.looks++;
          if (!network.isThere) throw new Error("no route to host");
        },
      }),
      onChange: (state) => changes.push(state.kind),
    });
    undo.push(async () => {
      await monitor.close();
      assert.equal(clock.pendingTimers, 0, "a timer is left after close");
    });
    return { clock, monitor, network, changes };
  }

  it("asks nothing while the targets answer", async () => {
    const { clock, monitor, network } = watching();
    for (let i = 0; i < 100; i++) {
      monitor.up(A);
      await clock.advance(60_000);
    }

    assert.equal(network.looks, 0);
    assert.equal(monitor.state.kind, "online");
  });

  it("tells that the network is gone from a target that is down", async () => {
    const { clock, monitor, network } = watching();
    monitor.up(A);
    await clock.advance(120_000);

    monitor.down(A, REFUSED);
    await clock.advance(0);
    assert.deepEqual([monitor.state.kind, monitor.blame], ["online", "target"]);

    network.isThere = false;
    await clock.advance(31_000);
    assert.deepEqual([monitor.state.kind, monitor.blame], ["offline", "network"]);
  });

  it("notices the return of the network within five seconds, wakes who waits, and then leaves it alone", async () => {
    const { clock, monitor, network, changes } = watching();
    let woken = 0;
    monitor.onOnline(() => woken++);
    network.isThere = false;
    monitor.down(A, REFUSED);
    monitor.down(B, REFUSED);
    await clock.advance(600_000);
    assert.equal(woken, 0);

    network.isThere = true;
    await clock.advance(5_000);
    assert.equal(woken, 1);
    monitor.up(A);
    monitor.up(B);
    const looks = network.looks;
    await clock.advance(600_000);

    assert.equal(network.looks, looks);
    assert.deepEqual(changes, ["offline", "online"]);
  });

  it("believes a target that answers more than a probe that a firewall refuses", async () => {
    const { clock, monitor, network, changes } = watching();
    network.isThere = false;
    monitor.down(BROKEN, REFUSED);
    for (let i = 0; i < 60; i++) {
      monitor.up(WORKING);
      await clock.advance(10_000);
    }

    assert.equal(monitor.state.kind, "online");
    assert.deepEqual(changes, ["online"]);
  });

  it("does without a probe: when no target answers it is offline, and one that returns wakes the others", async () => {
    const { monitor, changes } = watching(false);
    let woken = 0;
    monitor.onOnline(() => woken++);
    monitor.up(A);
    monitor.down(A, REFUSED);
    monitor.down(B, REFUSED);
    assert.deepEqual([monitor.state.kind, monitor.blame], ["offline", "unknown"]);

    monitor.up(B);

    assert.equal(woken, 1);
    assert.deepEqual(changes, ["online", "offline", "online"]);
  });

  it("does not look for someone who is gone", async () => {
    const { clock, monitor, network } = watching();
    network.isThere = false;
    monitor.down(A, REFUSED);
    await clock.advance(20_000);

    monitor.forget(A);
    const looks = network.looks;
    await clock.advance(600_000);

    assert.equal(network.looks, looks);
  });

  it("does not look at every coming and going of a target", async () => {
    const { clock, monitor, network } = watching();
    for (let i = 0; i < 600; i++) {
      monitor.down(A, REFUSED);
      await clock.advance(500);
      monitor.up(A);
      await clock.advance(500);
    }

    assert.ok(network.looks <= 601, `${network.looks} looks in ten minutes`);
  });

  it("wakes a thousand exporters within five seconds of its news, and not all at once", async () => {
    const { clock, monitor, network } = watching();
    network.isThere = false;
    const rigs = Array.from({ length: 1_000 }, (_, i) => {
      return new DeliveryRig({ clock, monitor, seed: i, before: ({ target }) => (target.isUp = false) });
    });
    undo.push(async () => {
      const closing = rigs.map((rig) => rig.delivery.close());
      await clock.advance(3_000);
      await Promise.all(closing);
    });
    for (const rig of rigs) rig.append(1);
    await clock.advance(3_600_000);

    network.isThere = true;
    for (const rig of rigs) rig.target.isUp = true;
    const arrivals: number[] = [];
    for (let tick = 0; tick < 110; tick++) {
      const before = rigs.filter((rig) => rig.target.arrived.length > 0).length;
      await clock.advance(100);
      arrivals.push(rigs.filter((rig) => rig.target.arrived.length > 0).length - before);
    }

    assert.equal(
      arrivals.reduce((sum, count) => sum + count),
      1_000,
    );
    const most = Math.max(...arrivals);
    const lastMs = (arrivals.findLastIndex((count) => count > 0) + 1) * 100;
    assert.ok(most < 60, `${most} of 1,000 within 100 ms`);
    process.stdout.write(`      1,000 come back within ${lastMs / 1_000} s, at most ${most} of them in any 0.1 s\n`);
  });
});
