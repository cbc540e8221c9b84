/** Blocks that are packed before their round, because somebody waits for each record to be synced. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { systemFiles } from "../../src/files.js";
import { BLOCK_BYTES } from "../../src/log/format/block.js";
import type { Log } from "../../src/log/log.js";
import { tempFolder } from "../support/temp-folder.js";
import { openLog } from "./open-log.js";

const PAYLOAD_BYTES = 1_000;
const PER_BLOCK = Math.floor(BLOCK_BYTES / PAYLOAD_BYTES);

/** Compression that leaves bodies as they are, counts them, and fails when it is told to. */
function watched(): {
  deflated: number;
  fails: boolean;
  deflate(): Promise<undefined>;
  inflate(b: Buffer): Promise<Buffer>;
} {
  return {
    deflated: 0,
    fails: false,
    deflate() {
      this.deflated++;
      return this.fails ? Promise.reject(new Error("no memory for that")) : Promise.resolve(undefined);
    },
    inflate: (stored) => Promise.resolve(stored),
  };
}

function nameOf(n: number): string {
  return `record ${String(n).padStart(4, "0")}`;
}

function append(log: Log, count: number): void {
  for (let n = 0; n < count; n++) log.append(nameOf(n).padEnd(PAYLOAD_BYTES, "."), {});
}

function namesOnDisk(folder: string): string[] {
  const files = readdirSync(folder).sort();
  return files.flatMap((file) => readFileSync(join(folder, file), "latin1").match(/record \d{4}/g) ?? []);
}

describe("a log whose senders wait for each sync", () => {
  const names = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, i) => nameOf(from + i));

  it("packs each block when it is full, and not a second time in the round", async () => {
    const folder = join(tempFolder(), "log");
    const compression = watched();
    const log = await openLog(systemFiles, { folder, compression, segmentBytes: 1e6, packsAhead: true });

    append(log, 3 * PER_BLOCK);
    const ahead = compression.deflated;
    await log.sync();

    assert.equal(ahead, 2);
    assert.equal(compression.deflated, ahead + 2, "the last block, and the snapshot of the cursors");
    assert.deepEqual(namesOnDisk(folder), names(0, 3 * PER_BLOCK));
    await log.close();
  });

  it("leaves out what was confirmed after its block had been packed", async () => {
    const folder = join(tempFolder(), "log");
    const log = await openLog(systemFiles, { folder, compression: watched(), segmentBytes: 1e6, packsAhead: true });
    append(log, 2 * PER_BLOCK);
    const consumer = log.consumer("a");

    consumer.confirm(await consumer.take({ records: 5, bytes: 1e6 }, new AbortController().signal));
    await log.sync();

    assert.deepEqual(namesOnDisk(folder), names(5, 2 * PER_BLOCK));
    await log.close();
  });

  it("packs in the round what could not be packed before", async () => {
    const folder = join(tempFolder(), "log");
    const compression = watched();
    const log = await openLog(systemFiles, { folder, compression, segmentBytes: 1e6, packsAhead: true });

    compression.fails = true;
    append(log, 2 * PER_BLOCK);
    compression.fails = false;
    await log.sync();

    assert.deepEqual(namesOnDisk(folder), names(0, 2 * PER_BLOCK));
    await log.close();
  });

  it("packs no more than a MiB ahead: it is in memory twice until it is written", async () => {
    const folder = join(tempFolder(), "log");
    const compression = watched();
    const log = await openLog(systemFiles, { folder, compression, segmentBytes: 1e7, packsAhead: true });

    append(log, 40 * PER_BLOCK);

    assert.ok(compression.deflated <= 17, `${compression.deflated} blocks`);
    await log.close();
    assert.equal(namesOnDisk(folder).length, 40 * PER_BLOCK);
  });
});
