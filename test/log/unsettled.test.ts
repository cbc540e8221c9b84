/** Records that a target has, and may still lose with the power, in a file that a failed sync has left behind. */
import assert from "node:assert/strict";
import type { Log } from "../../src/log/log.js";
import { errno, SimDisk } from "../support/sim-disk.js";
import { openLog } from "./open-log.js";

async function deliver(log: Log): Promise<string[]> {
  const consumer = log.consumer("a");
  if (consumer.untaken === 0) return [];
  const records = await consumer.take({ records: 100, bytes: 100_000 }, AbortSignal.timeout(1_000));
  consumer.confirm(records);
  return records.map(({ bytes }) => Buffer.from(bytes).toString());
}

describe("a target that cannot make durable what it has, on a disk whose sync fails", () => {
  let disk: SimDisk;
  let log: Log;

  beforeEach(async () => {
    disk = new SimDisk();
    log = await openLog(disk);
    log.consumer("a").settle = () => Promise.reject(new Error("EIO"));
  });

  /** Everything written and confirmed, then a sync that fails, and a file that takes its place and is proven. */
  async function abandonTheFirstFile(): Promise<void> {
    log.append('"first"', {});
    await log.write();
    assert.deepEqual(await deliver(log), ['"first"']);
    log.append('"second"', {});
    await log.write();
    disk.before = (call) => {
      if (call === "sync") throw errno("EIO");
    };
    await assert.rejects(log.sync());
    disk.before = () => undefined;
    for (const record of ['"third"', '"fourth"']) {
      log.append(record, {});
      await assert.rejects(log.sync(), { name: "SettleError" });
    }
  }

  it("gets again, after a kill and a power cut, what the first life had written and the second has synced", async () => {
    await abandonTheFirstFile();
    const second = disk.afterKill();
    const killed = await openLog(second);
    await killed.sync();
    // Everything is gone that no sync has put on the disk.
    const third = second.afterPowerCut(() => 0, "posix");
    const cut = await openLog(third);

    const delivered = await deliver(cut);

    assert.deepEqual(delivered, ['"first"', '"second"', '"third"', '"fourth"']);
    await Promise.all([cut.close(), killed.close()]);
    await log.close().catch(() => undefined);
  });

  it("keeps no more in memory than until the next sync", async () => {
    await abandonTheFirstFile();

    assert.equal(log.memoryBytes, 0);
    await log.close().catch(() => undefined);
  });
});
