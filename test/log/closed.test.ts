/** Those who still use a log that was closed: a target that had hung, somebody who lists what it holds. */
import assert from "node:assert/strict";
import { SimDisk } from "../support/sim-disk.js";
import { openLog } from "./open-log.js";

describe("a log that was closed", () => {
  let disk: SimDisk;

  beforeEach(() => {
    disk = new SimDisk();
  });

  async function leaveThree(): Promise<void> {
    const log = await openLog(disk);
    for (const record of ["1", "2", "3"]) log.append(record, {});
    await log.close();
  }

  it("writes no place of a target that goes on after it: its descriptor may be that of another file by now", async () => {
    const log = await openLog(disk);
    log.append("1", {});
    await log.write();
    const consumer = log.consumer("a");
    await log.close();
    const { changes } = disk;

    await assert.rejects(consumer.note(Buffer.from("place")), /closed/);

    assert.equal(disk.changes, changes);
  });

  it("leaves the next life the only one that writes to its folder", async () => {
    await leaveThree();
    const before = await openLog(disk);
    const consumer = before.consumer("a");
    await before.close();
    const next = await openLog(disk);
    next.append("4", {});
    await next.write();

    await consumer.note(Buffer.from("place")).catch(() => undefined);

    assert.deepEqual(
      [...disk.names.keys()].map((path) => /\d+/.exec(path)![0]),
      ["0000000001", "0000000002"],
    );
    await next.close();
  });
});
