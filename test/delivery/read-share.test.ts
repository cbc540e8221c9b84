import assert from "node:assert/strict";
import { ReadShare } from "../../src/delivery/read-share.js";
import { DeliveryRig } from "../support/delivery-rig.js";
import { FakeClock } from "../support/fake-clock.js";

const KIB = 1024;
const EXPORTERS = 50;
const RECORDS = 600;
const PAYLOAD = "x".repeat(KIB - 2);

describe("Memory for what is read back", () => {
  /** Fifty targets that come back at one time, each with a backlog of 600 KiB, and answer after a second. */
  async function comeBack(readShare: ReadShare, replayed: boolean): Promise<{ most: number; arrived: number }> {
    const clock = new FakeClock();
    const rigs = Array.from({ length: EXPORTERS }, () => new DeliveryRig({ clock, readShare }));
    let most = 0;
    for (const rig of rigs) {
      rig.target.script = async (batch) => {
        most = Math.max(
          most,
          rigs.reduce((sum, { delivery }) => sum + delivery.readBytes, 0),
        );
        await new Promise<void>((resolve) => clock.after(1_000, resolve));
        return { outcomes: rig.target.store(batch) };
      };
      rig.append(RECORDS, { payload: PAYLOAD, replayed });
    }
    await clock.advanceUntil(() => rigs.every(({ source }) => source.backlog().records === 0));
    await clock.advance(1_000);
    const held = rigs.reduce((sum, { delivery }) => sum + delivery.readBytes, 0);
    const closing = rigs.map(({ delivery }) => delivery.close());
    await clock.advance(3_000);
    await Promise.all(closing);

    assert.equal(held, 0, "something is held though nothing is under way");
    return { most, arrived: rigs.reduce((sum, { target }) => sum + target.arrived.length, 0) };
  }

  it("stays within one bound for all exporters, and each of them gets on", async () => {
    const bound = 2_048 * KIB;

    const { most, arrived } = await comeBack(new ReadShare(bound), true);

    assert.equal(arrived, EXPORTERS * RECORDS);
    // Beyond the bound, each may have the least that it can get on with.
    assert.ok(most <= bound + EXPORTERS * 64 * KIB, `${most / KIB} KiB were held`);
    assert.ok(most > bound / 2, `no more than ${most / KIB} KiB were held: the bound was not what held them back`);
  });

  it("would grow with their number without it", async () => {
    const { most } = await comeBack(new ReadShare(), true);

    assert.ok(most > 8_192 * KIB, `${most / KIB} KiB were held`);
  });

  it("is taken up soon when others give it back, though a record of one's own rests for minutes", async () => {
    const clock = new FakeClock();
    const readShare = new ReadShare(100 * KIB);
    const [busy, waiting] = [new DeliveryRig({ clock, readShare }), new DeliveryRig({ clock, readShare })];
    waiting.target.script = (batch) => ({
      outcomes: batch.map((record) =>
        record.offset === 0 ? { kind: "retry", cause: new Error("later") } : waiting.target.store([record])[0]!,
      ),
    });
    waiting.append(1);
    await clock.advance(3_600_000);
    assert.equal(waiting.target.arrived.length, 0);
    let answer = (): void => undefined;
    busy.target.script = async (batch) => {
      await new Promise<void>((resolve) => (answer = resolve));
      return { outcomes: busy.target.store(batch) };
    };
    busy.append(120, { payload: PAYLOAD, replayed: true });
    await clock.advance(1_000);
    waiting.append(50);
    await clock.advance(1_000);
    assert.equal(waiting.target.arrived.length, 0, "there was room although all was taken");

    busy.target.script = undefined;
    answer();
    await clock.advance(1_000);

    assert.equal(waiting.target.arrived.length, 50);
    const closing = [busy.delivery.close(), waiting.delivery.close()];
    await clock.advance(3_000);
    await Promise.all(closing);
  });

  it("does not count what was just accepted, which is in memory anyway", async () => {
    const { most, arrived } = await comeBack(new ReadShare(0), false);

    assert.equal(most, 0);
    assert.equal(arrived, EXPORTERS * RECORDS);
  });
});
