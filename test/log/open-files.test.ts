/** Files that a log reads: none stays open when reading fails, and none is opened for one that has gone. */
import assert from "node:assert/strict";
import type { Log } from "../../src/log/log.js";
import { settle } from "../support/fake-clock.js";
import { errno, SimDisk } from "../support/sim-disk.js";
import { openLog } from "./open-log.js";

describe("the files that a log reads", () => {
  let disk: SimDisk;

  beforeEach(() => {
    disk = new SimDisk();
  });
  afterEach(() => {
    disk.before = () => undefined;
  });

  /** So many records on disk, in several files. */
  async function filled(): Promise<Log> {
    const log = await openLog(disk);
    for (let n = 0; n < 200; n++) {
      log.append(String(n).padEnd(50, "0"), {});
      if (n % 20 === 19) await log.sync();
    }
    return log;
  }

  it("are closed when one of them cannot be read while the log is opened", async () => {
    await (await filled()).close();
    let failures = 0;
    for (let failing = 1; failing < 16; failing++) {
      let reads = 0;
      disk.before = (call) => {
        if (call === "read" && ++reads === failing) throw errno("EIO");
      };

      const log = await openLog(disk).catch(() => undefined);

      failures += log === undefined ? 1 : 0;
      await log?.close();
      await settle(); // headers are read two at a time: the other one is still under way
      assert.equal(disk.openFiles, 0, `read ${failing}`);
    }
    assert.ok(failures > disk.names.size, "the oldest records are looked for, too");
  });

  it("are closed when one of them cannot be read while looking for what is too old", async () => {
    const log = await filled();
    disk.before = (call) => {
      if (call === "read") throw errno("EIO");
    };

    await assert.rejects(log.dropOld(() => true));

    disk.before = () => undefined;
    await log.close();
    assert.equal(disk.openFiles, 0);
  });

  it("are not opened for somebody who goes on listing what a closed log holds", async () => {
    const log = await filled();
    const listed = log.consumer("a").unconfirmed();
    await listed.next();
    await log.close();

    const list = async (): Promise<void> => {
      for await (const _ of listed);
    };
    await assert.rejects(list(), /closed/);

    assert.equal(disk.openFiles, 0);
  });
});
