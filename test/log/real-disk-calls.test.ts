/**
 * A process whose file calls fail for real (EMFILE, EIO, short writes) or take their time: it goes on in memory, says it
 * loudly, mends itself when the cause is gone, and loses nothing, though it is killed at once afterwards.
 */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { FaultyCalls, whyNoFaultyCalls } from "../support/faulty-calls.js";
import { FaultyDisk, whyNoFaultyDisk } from "../support/faulty-disk.js";
import { skipBecause } from "../support/skip.js";
import { awayTarget } from "../support/store-rig.js";
import { tempFolder } from "../support/temp-folder.js";
import type { Order, Told } from "./real-disk-child.js";

/** After some failures the next round is up to 16 s away. */
const MENDED_WITHIN_MS = 60_000;
/** Descriptors that the process may have: it needs some thirty for itself. */
const DESCRIPTORS = 80;
/** A machine with other work may stop anyone for a while. Whoever waited for that card would do so for seconds. */
const LONGEST_SEND_MS = 1_000;

describe("a process whose file calls fail", () => {
  let folder: string;
  let child: ChildProcess | undefined;
  let disk: FaultyDisk | undefined;

  afterEach(async () => {
    if (child?.exitCode === null && child.signalCode === null) await kill();
    await disk?.remove();
    disk = undefined;
  });

  async function start(env: Readonly<Record<string, string>> = {}, command?: readonly string[]): Promise<void> {
    mkdirSync(folder, { recursive: true });
    const node = [process.execPath, "--import", "tsx", join(__dirname, "real-disk-child.ts"), folder];
    const [program, ...args] = [...(command ?? []), ...node] as [string, ...string[]];
    child = fork(args[0]!, args.slice(1), {
      execPath: program,
      execArgv: [],
      env: { ...process.env, ...env },
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    await once(child, "message");
  }

  async function ask(order: Order): Promise<Told> {
    child!.send(order);
    const [told] = (await once(child!, "message")) as [Told];
    return told;
  }

  async function kill(): Promise<void> {
    child!.kill("SIGKILL");
    await once(child!, "exit");
  }

  /** Asks until it is so. */
  async function until(what: string, isSo: (told: Told) => boolean): Promise<Told> {
    const giveUpAtMs = performance.now() + MENDED_WITHIN_MS;
    for (;;) {
      const told = await ask({ kind: "report" });
      if (isSo(told)) return told;
      if (performance.now() > giveUpAtMs) throw new Error(`not ${what}: ${JSON.stringify(told)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  const isSafe = (told: Told): boolean => told.unwritten === 0 && told.unsynced === 0 && told.storage === undefined;

  /** Kills it, opens the queue as the next life does, and expects each record once and in order, and no loss told. */
  async function expectAll(count: number): Promise<void> {
    await until("safe", isSafe);
    await kill();
    const losses: unknown[] = [];
    const flush = DEFAULT_FLUSH;
    const runtime = await Runtime.open({
      folder,
      flush,
      onEvent: (event) => void (event.kind === "loss" && losses.push(event)),
    });
    const exporter = await runtime.openExporter({ id: "a", target: awayTarget(), flush });
    const found: number[] = [];
    for await (const { bytes } of exporter.queue.consumer("a").unconfirmed()) {
      found.push((JSON.parse(bytes.toString()) as { n: number }).n);
    }
    await runtime.close();
    assert.deepEqual(
      found,
      Array.from({ length: count }, (_, n) => n),
    );
    assert.deepEqual(losses, []);
  }

  const segments = (): string[] => readdirSync(join(folder, "logs", "a")).filter((name) => name.endsWith(".seg"));

  it("because it has no descriptors left, for want of which others' connections fail too", async () => {
    folder = join(tempFolder(), "queue");
    await start({}, ["sh", "-c", `ulimit -n ${DESCRIPTORS}; exec "$0" "$@"`]);
    await ask({ kind: "hog", on: true });

    await ask({ kind: "send", count: 200 });
    const during = await until("said", ({ storage }) => storage === "EMFILE");
    await ask({ kind: "send", count: 50 });
    await ask({ kind: "hog", on: false });

    assert.deepEqual([during.waiting, during.refused], [200, 0]);
    const after = await until("over", ({ troubles }) => troubles.at(-1) === "");
    assert.deepEqual(after.troubles, ["EMFILE", ""], "told once, and once that it is over");
    await expectAll(250);
  });

  describe("on purpose", function () {
    let calls: FaultyCalls;

    before(function () {
      const why = whyNoFaultyCalls();
      if (why !== undefined) skipBecause(this, why);
    });

    beforeEach(async () => {
      const own = tempFolder();
      folder = join(own, "queue");
      calls = FaultyCalls.build(folder, own);
      await start(calls.env);
    });

    it("in fdatasync: what may have been lost is written again, elsewhere, before it leaves memory", async () => {
      await ask({ kind: "send", count: 100 });
      await until("safe", isSafe);
      const before = segments();
      calls.fail({ call: "fsync", error: "EIO" });

      await ask({ kind: "send", count: 100 });
      const during = await until("said", ({ storage }) => storage === "EIO");
      calls.mend();

      assert.ok(during.unwritten + during.unsynced > 100 * 100, JSON.stringify(during));
      await until("safe", isSafe);
      const added = segments().filter((name) => !before.includes(name));
      assert.ok(added.length >= 1, "the file whose sync had failed is not gone on with");
      await expectAll(200);
    });

    it("in the fdatasync of a folder, too", async () => {
      calls.fail({ call: "fsync", error: "EIO", after: 1 }); // the file's succeeds, and that of its folder fails

      await ask({ kind: "send", count: 100 });
      await until("said", ({ storage }) => storage === "EIO");
      calls.mend();

      await expectAll(100);
    });

    it("in write", async () => {
      calls.fail({ call: "write", error: "EIO" });

      await ask({ kind: "send", count: 100 });
      const during = await until("said", ({ storage }) => storage === "EIO");
      await ask({ kind: "send", count: 100 });
      calls.mend();

      assert.equal(during.refused, 0);
      await expectAll(200);
    });

    it("because the disk becomes read-only under open files", async () => {
      await ask({ kind: "send", count: 100 });
      await until("safe", isSafe);
      calls.fail({ call: "write", error: "EROFS" }, { call: "open", error: "EROFS" }, { call: "fsync", error: "EIO" });

      await ask({ kind: "send", count: 100 });
      await until("said", ({ storage }) => storage === "EROFS");
      calls.mend();

      await expectAll(200);
    });

    it("by taking half of the bytes each time, without an error", async () => {
      calls.shorten();

      await ask({ kind: "send", count: 300 });

      const after = await until("safe", isSafe);
      assert.deepEqual(after.troubles, [], "it is nothing to trouble anyone with");
      await expectAll(300);
    });

    it("with half of a write on a full disk, and the rest when there is room", async () => {
      calls.shorten({ call: "write", error: "ENOSPC", after: 1 });

      await ask({ kind: "send", count: 300 });
      await until("said", ({ storage }) => storage === "ENOSPC");
      calls.mend();

      await expectAll(300);
    });
  });

  it("by taking their time, on a card of 40 writes a second: no sender waits for it", async function () {
    const why = whyNoFaultyDisk();
    if (why !== undefined) skipBecause(this, why);
    disk = await FaultyDisk.ext4("32m");
    folder = join(disk.folder, "queue");
    await start();
    try {
      await disk.throttle(40, child!.pid!);
    } catch (error) {
      skipBecause(this, `the disk cannot be throttled: ${(error as Error).message.trim()}`);
    }
    const longest: number[] = [];

    let accepted = 0;
    for (const endMs = performance.now() + 3_000; performance.now() < endMs; accepted += 20) {
      longest.push((await ask({ kind: "send", count: 20 })).longestSendMs);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }

    const during = await ask({ kind: "report" });
    assert.ok(longest.at(-1)! < LONGEST_SEND_MS, `a send took ${longest.at(-1)} ms`);
    assert.deepEqual([during.refused, during.troubles], [0, []], "slow is not broken");
    await expectAll(accepted);
  });
});
