import assert from "node:assert/strict";
import * as fs from "node:fs";
import { dirname, join, sep } from "node:path";
import fc from "fast-check";
import type { FileTargetOptions } from "../../../src/targets/file/options.js";
import { FileTarget } from "../../../src/targets/file/target.js";
import { tempFolder } from "../../support/temp-folder.js";
import { LogModel } from "./log-model.js";

describe("A file name in a record", () => {
  let outside: string;
  let root: string;
  let log: LogModel;
  const targets: FileTarget[] = [];

  async function deliver(options: Partial<FileTargetOptions> = { root }): Promise<FileTarget> {
    const target = new FileTarget(options);
    targets.push(target);
    await log.open(target);
    await log.deliverAll(target);
    return target;
  }

  beforeEach(() => {
    outside = tempFolder();
    root = join(outside, "root");
    fs.mkdirSync(root);
    log = new LogModel();
  });

  afterEach(async () => {
    for (const target of targets.splice(0)) await target.close();
  });

  it("leads to a file below the root, whose folders are made", async () => {
    log.add("x", { file: "2025/01/a.log" });
    log.add("y", { file: "./2025//01/a.log" });

    await deliver();

    assert.equal(fs.readFileSync(join(root, "2025/01/a.log"), "utf8"), "x\ny\n");
  });

  for (const name of [
    "../x",
    "a/../../x",
    "..",
    "/etc/x",
    "C:\\x",
    "\\\\host\\x",
    "a\0b",
    "a\nb",
    "",
    "a/",
    ".",
    "x".repeat(256),
  ]) {
    it(`is refused: ${JSON.stringify(name.slice(0, 20))}`, async () => {
      log.add("x", { file: name });

      await deliver();

      assert.deepEqual(
        log.rejections.map(({ code }) => code),
        ["file-name-refused"],
      );
      assert.deepEqual(fs.readdirSync(outside), ["root"]);
      assert.deepEqual(fs.readdirSync(root), []);
    });
  }

  it("never leads out of the root, whatever it is", async () => {
    const part = fc.oneof(
      fc.constantFrom("..", ".", "", "~", "a", "\\", "%2e%2e", "…", "\u2024\u2024"),
      fc.string({ maxLength: 5 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(part, { maxLength: 6 }), async (parts) => {
        fs.rmSync(root, { recursive: true });
        fs.mkdirSync(root);
        log = new LogModel();
        log.add("x", { file: parts.join("/") });

        await deliver();

        assert.deepEqual(fs.readdirSync(outside), ["root"]);
      }),
      { numRuns: 100 },
    );
  });

  it("does not go through a link, be it the file or any folder of its path", async () => {
    fs.writeFileSync(join(outside, "secret"), "");
    fs.mkdirSync(join(outside, "elsewhere"));
    fs.symlinkSync(join(outside, "secret"), join(root, "link"));
    fs.symlinkSync(join(outside, "elsewhere"), join(root, "folder"));
    fs.symlinkSync("missing", join(root, "dangling"));
    for (const file of ["link", "folder/x", "folder/sub/x", "dangling"]) log.add("x", { file });

    await deliver();

    assert.deepEqual(
      log.rejections.map(({ code }) => code),
      Array<string>(4).fill("file-name-refused"),
    );
    assert.equal(fs.readFileSync(join(outside, "secret"), "utf8"), "");
    assert.deepEqual(fs.readdirSync(join(outside, "elsewhere")), []);
    assert.equal(fs.existsSync(join(root, "missing")), false);
  });

  it("may lead through a root that is itself a link: the user chose it", async () => {
    fs.symlinkSync(root, join(outside, "root-link"));
    log.add("x", { file: "a.log" });

    await deliver({ root: join(outside, "root-link") });

    assert.equal(fs.readFileSync(join(root, "a.log"), "utf8"), "x\n");
  });

  it("means nothing to an exporter whose file is fixed by now, and is needed where there is none", async () => {
    log.add("x", { file: "a.log" });
    await deliver({ file: join(root, "fixed.log") });
    log.add("x");
    await deliver({ root });

    assert.equal(fs.readFileSync(join(root, "fixed.log"), "utf8"), "x\n");
    assert.deepEqual(
      log.rejections.map(({ code }) => code),
      ["file-name-missing"],
    );
  });

  it("that cannot be written holds its file, and the others go on", async () => {
    fs.mkdirSync(join(root, "folder"));
    log.add("x", { file: "folder" });
    const target = new FileTarget({ root });
    targets.push(target);
    await log.open(target);
    const { signal } = new AbortController();

    const answer = await target.deliver(log.waiting(), signal);

    assert.equal(answer.consequence?.kind, "hold");
    assert.deepEqual(
      answer.outcomes.map(({ kind }) => kind),
      ["retry"],
    );
  });

  it("is written although the file of the other records cannot be", async () => {
    const file = join(root, "folder");
    fs.mkdirSync(file);
    log.add("x", { file: "a.log" });

    await deliver({ root, file });

    assert.equal(fs.readFileSync(join(root, "a.log"), "utf8"), "x\n");
  });

  it("costs no descriptor for each of two hundred files, and each gets its lines", async () => {
    for (let i = 0; i < 400; i++) log.add(i, { file: `${i % 200}.log` });

    const target = await deliver();
    await target.settle();

    const open = fs.readdirSync("/proc/self/fd").filter((fd) => {
      try {
        return fs.readlinkSync(`/proc/self/fd/${fd}`).startsWith(root + sep);
      } catch {
        return false;
      }
    });
    assert.ok(open.length <= 32, `${open.length} open`);
    for (let i = 0; i < 200; i += 19)
      assert.equal(fs.readFileSync(join(root, `${i}.log`), "utf8"), `${i}\n${i + 200}\n`);
    assert.ok(log.state!.length <= 4_096);
    assert.equal(dirname(root), outside);
  });
});
