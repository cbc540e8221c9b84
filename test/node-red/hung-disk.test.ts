/** The disk of one exporter's file hangs under a real Node-RED: whoever writes to it or syncs it waits, and nobody else. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { FaultyDisk, whyNoFaultyDisk } from "../support/faulty-disk.js";
import { type Flow, type NodeRed, startNodeRed } from "../support/node-red.js";
import { skipBecause } from "../support/skip.js";
import {
  TAB,
  eventsNode,
  exporterNode,
  heard,
  linesOf,
  listeners,
  noted,
  notes,
  runtimeNode,
  send,
  until,
} from "./flows.js";

/** Node-RED gives a node 15 s to close, and then says so. */
const MAX_DEPLOY_MS = 12_000;

describe("a disk that hangs under the file of one exporter", () => {
  let disk: FaultyDisk;
  let nodeRed: NodeRed;

  before(async function () {
    const why = whyNoFaultyDisk();
    if (why !== undefined) skipBecause(this, why);
    disk = await FaultyDisk.ext4("32m");
    nodeRed = await startNodeRed("5");
  });
  afterEach(async function () {
    if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
  });
  after(async () => {
    await disk?.thaw().catch(() => undefined); // it may be well already
    await nodeRed?.remove();
    await disk?.remove();
  });

  it("is shown, keeps no other exporter and no deploy waiting, and gets each line once when it is well again", async () => {
    const hung = join(disk.folder, "hung.jsonl");
    const other = join(nodeRed.userDir, "other.jsonl");
    const safe = exporterNode({ id: "other", file: other, flush: { durability: "everyMessage" } });
    const flow = (name: string): Flow => {
      const rest = [
        TAB,
        runtimeNode(),
        exporterNode({ name, file: hung }),
        safe,
        ...listeners(),
        ...notes(),
        eventsNode(),
      ];
      // What comes for the one goes to the other as well.
      return rest.map((node) => (node.id === "from-observers" ? { ...node, wires: [["exporter", "other"]] } : node));
    };
    await nodeRed.deploy(flow(""));
    const shown = async (): Promise<string> => (await heard(nodeRed)).statuses.at(-1) ?? "";
    await send(nodeRed, { payload: 1 });
    await until("the first line", () => linesOf(hung).length === 1 && linesOf(other).length === 1);

    await disk.freeze();
    await send(nodeRed, { payload: 2 }, { payload: 3 });
    await until("the lines of the other", () => linesOf(other).length === 3);
    await until("a status that tells of it", async () => (await shown()).startsWith("yellow ring no answer"));
    await until("an event that tells of it", async () => {
      return (await noted(nodeRed)).events.some(({ kind, code }) => kind === "targetSilent" && code === "no-answer");
    });
    const startedMs = performance.now();
    await nodeRed.deploy(flow("renamed"), "nodes");
    const tookMs = performance.now() - startedMs;
    await send(nodeRed, { payload: 4 });
    await until("one more line of the other", () => linesOf(other).length === 4);
    await disk.thaw();
    await until("all lines", () => linesOf(hung).length >= 4);
    await until("an ordinary status", async () => (await shown()).startsWith("green"));

    assert.ok(tookMs < MAX_DEPLOY_MS, `the deploy took ${Math.round(tookMs)} ms`);
    assert.deepEqual(linesOf(hung), [1, 2, 3, 4]);
    assert.deepEqual(linesOf(other), [1, 2, 3, 4]);
    assert.ok(!nodeRed.lines.some((line) => line.includes("Close timed out")));
  });
});
