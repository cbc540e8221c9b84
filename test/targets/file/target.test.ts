import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import fsExtra from "fs-extra";
import { FileTarget } from "../../../src/targets/file/target.js";
import type { FileTargetOptions } from "../../../src/targets/file/options.js";
import { tempFolder } from "../../support/temp-folder.js";
import { LogModel } from "./log-model.js";

const signal = new AbortController().signal;

describe("FileTarget", () => {
  let folder: string;
  let file: string;
  let log: LogModel;
  const targets: FileTarget[] = [];

  function newTarget(options: Partial<FileTargetOptions> = {}): FileTarget {
    const target = new FileTarget({ file, ...options });
    targets.push(target);
    return target;
  }

  async function openTarget(options: Partial<FileTargetOptions> = {}): Promise<FileTarget> {
    const target = newTarget(options);
    await log.open(target);
    return target;
  }

  const content = (at = file): string => fs.readFileSync(at, "utf8");

  beforeEach(() => {
    folder = tempFolder();
    file = join(folder, "data.log");
    log = new LogModel();
  });

  afterEach(async () => {
    for (const target of targets.splice(0)) await target.close();
  });

  it("writes text as it is, objects as JSON, bytes as they are, a line each", async () => {
    const target = await openTarget();
    for (const payload of ["warm 21.5 °C", { t: 21.5 }, 'say "hi"\nthere', Buffer.from("raw"), 7, [1, 2], true, ""])
      log.add(payload);

    await log.deliverAll(target);

    assert.equal(content(), 'warm 21.5 °C\n{"t":21.5}\nsay "hi"\nthere\nraw\n7\n[1,2]\ntrue\n\n');
  });

  it("writes what is not JSON as JSON holds it, in the text of a date without quotes", async () => {
    const target = await openTarget();
    log.add(new Date(0));
    log.add({ at: new Date(0), raw: Buffer.from("x") });

    await log.deliverAll(target);

    assert.equal(content(), '1970-01-01T00:00:00.000Z\n{"at":"1970-01-01T00:00:00.000Z","raw":"eA=="}\n');
  });

  it("can be read by others at any time: nothing is kept back", async () => {
    const target = await openTarget();
    log.add("a");

    await log.deliver(target);

    assert.equal(content(), "a\n");
  });

  it("makes missing folders", async () => {
    file = join(folder, "a/b/c.log");
    log.add("x");

    await log.deliverAll(await openTarget());

    assert.equal(content(), "x\n");
  });

  it("appends behind what is there, and ends someone's unfinished last line first", async () => {
    fs.writeFileSync(file, "old\nhalf");
    log.add("new");

    await log.deliverAll(await openTarget());

    assert.equal(content(), "old\nhalf\nnew\n");
  });

  it("keeps its state within the 64 bytes of a cursor", async () => {
    log.add("x");

    await log.deliverAll(await openTarget());

    assert.ok(log.state!.length <= 64, `${log.state!.length} bytes`);
  });

  describe("when the file cannot be written", () => {
    it("says that the folder is missing, and goes on by itself once it is there", async () => {
      file = join(folder, "missing/data.log");
      const target = newTarget({ createFolders: false });
      log.add("x");

      await assert.rejects(log.open(target), { name: "TargetUnavailableError", code: "file-folder-missing" });
      await assert.rejects(target.probe(signal), { code: "file-folder-missing", message: new RegExp(file) });
      fs.mkdirSync(join(folder, "missing"));
      await target.probe(signal);
      await log.open(target);
      await log.deliverAll(target);

      assert.equal(content(), "x\n");
    });

    it("says that it is a folder", async () => {
      fs.mkdirSync(file);

      await assert.rejects(openTarget(), {
        code: "file-is-folder",
        message: `Cannot write to ${file}: it is a folder.`,
      });
      await assert.rejects(newTarget().probe(signal), { code: "file-is-folder" });
    });

    it("refuses a pipe at once, where an open would wait for ever", async () => {
      execFileSync("mkfifo", [file]);

      await assert.rejects(openTarget(), { code: "file-not-regular" });
    });

    it("says that a part of the path is a file", async () => {
      fs.writeFileSync(file, "");
      file = join(file, "x.log");

      await assert.rejects(openTarget(), { code: "file-folder-missing" });
    });

    it("says that the name is too long", async () => {
      file = join(folder, `${"x".repeat(300)}.log`);

      await assert.rejects(openTarget(), { code: "file-name-too-long" });
    });

    it("keeps what has failed in a folder that vanished for later", async () => {
      file = join(folder, "sub/data.log");
      const target = await openTarget({ createFolders: false }).catch(() => undefined);
      assert.equal(target, undefined);
      fs.mkdirSync(join(folder, "sub"));
      const second = await openTarget({ createFolders: false });
      log.add("1");
      await log.deliver(second);
      fs.rmSync(join(folder, "sub"), { recursive: true });
      log.add("2");

      await assert.rejects(log.deliver(second), { code: "file-folder-missing" });
      fs.mkdirSync(join(folder, "sub"));
      await log.open(second);
      await log.deliverAll(second);

      assert.equal(content(), "2\n");
    });
  });

  describe("when others touch the file", () => {
    it("goes on in a new file when it was moved away", async () => {
      const target = await openTarget();
      log.add("1");
      await log.deliver(target);
      fs.renameSync(file, `${file}.1`);
      log.add("2");

      await log.deliver(target);
      await target.settle();

      assert.deepEqual([content(`${file}.1`), content()], ["1\n", "2\n"]);
    });

    it("goes on in a new file when it was deleted", async () => {
      const target = await openTarget();
      log.add("1");
      await log.deliver(target);
      fs.unlinkSync(file);
      log.add("2");

      await log.deliver(target);

      assert.equal(content(), "2\n");
    });

    it("goes on at the end of a file that was truncated", async () => {
      const target = await openTarget();
      log.add("1");
      await log.deliver(target);
      fs.truncateSync(file, 0);
      log.add("2");

      await log.deliver(target);

      assert.equal(content(), "2\n");
    });

    it("leaves lines of others where they are", async () => {
      const target = await openTarget();
      log.add("1");
      await log.deliver(target);
      fs.appendFileSync(file, "theirs");
      log.add("2");

      await log.deliver(target);

      assert.equal(content(), "1\ntheirs\n2\n");
    });

    it("does not open a file per batch, and keeps no descriptor of replaced ones after a sync", async () => {
      const target = await openTarget();
      for (let i = 0; i < 20; i++) {
        log.add(String(i));
        await log.deliver(target);
        fs.renameSync(file, `${file}.${i}`);
      }
      await target.settle();

      const open = fs.readdirSync("/proc/self/fd").filter((fd) => {
        try {
          return fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder);
        } catch {
          return false;
        }
      });
      assert.ok(open.length <= 1, `${open.length} open`);
    });
  });

  describe("closing", () => {
    it("may be asked twice and while a delivery is under way", async () => {
      const target = await openTarget();
      for (let i = 0; i < 1_000; i++) log.add({ i });

      const delivery = log.deliver(target);
      await Promise.all([target.close(), target.close()]);
      await delivery;

      assert.equal(content().split("\n").length, 1_001);
      log.add("late");
      await assert.rejects(log.deliver(target), { name: "TargetUnavailableError" });
    });

    it("still lets what it wrote be synced", async () => {
      const target = await openTarget();
      log.add("1");
      await log.deliver(target);
      await target.close();

      await target.settle();
    });
  });
});

