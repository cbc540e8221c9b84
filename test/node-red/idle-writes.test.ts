/** While the target is up, the queue folder is left alone: every call that names or writes a file in it is counted. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { chaosFlow } from "../chaos/flow.js";
import { FileSubject } from "../chaos/file-subject.js";
import { Witness } from "../chaos/witness.js";
import { type NodeRed, startNodeRed } from "../support/node-red.js";
import { skipBecause } from "../support/skip.js";
import { tempFolder } from "../support/temp-folder.js";
import { until } from "./flows.js";

/** Longer than two sync intervals: what is done once in each of them would show. */
const WATCHED_MS = 10_500;
const MESSAGES_PER_SECOND = 500;
/** Of those, under strace and on a machine with other work. */
const FEWEST = 1_000;
/** Calls that create, change or remove a file, or sync one. */
const CALLS = "openat,creat,write,pwrite64,writev,pwritev,fsync,fdatasync,rename,unlink,mkdir,rmdir,truncate,ftruncate";

describe("a queue whose target is up", () => {
  let nodeRed: NodeRed | undefined;
  let witness: Witness | undefined;

  before(function () {
    if (spawnSync("strace", ["-V"]).error !== undefined) skipBecause(this, "there is no strace on this machine");
  });
  afterEach(async () => {
    await nodeRed?.remove();
    await witness?.close();
  });

  it("does not write a byte to its folder, nor create a file in it", async () => {
    const folder = tempFolder();
    const queue = join(folder, "queue");
    mkdirSync(queue);
    const subject = await FileSubject.in(folder);
    witness = await Witness.listen();
    const { port } = witness;
    const flows = chaosFlow({
      exporter: subject.exporter,
      witnessPort: port,
      messagesPerSecond: MESSAGES_PER_SECOND,
      // The second of the default may pass while a machine with other work writes a line: then the queue has to.
      runtime: { folder: queue, flush: { writeIntervalMs: 4_000 } },
    });
    nodeRed = await startNodeRed("4.1", { flows });
    const file = join(folder, "real", "out.jsonl");
    await until("the first lines", () => existsSync(file) && statSync(file).size > 10_000);
    const before = witness.count;

    const calls = await watched(nodeRed.pid, join(folder, "calls.txt"));

    const accepted = witness.count - before;
    const touching = calls.filter((line) => line.includes(queue) && !isReading(line));
    assert.ok(accepted > FEWEST, `only ${accepted} records were accepted`);
    assert.ok(
      calls.some((line) => line.includes(file)),
      "strace saw the target being written",
    );
    assert.deepEqual(touching, []);
    process.stdout.write(`    ${accepted} records, ${calls.length} calls on files, none of them in the queue folder\n`);
  });
});

/** The calls of a process, each with the paths behind its descriptors. */
async function watched(pid: number, file: string): Promise<string[]> {
  const strace = spawn("strace", ["-f", "-qq", "-y", "-s", "0", "-o", file, "-e", `trace=${CALLS}`, "-p", String(pid)]);
  await wait(WATCHED_MS);
  strace.kill("SIGINT");
  await once(strace, "close");
  return readFileSync(file, "utf8").split("\n");
}

function isReading(line: string): boolean {
  return line.includes("openat(") && !/O_CREAT|O_WRONLY|O_RDWR|O_TRUNC/.test(line);
}
