/** A disk that takes what is appended in parts, and stops anywhere: as a signal, a quota or a full disk make it. */
import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import fsExtra from "fs-extra";
import { OutputFile } from "../../../src/targets/file/output-file.js";
import { TAIL_BYTES, crcOfTail } from "../../../src/targets/file/state.js";
import { tempFolder } from "../../support/temp-folder.js";

const { writev } = fsExtra;

/** Takes so many bytes at each call, and has no room left behind the last of them. */
function diskThatTakes(portions: readonly number[]): void {
  const left = [...portions];
  const takes = (fd: number, pieces: readonly Buffer[]): Promise<{ bytesWritten: number }> => {
    const portion = left.shift();
    if (portion === undefined) return Promise.reject(Object.assign(new Error("no space left"), { code: "ENOSPC" }));
    return Promise.resolve({ bytesWritten: fs.writeSync(fd, Buffer.concat(pieces).subarray(0, portion)) });
  };
  Object.assign(fsExtra, { writev: takes });
}

describe("A file on a disk that takes what it gets in parts", () => {
  let folder: string;
  let count = 0;

  beforeEach(() => {
    folder = tempFolder();
  });

  afterEach(() => {
    Object.assign(fsExtra, { writev });
  });

  it("holds the whole lines that were taken, and knows its end, wherever the disk stopped", async () => {
    const line = fc.oneof(fc.nat({ max: 5 }), fc.nat({ max: 3 * TAIL_BYTES }));
    const pieces = fc.array(fc.array(line, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: 2 * TAIL_BYTES }),
        fc.constantFrom("", "\n", "a header\n"),
        pieces,
        fc.array(fc.integer({ min: 1, max: 2 * TAIL_BYTES }), { maxLength: 6 }),
        async (oldBytes, before, sizes, portions) => {
          const path = join(folder, `${count++}`);
          const old = "o".repeat(oldBytes);
          fs.writeFileSync(path, old);
          let next = 0;
          const batches = sizes.map((of) => of.map((size) => `${String(next++ % 10).repeat(size)}\n`));
          const all = before + batches.flat().join("");
          const ends: number[] = [];
          for (const text of batches.flat()) ends.push((ends.at(-1) ?? before.length) + text.length);
          const buffers = batches.map((lines) => Buffer.from(lines.join("")));
          const file = await OutputFile.open(path, { create: false, createFolders: false, noFollow: false });
          diskThatTakes(portions);

          const taken = Math.min(
            all.length,
            portions.reduce((sum, one) => sum + one, 0),
          );
          const whole = taken === all.length ? taken : (ends.findLast((end) => end <= taken) ?? 0);
          const appended = await file.append({
            pieces: before === "" ? buffers : [Buffer.from(before), ...buffers],
            ends: () => ends,
          });
          const content = fs.readFileSync(path);
          const tailCrc = await file.tailCrc(file.end);
          await file.close();

          assert.equal(appended.bytes, whole);
          assert.equal(appended.error === undefined, taken === all.length);
          assert.equal(content.toString(), old + all.slice(0, whole));
          assert.equal(file.end, content.length);
          assert.equal(tailCrc, crcOfTail(content.subarray(-TAIL_BYTES)));
        },
      ),
      { numRuns: 300 },
    );
  });
});
