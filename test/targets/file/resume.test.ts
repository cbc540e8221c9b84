import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { FileTarget } from "../../../src/targets/file/target.js";
import { textEncoding } from "../../../src/targets/file/text-encoding.js";
import { tempFolder } from "../../support/temp-folder.js";
import { LogModel } from "./log-model.js";

/** Few different payloads, so that equal lines stand next to each other: the hard case for a comparison. */
const payload = fc.oneof(
  fc.constantFrom("1", "", "1\n1", "\0", 'q"'),
  fc.integer({ min: 0, max: 2 }),
  fc.string({ maxLength: 20 }),
  fc.record({ t: fc.integer() }),
);

async function linesOf(payloads: readonly unknown[], folder: string): Promise<string> {
  const file = join(folder, "expected.log");
  fs.rmSync(file, { force: true });
  const log = new LogModel();
  const target = new FileTarget({ file });
  for (const each of payloads) log.add(each);
  await log.open(target);
  await log.deliverAll(target);
  await target.close();
  return fs.readFileSync(file, "latin1");
}

describe("A new life of the file target", () => {
  let folder: string;
  let file: string;
  beforeEach(() => {
    folder = tempFolder();
    file = join(folder, "data.log");
  });

  /** One life: `settled` records are stored with the cursor, `unsettled` more are in the file only. */
  async function liveAndCrash(log: LogModel, settled: number, unsettled: number, most: number): Promise<void> {
    const target = new FileTarget({ file });
    await log.open(target);
    for (let left = settled; left > 0;) left -= await log.deliver(target, Math.min(left, most));
    log.store();
    for (let left = unsettled; left > 0;) left -= await log.deliver(target, Math.min(left, most));
    await target.close();
    log.crash();
  }

  async function nextLife(log: LogModel): Promise<void> {
    const target = new FileTarget({ file });
    await log.open(target);
    await log.deliverAll(target);
    await target.close();
  }

  it("has each line exactly once after a life whose lines the log never had, and a second crash", async () => {
    const log = new LogModel();
    const life = async (deliveries: number): Promise<void> => {
      const target = new FileTarget({ file });
      await log.open(target);
      for (let i = 0; i < deliveries; i++) await log.deliver(target, 1);
      await target.close();
    };
    for (let n = 0; n < 9; n++) log.add(n);
    await life(3);
    assert.equal(log.crashElided(), 3);

    await life(4);
    log.crash();
    await life(9);

    assert.equal(fs.readFileSync(file, "latin1"), "0\n1\n2\n3\n4\n5\n6\n7\n8\n");
  });

  for (const encoding of ["utf16le", "utf-32le"]) {
    it(`leaves lines in ${encoding} whole, though each ends with the NULs that a power cut may leave`, async () => {
      const log = new LogModel();
      for (let n = 0; n < 6; n++) log.add(n);

      for (const deliveries of [2, 2, 2]) {
        const target = new FileTarget({ file, encoding });
        await log.open(target);
        for (let i = 0; i < deliveries; i++) await log.deliver(target, 1);
        await target.close();
        log.crashElided();
      }

      const lines = Array.from({ length: 6 }, (_, n) => `${n}\n`).join("");
      assert.deepEqual(fs.readFileSync(file), textEncoding(encoding).encode(lines));
    });
  }

  it("compares a file that comes back only after the others were compared, before it adds a line", async () => {
    const [root, away] = [join(folder, "root"), join(folder, "away")];
    fs.mkdirSync(root);
    const log = new LogModel();
    for (let n = 0; n < 6; n++) log.add(n, { file: "x/data.log" });
    const first = new FileTarget({ root });
    await log.open(first);
    await log.deliver(first, 4);
    await first.close();
    log.crash();
    fs.renameSync(join(root, "x"), away);
    const target = new FileTarget({ root });
    await log.open(target);
    fs.renameSync(away, join(root, "x"));

    await assert.rejects(log.deliver(target), { code: "file-came-back" });
    await log.open(target);
    await log.deliverAll(target);
    await target.close();

    assert.equal(fs.readFileSync(join(root, "x", "data.log"), "latin1"), "0\n1\n2\n3\n4\n5\n");
  });

  it("is not kept from its file by what others append to it meanwhile", async () => {
    const log = new LogModel();
    const target = new FileTarget({ file });
    await log.open(target);
    for (let n = 0; n < 3; n++) {
      log.add(n);
      await log.deliver(target);
      fs.appendFileSync(file, `theirs ${n}\n`);
    }
    await target.close();

    assert.equal(fs.readFileSync(file, "latin1"), "0\ntheirs 0\n1\ntheirs 1\n2\ntheirs 2\n");
  });

  it("has each line exactly once, however the bytes behind the settled size survived", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(payload, { maxLength: 12 }),
        fc.nat(),
        fc.nat(),
        fc.nat(),
        fc.array(fc.tuple(fc.nat(), fc.nat(64)), { maxLength: 3 }),
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom("", "before\n", "1\n1\n"),
        async (payloads, settledSeed, unsettledSeed, cutSeed, zeroed, most, before) => {
          fs.writeFileSync(file, before);
          const log = new LogModel();
          for (const each of payloads) log.add(each);
          const settled = settledSeed % (payloads.length + 1);
          await liveAndCrash(log, settled, unsettledSeed % (payloads.length - settled + 1), most);
          const settledSize = Buffer.byteLength(before) + (await linesOf(payloads.slice(0, settled), folder)).length;
          const bytes = fs.readFileSync(file);
          const cut = settledSize + (cutSeed % (bytes.length - settledSize + 1));
          const survived = Buffer.from(bytes.subarray(0, cut));
          for (const [start, length] of zeroed) {
            const from = settledSize + (start % (cut - settledSize + 1));
            survived.fill(0, from, Math.min(cut, from + length));
          }
          fs.truncateSync(file);
          fs.writeFileSync(file, survived); // the same inode, as after a power cut

          await nextLife(log);

          assert.equal(fs.readFileSync(file, "latin1"), before + (await linesOf(payloads, folder)));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("loses no line and leaves theirs whole when others wrote behind ours meanwhile", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 8 }),
        fc.nat(),
        fc.nat(),
        fc.constantFrom("theirs\n", "\0\0theirs\n", "unfinished"),
        async (payloads, settledSeed, unsettledSeed, theirs) => {
          fs.rmSync(file, { force: true });
          const log = new LogModel();
          for (const each of payloads) log.add(each);
          const settled = settledSeed % (payloads.length + 1);
          await liveAndCrash(log, settled, unsettledSeed % (payloads.length - settled + 1), 3);
          fs.appendFileSync(file, theirs);

          await nextLife(log);

          const all = fs.readFileSync(file, "latin1");
          assert.ok(all.includes(theirs));
          const ours = all
            .replace(theirs, theirs.endsWith("\n") ? "" : "")
            .split("\n")
            .filter((line) => line !== "");
          assert.deepEqual(ours, payloads.map(String));
        },
      ),
      { numRuns: 100 },
    );
  });

  it("reads no record when the file is as long as the state says", async () => {
    const log = new LogModel();
    for (let i = 0; i < 100; i++) log.add(i);
    await liveAndCrash(log, 10, 0, 10);

    const target = new FileTarget({ file });
    await log.open(target);
    await target.close();

    assert.equal(log.recordsRead, 0);
  });

  it("reads no more records than it takes to find the first that is not there", async () => {
    const log = new LogModel();
    for (let i = 0; i < 1_000; i++) log.add(i);
    await liveAndCrash(log, 10, 5, 10);

    const target = new FileTarget({ file });
    await log.open(target);
    await target.close();

    assert.equal(log.recordsRead, 5);
  });

  it("finds its lines in a file that was moved within the folder after the crash", async () => {
    const log = new LogModel();
    for (let i = 0; i < 10; i++) log.add(i);
    await liveAndCrash(log, 3, 3, 10);
    fs.renameSync(file, `${file}.1`);

    await nextLife(log);

    assert.deepEqual(
      [fs.readFileSync(`${file}.1`, "utf8"), fs.readFileSync(file, "utf8")],
      ["0\n1\n2\n3\n4\n5\n", "6\n7\n8\n9\n"],
    );
  });

  it("loses nothing when the file was replaced by one with the same lines", async () => {
    const log = new LogModel();
    for (let i = 0; i < 6; i++) log.add("1");
    await liveAndCrash(log, 2, 0, 10);
    fs.writeFileSync(`${file}.edited`, "1\n1\n1\n1\n1\n");
    fs.renameSync(`${file}.edited`, file);

    await nextLife(log);

    assert.equal(fs.readFileSync(file, "utf8"), "1\n".repeat(5 + 4));
  });

  it("loses nothing when the file was deleted, or truncated", async () => {
    for (const harm of [(): void => fs.unlinkSync(file), (): void => fs.truncateSync(file)]) {
      fs.rmSync(file, { force: true });
      const log = new LogModel();
      for (let i = 0; i < 10; i++) log.add(i);
      await liveAndCrash(log, 3, 3, 10);
      harm();

      await nextLife(log);

      assert.equal(fs.readFileSync(file, "utf8"), "3\n4\n5\n6\n7\n8\n9\n");
    }
  });

  it("writes no line whose place could not be stored, and says why", async () => {
    const log = new LogModel();
    const target = new FileTarget({ file });
    const full = Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
    const signal = new AbortController().signal;
    log.add("1");
    await target.open(signal, { ...log.resume(), note: () => Promise.reject(full) });

    await assert.rejects(log.deliver(target), {
      name: "TargetUnavailableError",
      code: "ENOSPC",
      message: /place .* could not be stored in the queue: no space left/,
    });
    await target.close();

    assert.equal(fs.readFileSync(file, "utf8"), "");
  });

  it("takes lines for its own after a crash before any cursor was stored", async () => {
    const log = new LogModel();
    for (let i = 0; i < 6; i++) log.add("1");
    fs.writeFileSync(file, "1\n1\n");
    const target = new FileTarget({ file });
    await log.open(target);
    await log.deliver(target, 3);
    await target.close();
    log.crash();

    await nextLife(log);

    assert.equal(fs.readFileSync(file, "utf8"), "1\n".repeat(2 + 6));
  });

  it("presumes nothing of a state it cannot read", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 80 }), async (state) => {
        fs.rmSync(file, { force: true });
        const log = new LogModel();
        log.add("x");
        const target = new FileTarget({ file });
        await target.open(new AbortController().signal, { ...log.resume(), state });
        await log.deliverAll(target);
        await target.close();

        assert.equal(fs.readFileSync(file, "utf8"), "x\n");
      }),
      { numRuns: 50 },
    );
  });
});
