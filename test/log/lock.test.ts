/** One process per folder, whatever became of the one before. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FolderInUseError, isFolderInUse, lockFolder } from "../../src/log/lock.js";
import { tempFolder } from "../support/temp-folder.js";

describe("the lock of a folder", () => {
  it("is held by one at a time, and free for the next when it is released, once or twice", async () => {
    const folder = tempFolder();
    const first = await lockFolder(folder);

    await assert.rejects(lockFolder(folder), FolderInUseError);
    await Promise.all([first.release(), first.release()]);
    const second = await lockFolder(folder);

    await second.release();
    assert.deepEqual(readdirSync(folder), []);
  });

  it("goes to exactly one of many that come at once, though a killed process had it", async () => {
    const folder = tempFolder();
    await leaveLocked(folder);

    const results = await Promise.allSettled(Array.from({ length: 5 }, () => lockFolder(folder)));

    const held = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    const refused = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
    assert.equal(held.length, 1);
    assert.ok(refused.every((reason) => reason instanceof FolderInUseError));
    await held[0]!.release();
  });

  it("holds in a folder whose path is longer than a socket's may be", async () => {
    const folder = join(tempFolder(), "deep".repeat(40));
    mkdirSync(folder);
    const lock = await lockFolder(folder);

    await assert.rejects(lockFolder(folder), FolderInUseError);

    await lock.release();
  });

  it("can be looked at by others, who leave nothing behind", async () => {
    const folder = tempFolder();
    const before = await isFolderInUse(folder);
    assert.deepEqual([before, readdirSync(folder)], [false, []]);
    const lock = await lockFolder(folder);
    const names = readdirSync(folder);

    assert.equal(await isFolderInUse(folder), true);

    assert.deepEqual(readdirSync(folder), names);
    await lock.release();
    assert.equal(await isFolderInUse(folder), false);
  });

  it("of a killed process is seen as free", async () => {
    const folder = tempFolder();

    await leaveLocked(folder);

    assert.equal(await isFolderInUse(folder), false);
  });

  it("where there are no sockets, is a file with a process, and with when that began: ids are given again", async () => {
    const folder = tempFolder();
    const stat = readFileSync("/proc/self/stat", "latin1");
    const startedAt = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]!;
    const hold = (text: string): void => writeFileSync(join(folder, "lock.pid"), `${text}\n`);

    hold(`${process.pid} ${startedAt}`);
    assert.equal(await isFolderInUse(folder), true);
    hold(`${process.pid} ${Number(startedAt) - 1}`);
    assert.equal(await isFolderInUse(folder), false);
    hold("");
    assert.equal(await isFolderInUse(folder), false);
  });
});

/** Has another process take the lock, and kills it. */
async function leaveLocked(folder: string): Promise<void> {
  const module = JSON.stringify(join(__dirname, "..", "..", "src", "log", "lock.ts"));
  const program = `require(${module}).lockFolder(process.argv[1]).then(() => process.stdout.write("locked"));
    setInterval(() => undefined, 60_000);`;
  const child = spawn(process.execPath, ["--import", "tsx", "-e", program, folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "close");
}
