/** Copies of bytes that could not be read. */
import assert from "node:assert/strict";
import { quarantine } from "../../src/log/segments/quarantine.js";
import type { Loss } from "../../src/log/segments/recovery.js";
import { SimDisk } from "../support/sim-disk.js";

const SEGMENT = "/q/logs/a/1.seg";
const PLACE = "/q/quarantine/a";
const LOSS: Loss = { kind: "damage", path: SEGMENT, from: 10, bytes: 20 };

async function write(disk: SimDisk, path: string, bytes: Buffer): Promise<void> {
  await disk.makeFolder();
  const file = await disk.create(path);
  await file.write(bytes, 0);
  await file.close();
}

async function read(disk: SimDisk, path: string): Promise<Buffer> {
  const bytes = Buffer.alloc((await disk.size(path)) ?? 0);
  const file = await disk.open(path);
  await file.read(bytes, 0);
  await file.close();
  return bytes;
}

describe("a copy of bytes that could not be read", () => {
  const bytes = Buffer.from(Array.from({ length: 64 }, (_, i) => i));
  let disk: SimDisk;

  beforeEach(async () => {
    disk = new SimDisk();
    await write(disk, SEGMENT, bytes);
  });

  it("is made once", async () => {
    const path = await quarantine(LOSS, PLACE, disk);

    assert.equal(path, `${PLACE}/1.seg.10-30.bad`);
    assert.deepEqual(await read(disk, path), bytes.subarray(10, 30));
    assert.equal(await quarantine(LOSS, PLACE, disk), undefined);
  });

  it("is made anew where a crash has cut it short", async () => {
    await write(disk, `${PLACE}/1.seg.10-30.bad`, bytes.subarray(10, 15));

    const path = await quarantine(LOSS, PLACE, disk);

    assert.deepEqual(await read(disk, path!), bytes.subarray(10, 30));
  });

  it("has what is left of a file that ends before the bytes do", async () => {
    const path = await quarantine({ ...LOSS, bytes: 1_000 }, PLACE, disk);

    assert.deepEqual(await read(disk, path!), bytes.subarray(10));
  });

  it("is not made of what was cut off", async () => {
    assert.equal(await quarantine({ ...LOSS, from: bytes.length }, PLACE, disk), undefined);
    assert.deepEqual(await disk.list(PLACE), []);
  });

  it("is not made where sixteen megabytes are", async () => {
    await write(disk, `${PLACE}/earlier.bad`, Buffer.alloc(16 * 1024 * 1024 - LOSS.bytes + 1));

    assert.equal(await quarantine(LOSS, PLACE, disk), undefined);
  });
});
