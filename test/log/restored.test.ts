/** A file of the same queue, of another time, that somebody copies back into its folder from a backup. */
import assert from "node:assert/strict";
import type { Log } from "../../src/log/log.js";
import { SimDisk } from "../support/sim-disk.js";
import { openLog } from "./open-log.js";

async function queue(disk: SimDisk, records: readonly string[]): Promise<Log> {
  const log = await openLog(disk);
  for (const record of records) log.append(JSON.stringify(record), {});
  await log.sync();
  return log;
}

async function take(log: Log): Promise<{ readonly texts: string[]; readonly ids: string[]; confirm(): void }> {
  const consumer = log.consumer("a");
  const records = await consumer.take({ records: 1_000, bytes: 1_000_000 }, AbortSignal.timeout(1_000));
  return {
    texts: records.map(({ bytes }) => JSON.parse(Buffer.from(bytes).toString()) as string),
    ids: records.map(({ id }) => Buffer.from(id).toString("hex")),
    confirm: () => consumer.confirm(records),
  };
}

describe("a queue file brought back from a backup", () => {
  let disk: SimDisk;
  let old: { readonly path: string; readonly bytes: Buffer };
  let oldIds: string[];

  /** A queue of an earlier time, of which a copy was made; then it was delivered, and its file removed. */
  async function backUp(records: readonly string[], sequences: number): Promise<void> {
    const log = await queue(disk, ["before"]);
    for (let i = 1; i < sequences; i++) {
      (await take(log)).confirm();
      await log.sync();
      log.append('"between"', {});
      await log.sync();
    }
    (await take(log)).confirm();
    for (const record of records) log.append(JSON.stringify(record), {});
    await log.sync();
    const [path, inode] = [...disk.names].at(-1)!;
    old = { path, bytes: Buffer.from(inode.cache) };
    const taken = await take(log);
    oldIds = taken.ids;
    taken.confirm();
    await log.sync();
    await log.close();
    assert.equal(disk.names.size, 0);
  }

  async function restore(): Promise<Log> {
    const file = await disk.create(old.path);
    await file.write(old.bytes, 0);
    await file.close();
    return openLog(disk);
  }

  beforeEach(() => {
    disk = new SimDisk();
  });

  for (const [sequences, where] of [
    [1, "of the same number"],
    [4, "of a higher number"],
  ] as const) {
    it(`hides no newer record (${where} than the living one)`, async () => {
      await backUp(["old 1", "old 2"], sequences);
      const living = await queue(
        disk,
        Array.from({ length: 30 }, (_, i) => `new ${i}`),
      );
      await living.close();

      const log = await restore();
      const { texts, ids, confirm } = await take(log);

      assert.deepEqual(
        texts.filter((text) => text.startsWith("new")),
        Array.from({ length: 30 }, (_, i) => `new ${i}`),
      );
      assert.deepEqual(
        ids.filter((_, i) => texts[i]!.startsWith("old")),
        oldIds,
        "what comes again has the ids it had",
      );
      assert.equal(log.found.restored.files.length, 1);
      assert.equal(log.found.restored.records, 2);
      assert.deepEqual(log.found.losses, []);
      confirm();
      await log.sync();
      await log.sync();
      assert.equal(disk.names.size, 0, "nothing is left of either");
      await log.close();
    });
  }

  it("is taken over once, and not again at each start while the target is away", async () => {
    await backUp(["old 1", "old 2"], 4);
    await (await queue(disk, ["new 1", "new 2", "new 3", "new 4"])).close();
    await (await restore()).close();
    for (let start = 0; start < 3; start++) await (await openLog(disk)).close();

    const log = await openLog(disk);
    const { texts } = await take(log);

    assert.deepEqual(texts.toSorted(), ["new 1", "new 2", "new 3", "new 4", "old 1", "old 2"]);
    assert.deepEqual(log.found.restored.files, []);
    await log.close();
  });

  it("changes nothing by being looked at", async () => {
    await backUp(["old"], 2);
    await (await queue(disk, ["new"])).close();
    const log = await restore();
    const { changes } = disk;
    const texts = (await take(log)).texts;
    await log.abandon();

    const again = await openLog(disk);

    assert.deepEqual((await take(again)).texts, texts);
    assert.equal(disk.changes, changes);
    await again.abandon();
  });

  it("is taken over where it begins in the middle of a block, far above what lives now", async () => {
    const earlier = await openLog(disk);
    for (let i = 0; i < 20; i++) earlier.append(JSON.stringify(`old ${i}`), {});
    const consumer = earlier.consumer("a");
    consumer.confirm(await consumer.take({ records: 18, bytes: 1_000_000 }, AbortSignal.timeout(1_000)));
    await earlier.sync();
    const [path, inode] = [...disk.names].at(-1)!;
    old = { path, bytes: Buffer.from(inode.cache) };
    (await take(earlier)).confirm();
    await earlier.sync();
    await earlier.close();
    await (await queue(disk, ["new ".padEnd(1_000, "."), "new"])).close();

    const log = await restore();
    await log.sync();
    const { texts, confirm } = await take(log);

    assert.deepEqual(texts.slice(1), ["new", "old 18", "old 19"]);
    confirm();
    await log.sync();
    await log.close();
    assert.equal(disk.names.size, 0);
  });
});
