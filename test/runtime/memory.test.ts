/** Memory is bounded, whatever waits and whatever the disk does: real processes with a heap of 64 MB. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { tempFolder } from "../support/temp-folder.js";

const MIB = 1024 * 1024;

interface Found {
  readonly grown: number;
  readonly used: number;
  readonly memoryBytes: number;
  readonly waiting: number;
  readonly dropped: number;
  readonly delivered: number;
  readonly done: number;
  readonly failed: number;
  readonly longestMs: number;
}

async function live(what: string): Promise<Found> {
  const folder = join(tempFolder(), "queues");
  const args = ["--max-old-space-size=64", "--expose-gc", "--import", "tsx", join(__dirname, "memory-child.ts")];
  const child = spawn(process.execPath, [...args, folder, what], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  let complained = "";
  child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (complained += chunk.toString()));
  const [code] = (await once(child, "close")) as [number];
  assert.equal(code, 0, complained.slice(-2_000));
  return JSON.parse(said) as Found;
}

describe("memory", () => {
  it("is enough for a hundred thousand records that wait, and for their drain", async () => {
    const { grown, delivered, dropped } = await live("drain");

    assert.equal(delivered, 100_000);
    assert.equal(dropped, 0);
    assert.ok(grown < 120 * MIB, `${grown / MIB} MiB more`);
  });

  it("stays within its bound while the disk takes nothing, and the flow never waits", async () => {
    const { grown, used, memoryBytes, waiting, dropped, done, longestMs } = await live("failing");

    assert.equal(done, 400_000);
    assert.equal(waiting + dropped, 400_000);
    assert.ok(waiting > 30_000, `${waiting} are kept`);
    assert.ok(used <= memoryBytes + 128 * 1024, `${used} bytes`);
    assert.ok(grown < 100 * MIB, `${grown / MIB} MiB more, for a bound of 16`);
    assert.ok(longestMs < 250, `a message took ${longestMs} ms`);
  });

  for (const what of ["every-message", "delivered"]) {
    it(`stays within its bound while senders wait for a disk that takes nothing (${what})`, async () => {
      const { grown, waiting, dropped, done, failed } = await live(what);

      assert.equal(done, 0);
      assert.equal(failed, dropped, "each that was given up was told");
      assert.equal(waiting + dropped, 400_000);
      assert.ok(grown < 120 * MIB, `${grown / MIB} MiB more`);
    });
  }
});
