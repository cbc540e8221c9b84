import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { FileTarget } from "../../../src/targets/file/target.js";
import { seededRandom } from "../../support/fake-clock.js";
import { FaultyDisk, whyNoFaultyDisk } from "../../support/faulty-disk.js";
import { skipBecause } from "../../support/skip.js";
import { LogModel } from "./log-model.js";

const signal = new AbortController().signal;

describe("A file on a real disk that fails", () => {
  let disk: FaultyDisk | undefined;
  let file: string;
  let log: LogModel;
  let target: FileTarget;

  before(function () {
    const why = whyNoFaultyDisk();
    if (why !== undefined) skipBecause(this, why);
  });

  beforeEach(() => {
    log = new LogModel();
  });

  afterEach(async () => {
    await target?.close();
    await disk?.remove();
    disk = undefined;
  });

  async function begin(on: Promise<FaultyDisk>): Promise<void> {
    disk = await on;
    file = join(disk.folder, "data.log");
    await newLife();
  }

  async function newLife(): Promise<void> {
    target = new FileTarget({ file });
    await log.open(target);
  }

  const lines = (): string[] => fs.readFileSync(file, "utf8").split("\n").slice(0, -1);
  const texts = (count = Infinity): string[] => log.records.slice(0, count).map(({ bytes }) => bytes.toString());

  function add(count: number): void {
    for (let i = 0; i < count; i++) log.add({ n: log.records.length, pad: "x".repeat((i * 37) % 900) });
  }

  it("keeps the lines that fit when it is full, says so, and goes on exactly there when there is room again", async () => {
    await begin(FaultyDisk.small("256k"));
    add(1_000);

    await log.deliver(target);
    const fitted = lines();
    await assert.rejects(log.deliver(target), {
      name: "TargetUnavailableError",
      code: "disk-full",
      message: `Cannot write to ${file}: the disk is full.`,
    });
    await assert.rejects(target.probe(signal), { code: "disk-full" });
    assert.ok(fitted.length > 50 && fitted.length < 1_000);
    assert.ok(fs.readFileSync(file, "utf8").endsWith("\n"), "no unfinished line is left");
    assert.deepEqual(lines(), fitted);
    await disk!.grow("4m");
    await target.probe(signal);
    await log.open(target);
    await log.deliverAll(target);

    assert.deepEqual(lines(), texts());
  });

  it("has each line once when the process dies while it is full", async () => {
    await begin(FaultyDisk.small("64k"));
    add(300);
    await log.deliver(target);
    await target.close();
    log.crash();
    await disk!.grow("4m");

    await newLife();
    await log.deliverAll(target);

    assert.deepEqual(lines(), texts());
  });

  it("is left as it is when there is no room for the copy without its oldest lines", async () => {
    disk = await FaultyDisk.small("256k");
    file = join(disk.folder, "data.log");
    target = new FileTarget({ file, maxBytes: 200_000 });
    await log.open(target);
    for (let n = 0; n < 3_000; n++) log.add(`${n} ${"x".repeat(90)}`);

    await assert.rejects(log.deliverAll(target, 500), { code: "disk-full" });
    const kept = lines();
    assert.deepEqual(fs.readdirSync(disk.folder), ["data.log"]);
    await disk.grow("4m");
    await log.open(target);
    await log.deliverAll(target, 500);

    assert.ok(kept.length > 1_000);
    assert.equal(lines().at(-1)!.split(" ")[0], "2999");
    assert.ok(fs.statSync(file).size <= 200_000);
  });

  it("tells a read-only disk from a full one, and goes on once it can be written", async () => {
    await begin(FaultyDisk.small("256k"));
    log.add("x");
    await disk!.makeReadOnly().catch(() => undefined); // refused while the file is open for writing
    await target.close();
    await disk!.makeReadOnly();
    target = new FileTarget({ file });

    await assert.rejects(log.open(target), { code: "disk-read-only" });
    await assert.rejects(target.probe(signal), { code: "disk-read-only" });
    await disk!.makeWritable();
    await target.probe(signal);
    await log.open(target);
    await log.deliverAll(target);

    assert.deepEqual(lines(), ["x"]);
  });

  it("has each line exactly once after power cuts at any time", async () => {
    await begin(FaultyDisk.ext4("16m"));
    const random = seededRandom(7);
    for (let cut = 0; cut < 6; cut++) {
      for (let step = 0; step < 8; step++) {
        add(1 + Math.floor(random() * 60));
        await log.deliver(target, 1 + Math.floor(random() * 80));
        if (random() < 0.35) {
          // As the log does it: the file first, then the cursor.
          await target.settle();
          log.store();
        }
      }
      await disk!.cutPower();
      await assert.rejects(log.deliver(target), { code: "disk-error" });
      await target.close();
      log.crash();
      await disk!.restorePower();
      await newLife();
    }

    await log.deliverAll(target);

    assert.deepEqual(lines(), texts());
  });

  it("has what a failed sync had lost, once a sync has succeeded and the power is cut", async () => {
    await begin(FaultyDisk.thin("6m"));
    for (let n = 0; n < 200; n++) log.add(`${n} ${randomBytes(60_000).toString("base64")}`);
    await log.deliverAll(target, 20);
    await assert.rejects(target.settle(), { name: "TargetUnavailableError" });

    execFileSync("mount", ["-o", "remount,size=64m", `${disk!.folder}.backing`]);
    await target.settle();
    await disk!.cutPower();
    await target.close().catch(() => undefined); // the descriptors are gone with the disk
    await disk!.restorePower();

    const expected = log.records.map(({ bytes }) => JSON.parse(bytes.toString()) as string);
    assert.deepEqual(
      lines().map((line) => line.slice(0, 20)),
      expected.map((line) => line.slice(0, 20)),
    );
    assert.ok(lines().every((line, n) => line === expected[n]));
  });
});
