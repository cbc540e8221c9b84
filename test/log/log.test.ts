/** A log in a real folder, with the real disk and the real compression. */
import assert from "node:assert/strict";
import { copyFileSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { crc32 } from "node:zlib";
import { systemFiles } from "../../src/files.js";
import { deflateCompression } from "../../src/log/format/compression.js";
import type { Log, LogOptions } from "../../src/log/log.js";
import { NewerFormatError } from "../../src/log/segments/recovery.js";
import { tempFolder } from "../support/temp-folder.js";
import { openLog } from "./open-log.js";

const REAL = { files: systemFiles, compression: deflateCompression, segmentBytes: 64 * 1024 } as const;

function open(folder: string, options: Partial<LogOptions> = {}): Promise<Log> {
  return openLog(systemFiles, { ...REAL, folder, ...options });
}

/** One that is like the readings of a sensor, and does not compress to nothing. */
function reading(n: number): string {
  return JSON.stringify({ n, sensor: `hall-${n % 7}`, value: Math.sin(n) * 100, at: 1_700_000_000_000 + n * 997 });
}

async function numbersIn(log: Log, id = "a"): Promise<number[]> {
  const found: number[] = [];
  for await (const { bytes } of log.consumer(id).unconfirmed()) {
    found.push((JSON.parse(bytes.toString()) as { n: number }).n);
  }
  return found;
}

async function fill(folder: string, records: number): Promise<void> {
  const log = await open(folder);
  for (let n = 0; n < records; n++) {
    log.append(reading(n), { topic: `t/${n % 3}` });
    if (n % 500 === 499) await log.write();
  }
  await log.close();
}

describe("a log in a real folder", () => {
  it("has every record after a restart, smaller than it came, and is empty when all was confirmed", async () => {
    const folder = join(tempFolder(), "queue", "log");
    await fill(folder, 3_000);

    const log = await open(folder);

    assert.deepEqual(
      await numbersIn(log),
      Array.from({ length: 3_000 }, (_, n) => n),
    );
    const payload = Array.from({ length: 3_000 }, (_, n) => reading(n).length).reduce((sum, length) => sum + length, 0);
    assert.ok(log.diskBytes < payload * 0.75, `${log.diskBytes} bytes on disk for ${payload} of payload`);
    const consumer = log.consumer("a");
    while (consumer.untaken > 0) {
      consumer.confirm(await consumer.take({ records: 700, bytes: 1e6 }, new AbortController().signal));
    }
    await log.sync();
    await log.sync();
    await log.close();
    assert.deepEqual(readdirSync(folder), []);
  });

  it("writes nothing at all while everything is confirmed in time", async () => {
    const folder = join(tempFolder(), "log");
    const log = await open(folder);
    const consumer = log.consumer("a");

    for (let n = 0; n < 10; n++) {
      log.append(reading(n), {});
      consumer.confirm(await consumer.take({ records: 10, bytes: 1e6 }, new AbortController().signal));
      await log.sync();
    }
    await log.close();

    assert.throws(() => statSync(folder), { code: "ENOENT" });
  });

  it("keeps its files from other users of the machine", async function () {
    if (process.platform === "win32") this.skip();
    const folder = join(tempFolder(), "log");
    await fill(folder, 10);

    const [file] = readdirSync(folder);

    assert.equal(statSync(folder).mode & 0o777, 0o700);
    assert.equal(statSync(join(folder, file!)).mode & 0o777, 0o600);
  });

  it("refuses a newer format and touches nothing", async () => {
    const folder = join(tempFolder(), "log");
    await fill(folder, 10);
    const path = join(folder, readdirSync(folder)[0]!);
    const bytes = readFileSync(path);
    bytes.writeUInt8(99, 4);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
    writeFileSync(path, bytes);

    await assert.rejects(open(folder), NewerFormatError);

    assert.deepEqual(readFileSync(path), bytes);
    assert.equal(readdirSync(folder).length, 1);
  });

  it("leaves a file of another log alone, and says so", async () => {
    const folder = join(tempFolder(), "log");
    const other = join(tempFolder(), "log");
    await fill(folder, 10);
    const stranger = await open(other, { logId: Buffer.alloc(16, 9) });
    stranger.append(reading(99), {});
    await stranger.close();
    const name = readdirSync(other)[0]!.replace(/^\d{10}/, "0000000009");
    copyFileSync(join(other, readdirSync(other)[0]!), join(folder, name));

    const log = await open(folder);

    assert.deepEqual(
      log.found.foreign.map((path) => basename(path)),
      [name],
    );
    assert.deepEqual(
      await numbersIn(log),
      Array.from({ length: 10 }, (_, n) => n),
    );
    await log.close();
    assert.ok(readdirSync(folder).includes(name));
  });

  it("goes on as the log it was when its whole folder was restored under another id", async () => {
    const folder = join(tempFolder(), "log");
    await fill(folder, 10);

    const log = await open(folder, { logId: Buffer.alloc(16, 8) });

    assert.equal((await numbersIn(log)).length, 10);
    await log.close();
  });

  it("loses one block to a flipped bit, says so once, and gives the rest", async () => {
    const folder = join(tempFolder(), "log");
    await fill(folder, 3_000);
    const path = join(folder, readdirSync(folder).sort()[0]!);
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1]! ^= 4;
    writeFileSync(path, bytes);
    const losses: string[] = [];

    const log = await open(folder, { onLoss: async ({ path: where }) => void losses.push(where) });
    losses.push(...log.found.losses.map(({ path: where }) => where));
    const found = await numbersIn(log);
    await numbersIn(log);

    assert.deepEqual(losses, [path]);
    assert.ok(found.length >= 2_000 && found.length < 3_000, `${found.length} are left`);
    await log.close();
  });

  it("ignores what else lies in its folder", async () => {
    const folder = join(tempFolder(), "log");
    await fill(folder, 10);
    writeFileSync(join(folder, "notes.txt"), "mine");
    writeFileSync(join(folder, "0000000001-000000000000-zzzzzzzz.seg"), "mine too");

    const log = await open(folder);

    assert.equal((await numbersIn(log)).length, 10);
    await log.close();
    assert.equal(readFileSync(join(folder, "notes.txt"), "utf8"), "mine");
  });
});
