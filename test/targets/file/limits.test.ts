import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import type { FileTargetOptions } from "../../../src/targets/file/options.js";
import { FileTarget } from "../../../src/targets/file/target.js";
import { FakeClock } from "../../support/fake-clock.js";
import { tempFolder } from "../../support/temp-folder.js";
import { LogModel } from "./log-model.js";

describe("The limits of a file", () => {
  let folder: string;
  let file: string;
  let log: LogModel;
  let clock: FakeClock;
  const targets: FileTarget[] = [];

  async function openTarget(options: Partial<FileTargetOptions>): Promise<FileTarget> {
    const target = new FileTarget({ file, ...options }, clock);
    targets.push(target);
    await log.open(target);
    return target;
  }

  const lines = (at = file): string[] => fs.readFileSync(at, "utf8").split("\n").slice(0, -1);
  const addNumbers = (from: number, to: number): void => {
    for (let n = from; n < to; n++) log.add(n);
  };
  const numbers = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, i) => String(from + i));

  beforeEach(() => {
    folder = tempFolder();
    file = join(folder, "data.log");
    log = new LogModel();
    clock = new FakeClock(Date.now());
  });

  afterEach(async () => {
    for (const target of targets.splice(0)) await target.close();
  });

  it("include the lines that were there before", async () => {
    fs.writeFileSync(file, "old\n".repeat(50));
    const target = await openTarget({ maxLines: 100, whenFull: "refuseNew" });
    addNumbers(0, 100);

    await log.deliverAll(target);

    assert.deepEqual(lines(), [...Array<string>(50).fill("old"), ...numbers(0, 50)]);
    assert.equal(target.fill?.lines, 100);
  });

  it("count each line break of a text", async () => {
    const target = await openTarget({ maxLines: 3, whenFull: "refuseNew" });
    log.add("a\nb");
    log.add("c\nd");
    log.add("e");

    await log.deliverAll(target);

    assert.deepEqual(
      log.rejections.map(({ code }) => code),
      ["file-full", "file-full"],
    );
    assert.deepEqual(lines(), ["a", "b"]);
  });

  it("hand records that a full file refuses to the dead letters, and do not retry them", async () => {
    const target = await openTarget({ maxLines: 1, whenFull: "refuseNew" });
    addNumbers(0, 1_000);

    await log.deliverAll(target);

    assert.deepEqual(lines(), ["0"]);
    assert.equal(log.rejections.length, 999);
    assert.equal(log.rejections[0]!.message, `${file} has reached its limit and takes no more lines.`);
  });

  it("take lines again when someone has emptied a full file", async () => {
    const target = await openTarget({ maxLines: 2, whenFull: "refuseNew" });
    addNumbers(0, 3);
    await log.deliverAll(target);
    fs.truncateSync(file);
    log.add("new");

    await log.deliverAll(target);

    assert.deepEqual(lines(), ["new"]);
  });

  it("let the oldest lines go, a tenth at a time, and go on writing the file that others read", async () => {
    const target = await openTarget({ maxLines: 100 });
    const inodes = new Set<number>();
    for (let n = 0; n < 300; n++) {
      log.add(n);
      await log.deliverAll(target);
      inodes.add(fs.statSync(file).ino);
      assert.ok(lines().length <= 100);
    }

    assert.deepEqual(lines(), numbers(300 - lines().length, 300));
    assert.ok(lines().length >= 90);
    assert.ok(inodes.size <= 1 + 200 / 10, `${inodes.size} files for 200 lines too many`);
  });

  it("hold in bytes too", async () => {
    const target = await openTarget({ maxBytes: 1_000 });
    for (let n = 0; n < 500; n++) {
      log.add(n);
      if (n % 7 === 0) await log.deliverAll(target);
    }
    await log.deliverAll(target);

    assert.ok(fs.statSync(file).size <= 1_000);
    assert.deepEqual(lines(), numbers(500 - lines().length, 500));
  });

  it("hold for a batch many times as large as the file", async () => {
    const target = await openTarget({ maxLines: 7 });
    addNumbers(0, 1_000);

    await log.deliverAll(target);

    assert.deepEqual(lines(), numbers(1_000 - lines().length, 1_000));
  });

  it("reject a record that is larger than its file may be, alone", async () => {
    const target = await openTarget({ maxBytes: 10 });
    log.add("0123456789");
    log.add("ok");

    await log.deliverAll(target);

    assert.deepEqual(
      log.rejections.map(({ offset, code }) => ({ offset, code })),
      [{ offset: 0, code: "file-record-too-large" }],
    );
    assert.deepEqual(lines(), ["ok"]);
  });

  it("keep mode and a link to the file when the oldest lines go", async () => {
    const real = join(folder, "real.log");
    fs.writeFileSync(real, "");
    fs.chmodSync(real, 0o640);
    fs.symlinkSync(real, file);
    const target = await openTarget({ maxLines: 10 });

    addNumbers(0, 15);
    await log.deliverAll(target, 5);

    assert.ok(fs.lstatSync(file).isSymbolicLink());
    assert.equal(fs.statSync(real).mode & 0o777, 0o640);
    assert.deepEqual(lines(real), numbers(15 - lines(real).length, 15));
    assert.deepEqual(fs.readdirSync(folder).sort(), ["data.log", "real.log"]);
  });

  it("never cut a CSV row with a line break in it", async () => {
    const target = await openTarget({ format: "csv", csv: { columns: ["n", "text"] }, maxLines: 12 });
    for (let n = 0; n < 30; n++) {
      log.add({ n, text: "two\nlines" });
      await log.deliverAll(target);
    }

    const text = fs.readFileSync(file, "utf8");
    assert.match(text, /^n,text\n(\d+,"two\nlines"\n){5,6}$/);
    assert.ok(text.endsWith('29,"two\nlines"\n'));
  });

  it("have a file rewritten once for a batch of which it can only hold the end", async () => {
    const target = await openTarget({ maxLines: 3 });
    addNumbers(0, 2);
    await log.deliverAll(target);
    const { notes } = log;
    addNumbers(2, 500);

    await log.deliverAll(target);

    assert.deepEqual(lines(), numbers(497, 500));
    assert.equal(log.notes - notes, 1);
  });

  it("take a letter of two bytes, one of which is that of a quote, for no quote", async () => {
    const options = { format: "csv", csv: { columns: ["text"], header: false }, encoding: "utf16le" } as const;
    const target = await openTarget({ ...options, maxLines: 4 });
    for (const text of ["\u2022", "b", "c", "d", "e"]) {
      log.add({ text });
      await log.deliverAll(target);
    }

    assert.equal(fs.readFileSync(file, "utf16le"), "b\nc\nd\ne\n");
  });

  it("empty the file once at a deploy, and not again after a restart of the same deploy", async () => {
    fs.writeFileSync(file, "old\n");
    const first = await openTarget({ mode: "overwrite" });
    addNumbers(0, 1);
    await log.deliverAll(first);
    fs.renameSync(file, `${file}.moved`);
    addNumbers(1, 2);
    await log.deliverAll(first);
    await first.close();
    const second = await openTarget({ mode: "overwrite", continues: true });
    addNumbers(2, 3);

    await log.deliverAll(second);

    assert.deepEqual([lines(`${file}.moved`), lines()], [["0"], ["1", "2"]]);
  });

  describe("with files set aside", () => {
    it("fill each file and number the old ones, and keep so many of them", async () => {
      const target = await openTarget({ maxLines: 10, whenFull: "rotate", rotate: { keepFiles: 2 } });
      addNumbers(0, 45);

      await log.deliverAll(target);
      await target.idle();

      assert.deepEqual(fs.readdirSync(folder).sort(), ["data.log", "data.log.3", "data.log.4"]);
      assert.deepEqual(
        [lines(`${file}.3`), lines(`${file}.4`), lines()],
        [numbers(20, 30), numbers(30, 40), numbers(40, 45)],
      );
    });

    it("leave a file alone that a record names as if it had been set aside", async () => {
      const target = new FileTarget(
        { root: folder, maxLines: 2, whenFull: "rotate", rotate: { keepFiles: 1, gzip: true } },
        clock,
      );
      targets.push(target);
      await log.open(target);
      for (let n = 0; n < 7; n++) {
        log.add(n, { file: "10.0.0" });
        if (n === 0) log.add("theirs", { file: "10.0.0.1" });
        await log.deliverAll(target);
      }
      await target.idle();

      assert.deepEqual(fs.readdirSync(folder).sort(), ["10.0.0", "10.0.0.1", "10.0.0.4.gz"]);
      assert.deepEqual(lines(join(folder, "10.0.0.1")), ["theirs"]);
    });

    it("compress the old ones in the background", async () => {
      const target = await openTarget({ maxLines: 10, whenFull: "rotate", rotate: { gzip: true } });
      addNumbers(0, 25);

      await log.deliverAll(target);
      await target.settle();
      await target.idle();

      assert.deepEqual(fs.readdirSync(folder).sort(), ["data.log", "data.log.1.gz", "data.log.2.gz"]);
      assert.equal(
        gunzipSync(fs.readFileSync(`${file}.2.gz`)).toString(),
        numbers(10, 20)
          .map((n) => `${n}\n`)
          .join(""),
      );
      assert.equal(target.tidyFailure, undefined);
    });

    it("go on writing, and tell, when the old ones cannot be compressed", async () => {
      fs.mkdirSync(`${file}.1.gz.tmp`);
      const target = await openTarget({ maxLines: 1, whenFull: "rotate", rotate: { gzip: true } });
      addNumbers(0, 2);

      await log.deliverAll(target);
      await target.idle();

      assert.deepEqual([lines(`${file}.1`), lines()], [["0"], ["1"]]);
      assert.match(target.tidyFailure!.message, /it is a folder/);
    });

    it("set a file aside when it is old, but never an empty one", async () => {
      const target = await openTarget({ whenFull: "rotate", rotate: { everyMs: 3_600_000 } });
      await clock.advance(3_600_001);
      log.add("a");
      await log.deliverAll(target);
      log.add("b");
      await log.deliverAll(target);
      await clock.advance(3_600_001);
      log.add("c");

      await log.deliverAll(target);

      assert.deepEqual(fs.readdirSync(folder).sort(), ["data.log", "data.log.1"]);
      assert.deepEqual(lines(), ["c"]);
    });

    it("set a file aside in time though the clock was a year ahead when it was begun", async () => {
      clock.setWall(Date.now() + 365 * 86_400_000);
      const target = await openTarget({ whenFull: "rotate", rotate: { everyMs: 3_600_000 } });
      log.add("a");
      await log.deliverAll(target);
      clock.setWall(Date.now());
      log.add("b");
      await log.deliverAll(target);
      await clock.advance(3_600_001);
      log.add("c");

      await log.deliverAll(target);

      assert.deepEqual([lines(`${file}.1`), lines()], [["a", "b"], ["c"]]);
    });

    it("do not set a file aside for its age while the clock has not been set", async () => {
      clock.isWallTrusted = false;
      const target = await openTarget({ whenFull: "rotate", rotate: { everyMs: 1 } });
      for (const text of ["a", "b"]) {
        await clock.advance(3_600_000);
        log.add(text);
        await log.deliverAll(target);
      }

      assert.deepEqual(lines(), ["a", "b"]);
    });

    it("let a sync run at any time meanwhile", async () => {
      const target = await openTarget({ maxLines: 5, whenFull: "rotate", rotate: { keepFiles: 3, gzip: true } });
      const syncs: Promise<void>[] = [];
      for (let n = 0; n < 60; n++) {
        log.add(n);
        const delivery = log.deliverAll(target);
        syncs.push(target.settle());
        await delivery;
      }

      await Promise.all(syncs);
      await target.settle();
      await target.idle();

      assert.equal(target.tidyFailure, undefined);
      assert.deepEqual(lines(), numbers(55, 60));
    });

    it("give a record larger than the limit a file of its own", async () => {
      const target = await openTarget({ maxBytes: 5, whenFull: "rotate" });
      log.add("a");
      log.add("much too long");
      log.add("b");

      await log.deliverAll(target);

      assert.deepEqual([lines(`${file}.1`), lines(`${file}.2`), lines()], [["a"], ["much too long"], ["b"]]);
    });
  });
});