describe("A sync that fails", () => {
  const { fdatasync, write } = fsExtra;
  const calls = fsExtra as { -readonly [K in "fdatasync" | "write"]: unknown };

  afterEach(() => {
    Object.assign(calls, { fdatasync, write });
  });

  it("is not taken for done by whoever asks while it is under way", async () => {
    const target = new FileTarget({ file: join(tempFolder(), "data.log") });
    const log = new LogModel();
    await log.open(target);
    log.add("x");
    await log.deliver(target);
    const order: string[] = [];
    calls.fdatasync = async (fd: number) => {
      await fdatasync(fd);
      order.push("synced");
    };

    await Promise.all([target.settle(), target.settle().then(() => order.push("believed"))]);
    await target.close();

    assert.deepEqual(order, ["synced", "believed"]);
  });

  it("is told, and what it may have lost is written again before the next one is believed", async () => {
    const file = join(tempFolder(), "data.log");
    const log = new LogModel();
    const target = new FileTarget({ file });
    await log.open(target);
    log.add("safe");
    await log.deliver(target);
    await target.settle();
    log.add("in doubt");
    await log.deliver(target);
    const rewritten: string[] = [];
    calls.fdatasync = () => {
      calls.fdatasync = fdatasync;
      return Promise.reject(Object.assign(new Error("i/o error"), { code: "EIO", errno: -5 }));
    };
    calls.write = (fd: number, bytes: Buffer, offset: number, length: number, position: number | null) => {
      rewritten.push(bytes.toString("utf8", offset, offset + length));
      return write(fd, bytes, offset, length, position);
    };

    await assert.rejects(target.settle(), {
      code: "disk-error",
      message: `Cannot write to ${file}: the disk reports an error.`,
    });
    await target.settle();
    await target.settle();
    await target.close();

    assert.deepEqual(rewritten, ["in doubt\n"]);
    assert.equal(fs.readFileSync(file, "utf8"), "safe\nin doubt\n");
  });
});
