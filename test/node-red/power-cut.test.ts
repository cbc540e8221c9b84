/** The plug is pulled on a real Node-RED: its queue and its output file are on an ext4 that loses what was not synced. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { FileSubject } from "../chaos/file-subject.js";
import { chaosFlow, withoutSource } from "../chaos/flow.js";
import { Ledger } from "../chaos/ledger.js";
import { Witness } from "../chaos/witness.js";
import { FaultyDisk, whyNoFaultyDisk } from "../support/faulty-disk.js";
import { type NodeRed, startNodeRed } from "../support/node-red.js";
import { skipBecause } from "../support/skip.js";
import { until } from "./flows.js";

/** What is accepted is synced within five seconds; what the sync itself and a machine with other work may add. */
const SYNCED_WITHIN_MS = 5_000;
const MARGIN_MS = 3_000;
const LIFE_MS = SYNCED_WITHIN_MS + MARGIN_MS + 2_500;

describe("a power cut", function () {
  this.timeout(180_000);
  let disk: FaultyDisk | undefined;
  let witness: Witness | undefined;
  let nodeRed: NodeRed | undefined;

  before(function () {
    const why = whyNoFaultyDisk();
    if (why !== undefined) skipBecause(this, why);
  });
  afterEach(async () => {
    await nodeRed?.remove();
    await witness?.close();
    await disk?.remove();
  });

  it("takes no record that was synced, whether its target was up or away, and doubles none", async () => {
    disk = await FaultyDisk.ext4("64m");
    witness = await Witness.listen();
    const queue = join(disk.folder, "queue");
    mkdirSync(queue);
    const subject = await FileSubject.in(disk.folder);
    execFileSync("sync", ["-f", disk.folder]); // the folders are the user's, and older than the cut
    const { port } = witness;
    const flow = (messagesPerSecond: number): ReturnType<typeof chaosFlow> =>
      chaosFlow({ exporter: subject.exporter, witnessPort: port, messagesPerSecond, runtime: { folder: queue } });
    nodeRed = await startNodeRed("5", { flows: flow(500) });
    const ledger = new Ledger();
    const check = (): ReturnType<Ledger["check"]> =>
      ledger.check(withoutTorn(subject.arrived(), ledger.lives), subject);

    for (const away of ["never", "at the end", "all the time"]) {
      if (away === "all the time") await subject.hold(0);
      await wait(LIFE_MS / 2);
      if (away === "at the end") await subject.hold(0.9);
      await wait(LIFE_MS / 2);
      const cutAtMs = performance.now();
      await disk.cutPower();
      await nodeRed.kill9();
      await disk.restorePower();
      ledger.endLife(await witness.take(), cutAtMs, SYNCED_WITHIN_MS + MARGIN_MS);
      await subject.release();
      if (away !== "all the time") await nodeRed.restart();
    }
    await restartWithoutSource(nodeRed, flow(500));
    let verdict = await check();
    await until(
      "everything that was synced",
      async () => (verdict = await check()).violations.length === 0,
      60_000,
    ).catch(() => undefined); // the assertion below says what is missing

    assert.deepEqual(verdict.violations, [], nodeRed.lines.slice(-40).join("\n"));
    assert.ok(verdict.checked > 1_000, `only ${verdict.checked} records could be checked`);
    process.stdout.write(`    3 power cuts, ${verdict.checked} records checked, ${verdict.arrived} arrived\n`);
  });
});

/**
 * A line of a record that was delivered at once, and so never in the log, is lost with a cut that comes before the sync
 * of its file. Of what is left of it nobody can tell whose it was, so it stays: at most one such line for each cut.
 */
async function* withoutTorn(arrived: AsyncIterable<unknown>, cuts: number): AsyncIterable<unknown> {
  let torn = 0;
  for await (const value of arrived) {
    if (typeof value === "string" && isTorn(value) && ++torn <= cuts) continue;
    yield value;
  }
}

/** The beginning of a record of the source, or NULs where the disk kept the length and lost the bytes. */
function isTorn(line: string): boolean {
  return line.includes("\0") || BEGINNING.startsWith(line.slice(0, BEGINNING.length));
}

const BEGINNING = '{"n":';

async function restartWithoutSource(nodeRed: NodeRed, flow: ReturnType<typeof chaosFlow>): Promise<void> {
  await writeFile(join(nodeRed.userDir, "flows.json"), JSON.stringify(withoutSource(flow)));
  await nodeRed.restart();
}
