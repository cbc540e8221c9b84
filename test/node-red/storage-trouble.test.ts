/** The disk of the queue is full or read-only under a real Node-RED: it says so, goes on in memory, and recovers by itself. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { FaultyDisk, whyNoFaultyDisk } from "../support/faulty-disk.js";
import { type NodeRed, startNodeRed } from "../support/node-red.js";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
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

/** Beyond what the disk holds, and far below what memory may. */
const DISK = "2m";
const RECORDS = 60;
const RECORD_BYTES = 60_000;
/** A failing disk is left alone for longer and longer: half a minute at most. */
const RECOVERS_WITHIN_MS = 90_000;

interface Line {
  readonly n: number;
}

for (const version of NODE_RED_VERSIONS) {
  describe(`trouble with the queue's disk in Node-RED ${version}`, function () {
    this.timeout(180_000);
    let disk: FaultyDisk;
    let nodeRed: NodeRed;
    let out: string;

    before(async function () {
      const why = whyNoFaultyDisk();
      if (why !== undefined) skipBecause(this, why);
      nodeRed = await startNodeRed(version);
    });
    beforeEach(async () => {
      disk = await FaultyDisk.small(DISK);
      const runtime = runtimeNode({ folder: join(disk.folder, "queues") });
      const exporter = exporterNode({ file: "later/out.jsonl" });
      await nodeRed.deploy([TAB, runtime, exporter, ...listeners(), ...notes(), eventsNode()]);
      out = join(nodeRed.userDir, "later", "out.jsonl");
    });
    afterEach(async function () {
      if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
      await nodeRed.deploy([TAB]);
      await disk.remove();
      rmSync(join(nodeRed.userDir, "later"), { recursive: true, force: true });
    });
    after(() => nodeRed?.remove());

    const events = async (kind: string): Promise<readonly { readonly [property: string]: unknown }[]> =>
      (await noted(nodeRed)).events.filter((event) => event.kind === kind);
    const shown = async (): Promise<string> => (await heard(nodeRed)).statuses.at(-1) ?? "";
    const sendFrom = async (first: number, count: number, bytes: number): Promise<void> => {
      for (let n = first; n < first + count; n += 10) {
        const numbers = Array.from({ length: Math.min(10, first + count - n) }, (_, i) => n + i);
        // Random, so that it takes the room that it says.
        const pad = (): string => randomBytes((bytes * 3) / 4).toString("base64");
        await send(nodeRed, ...numbers.map((number) => ({ payload: { n: number, pad: pad() } })));
      }
    };

    /** Says so within seconds, keeps all in memory, and has everything in order when the disk takes it again. */
    async function survives(cause: RegExp, sent: number, mend: () => Promise<void>): Promise<void> {
      await until("an event that tells of it", async () => (await events("storageTrouble")).length > 0);
      const [trouble] = await events("storageTrouble");
      assert.match(String(trouble!["message"]), cause);
      assert.deepEqual(trouble!["exporter"], { id: "exporter", name: "", type: "resilient-file" });
      await until("a status that tells of it", async () => (await shown()).startsWith("red ring queue disk"));
      await sendFrom(sent, 10, 100);
      await until("messages to be accepted all the same", async () => {
        return (await heard(nodeRed)).completed.length === sent + 10;
      });

      await mend();
      await until(
        "an event that tells the end",
        async () => (await events("storageMended")).length > 0,
        RECOVERS_WITHIN_MS,
      );
      await until("an ordinary status", async () => !(await shown()).includes("disk"));
      await nodeRed.kill9(); // what it had in memory only is on the disk by now
      mkdirSync(join(nodeRed.userDir, "later"), { recursive: true });
      await nodeRed.restart();
      await until("all of it", () => linesOf(out).length >= sent + 10, 60_000);

      assert.deepEqual(
        linesOf(out).map((line) => (line as Line).n),
        Array.from({ length: sent + 10 }, (_, n) => n),
      );
    }

    it("goes on in memory while the disk is full, and loses nothing once there is room again", async () => {
      await sendFrom(0, RECORDS, RECORD_BYTES);

      await survives(/no space left/i, RECORDS, () => disk.grow("64m"));
    });

    it("goes on in memory while the disk is read-only, and loses nothing once it can be written again", async () => {
      await disk.makeReadOnly();
      await sendFrom(0, 20, 100);

      await survives(/read-only/i, 20, () => disk.makeWritable());
    });
  });
}
