import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { FileTarget } from "../../../src/targets/file/target.js";
import { tempFolder } from "../../support/temp-folder.js";
import { LogModel } from "./log-model.js";

const signal = new AbortController().signal;

/** A real disk of 256 KiB, where this user may mount one. */
function mountSmallDisk(): string | undefined {
  const folder = tempFolder();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], { stdio: "ignore" });
    return folder;
  } catch {
    return undefined; // Not root, or a container without the right: only the tests without a mount run.
  }
}

function unmount(folder: string): void {
  execFileSync("umount", ["-l", folder]);
}

const probe = mountSmallDisk();
if (probe !== undefined) unmount(probe);

describe("A full disk", () => {
  if (probe === undefined) return;
  let disk: string;
  let file: string;
  let log: LogModel;
  let target: FileTarget;

  beforeEach(async () => {
    disk = mountSmallDisk()!;
    file = join(disk, "data.log");
    log = new LogModel();
    target = new FileTarget({ file });
    await log.open(target);
  });

  afterEach(async () => {
    await target.close();
    unmount(disk);
  });

  function lines(): string[] {
    return fs.readFileSync(file, "utf8").split("\n").slice(0, -1);
  }

  function add(count: number): void {
    for (let i = 0; i < count; i++) log.add({ n: log.records.length, pad: "x".repeat((i * 37) % 900) });
  }

  it("keeps the lines that fit, says so, and goes on exactly there when there is room again", async () => {
    fs.writeFileSync(join(disk, "ballast"), Buffer.alloc(100_000));
    add(500);

    await log.deliver(target);
    const fitted = lines();
    await assert.rejects(log.deliver(target), {
      name: "TargetUnavailableError",
      code: "disk-full",
      message: `Cannot write to ${file}: the disk is full.`,
    });
    await assert.rejects(target.probe(signal), { code: "disk-full" });
    assert.ok(fitted.length > 50 && fitted.length < 500);
    assert.ok(fs.readFileSync(file, "utf8").endsWith("\n"), "no unfinished line is left");
    assert.deepEqual(lines(), fitted);
    fs.unlinkSync(join(disk, "ballast"));
    await target.probe(signal);
    await log.open(target);
    await log.deliver(target);

    const expected = log.records.slice(0, lines().length).map(({ bytes }) => bytes.toString());
    assert.ok(expected.length > fitted.length);
    assert.deepEqual(lines(), expected);
  });

  it("is survived by a crash: each line once", async () => {
    fs.writeFileSync(join(disk, "ballast"), Buffer.alloc(200_000));
    add(150);
    await log.deliver(target);
    await target.close();
    log.crash();
    fs.unlinkSync(join(disk, "ballast"));

    target = new FileTarget({ file });
    await log.open(target);
    await log.deliverAll(target);

    assert.deepEqual(
      lines(),
      log.records.map(({ bytes }) => bytes.toString()),
    );
  });
});

describe("A read-only disk", () => {
  if (probe === undefined) return;

  it("is told from a full one, and delivery resumes once it can be written", async () => {
    const disk = mountSmallDisk()!;
    try {
      const file = join(disk, "data.log");
      const log = new LogModel();
      const target = new FileTarget({ file });
      log.add("x");
      execFileSync("mount", ["-o", "remount,ro", disk]);

      await assert.rejects(log.open(target), { code: "disk-read-only" });
      await assert.rejects(target.probe(signal), { code: "disk-read-only" });
      execFileSync("mount", ["-o", "remount,rw", disk]);
      await target.probe(signal);
      await log.open(target);
      await log.deliverAll(target);
      await target.close();

      assert.equal(fs.readFileSync(file, "utf8"), "x\n");
    } finally {
      unmount(disk);
    }
  });
});
