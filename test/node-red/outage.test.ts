/** Files that cannot be written, and folders that are taken: the node says why, records wait, and go on by themselves. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FaultyDisk, whyNoFaultyDisk } from "../support/faulty-disk.js";
import { type NodeRed, startNodeRed } from "../support/node-red.js";
import { skipBecause } from "../support/skip.js";
import { exporterNode, heard, linesOf, listeners, runtimeNode, send, TAB, until } from "./flows.js";

const NOBODY = 65_534;
/** The exporter looks again after a wait that grows with the outage. */
const RESUMES_WITHIN_MS = 60_000;

describe("a file that cannot be written", function () {
  this.timeout(150_000);
  let folder: string;
  let nodeRed: NodeRed | undefined;
  let disk: FaultyDisk | undefined;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "resilient-outage-"));
  });
  afterEach(async () => {
    await nodeRed?.remove();
    await disk?.remove();
    disk = undefined;
    rmSync(folder, { recursive: true, force: true });
  });

  /** Sends three records while the cause is there, checks what is shown, mends it, and waits for the lines. */
  async function waitsAndResumes(file: string, shown: RegExp, logged: RegExp, mend: () => unknown): Promise<void> {
    const running = nodeRed!;
    await running.deploy([TAB, runtimeNode(), exporterNode({ file }), ...listeners(["exporter"])]);
    await send(running, { payload: 1 }, { payload: 2 }, { payload: 3 });
    await until("an outage on show", async () => shown.test((await heard(running)).statuses.at(-1) ?? ""));
    await running.waitFor(logged);
    const { completed, caught } = await heard(running);
    assert.deepEqual([completed, caught], [[1, 2, 3], []], "accepted, and no error for the sender");

    await mend();
    await until("the lines", () => linesOf(file).length >= 3, RESUMES_WITHIN_MS);
    await until("a good status", async () => (await heard(running)).statuses.at(-1) === "green dot ready");
    assert.deepEqual(linesOf(file), [1, 2, 3]);
  }

  it("waits for its folder, where that is not to be made", async () => {
    nodeRed = await startNodeRed("5");
    const file = join(folder, "later", "out.jsonl");

    await waitsAndResumes(file, /yellow ring target down, 3 waiting/, /its folder does not exist/, () =>
      mkdirSync(join(folder, "later")),
    );
  });

  it("waits for room on its disk, and does not leave half a line there", async function () {
    const why = whyNoFaultyDisk();
    if (why !== undefined) skipBecause(this, why);
    const small = (disk = await FaultyDisk.small("256k"));
    writeFileSync(join(small.folder, "filler"), Buffer.alloc(256 * 1024));
    nodeRed = await startNodeRed("5");

    await waitsAndResumes(join(small.folder, "out.jsonl"), /yellow ring target down, 3 waiting/, /full|no space/i, () =>
      rmSync(join(small.folder, "filler")),
    );
  });

  it("waits for the permission to write there", async function () {
    if (spawnSync("setpriv", ["--version"]).error !== undefined)
      skipBecause(this, "there is no setpriv on this machine");
    if (process.getuid?.() !== 0) skipBecause(this, "needs root, to give a folder to somebody else");
    const locked = join(folder, "locked");
    mkdirSync(locked, { mode: 0o755 });
    chownSync(locked, NOBODY, NOBODY);
    // Root without its right to pass over permissions.
    nodeRed = await startNodeRed("5", { startedBy: ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] });

    await waitsAndResumes(join(locked, "out.jsonl"), /ring .*3 waiting/, /permission denied/, () =>
      chownSync(locked, 0, 0),
    );
  });
});

describe("a queue folder whose runtime is gone", () => {
  it("is told of, and delivered from once a runtime has it again", async () => {
    const nodeRed = await startNodeRed("5");
    try {
      const exporter = exporterNode({ file: "later/out.jsonl", flush: { durability: "everyMessage" } });
      await nodeRed.deploy([TAB, runtimeNode(), exporter, ...listeners(["exporter"])]);
      await send(nodeRed, { payload: 1 });
      await until("it to be on the disk", async () => (await heard(nodeRed)).completed.length === 1);

      const from = nodeRed.lines.length;
      await nodeRed.deploy([TAB, runtimeNode({ id: "other" })]);
      const line = await nodeRed.waitFor("holds records", from);
      const folder = /(\S+) holds records/.exec(line)![1]!;
      assert.equal(folder, join(nodeRed.userDir, "resilient-exporters", "rt"));

      mkdirSync(join(nodeRed.userDir, "later"));
      await nodeRed.deploy([TAB, runtimeNode({ id: "other", folder }), { ...exporter, runtime: "other" }]);
      await until("its line", () => linesOf(join(nodeRed.userDir, "later", "out.jsonl")).length === 1);
    } finally {
      await nodeRed.remove();
    }
  });
});

describe("a queue folder that another Node-RED has", () => {
  it("is taken over by itself when that one is killed, with what waits in it", async () => {
    const folder = mkdtempSync(join(tmpdir(), "resilient-takeover-"));
    const file = join(folder, "later", "out.jsonl");
    const flow = [
      TAB,
      runtimeNode({ folder: join(folder, "queue") }),
      // What it accepted is on the disk once it says so.
      exporterNode({ file, flush: { durability: "everyMessage" } }),
      ...listeners(["exporter"]),
    ];
    const first = await startNodeRed("5");
    const second = await startNodeRed("5");
    try {
      await first.deploy(flow);
      await send(first, { payload: { of: "the first" } });
      await until("an outage on show", async () => /1 waiting/.test((await heard(first)).statuses.at(-1) ?? ""));
      await second.deploy(flow);
      await second.waitFor("in use by another process");
      await until("it to be written", async () => (await heard(first)).completed.length === 1);

      await first.kill9();
      await until("the other to have it", async () => /1 waiting/.test((await heard(second)).statuses.at(-1) ?? ""));
      await send(second, { payload: { of: "the second" } });
      mkdirSync(join(folder, "later"));
      await until("both lines", () => linesOf(file).length === 2, RESUMES_WITHIN_MS);

      assert.deepEqual(linesOf(file), [{ of: "the first" }, { of: "the second" }]);
    } finally {
      await first.remove();
      await second.remove();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
