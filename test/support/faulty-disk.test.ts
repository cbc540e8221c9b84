import assert from "node:assert/strict";
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { FaultyDisk, whyNoFaultyDisk } from "./faulty-disk.js";
import { skipBecause } from "./skip.js";

describe("the faulty disk", () => {
  let disk: FaultyDisk | undefined;

  before(function () {
    const why = whyNoFaultyDisk();
    if (why !== undefined) skipBecause(this, why);
  });
  afterEach(async () => {
    await disk?.remove();
    disk = undefined;
  });

  it("is full at its size, and takes more when it has grown", async () => {
    disk = await FaultyDisk.small("1m");
    const file = join(disk.folder, "file");

    assert.throws(() => writeFileSync(file, Buffer.alloc(2 << 20)), { code: "ENOSPC" });
    await disk.grow("4m");

    writeFileSync(file, Buffer.alloc(2 << 20));
  });

  it("refuses writes while it is read-only", async () => {
    disk = await FaultyDisk.small("1m");

    await disk.makeReadOnly();
    assert.throws(() => writeFileSync(join(disk!.folder, "file"), "x"), { code: "EROFS" });
    await disk.makeWritable();

    writeFileSync(join(disk.folder, "file"), "x");
  });

  it("keeps what was synced before the power was cut, and nothing else", async () => {
    disk = await FaultyDisk.ext4("16m");
    const descriptor = openSync(join(disk.folder, "file"), "w");
    writeSync(descriptor, "synced");
    fsyncSync(descriptor);
    const folder = openSync(disk.folder, "r");
    fsyncSync(folder);
    closeSync(folder);
    writeSync(descriptor, " and written");
    writeFileSync(join(disk.folder, "another"), "never synced");

    await disk.cutPower();
    assert.throws(() => fdatasyncSync(descriptor), { code: "EIO" });
    closeSync(descriptor);
    await disk.restorePower();

    assert.deepEqual(readdirSync(disk.folder), ["file"]);
    assert.equal(readFileSync(join(disk.folder, "file"), "utf8"), "synced");
  });

  it("takes a write that it cannot sync, when it promises more than it has", async () => {
    disk = await FaultyDisk.thin("6m");
    const descriptor = openSync(join(disk.folder, "file"), "w");

    writeSync(descriptor, Buffer.alloc(16 << 20, 1));

    assert.throws(() => fdatasyncSync(descriptor), { code: /ENOSPC|EIO/ });
    closeSync(descriptor);
  });

  it("counts what reaches the device", async () => {
    disk = await FaultyDisk.ext4("16m");
    const before = await disk.counters();
    const descriptor = openSync(join(disk.folder, "file"), "w");
    writeSync(descriptor, Buffer.alloc(1 << 20, 1));
    fdatasyncSync(descriptor);
    closeSync(descriptor);

    const after = await disk.counters();

    assert.ok(after.bytes - before.bytes >= 1 << 20);
    assert.ok(after.flushes > before.flushes);
  });
});
