/**
 * A process that leaves a folder behind as only a kill does: run by `cli.test.ts`. Argument: the folder. Says "ready"
 * when everything it has accepted is written, and then waits for its end.
 */
import { decode } from "../../src/codec.js";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { DELIVERED } from "../../src/targets/target.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { awayTarget, send } from "../support/store-rig.js";

async function run(folder: string): Promise<void> {
  const flush = DEFAULT_FLUSH;
  const runtime = await Runtime.open({ folder, flush });
  const alone = await runtime.openExporter({ id: "alone", target: awayTarget(), flush });
  const sendTo = (from: number, to: number): void => {
    for (let n = from; n < to; n++) send(alone, { n, at: new Date(0) }, { topic: "t" });
  };
  sendTo(0, 80);
  await alone.queue.log.sync();
  // What is written now tells that the first 80 are on the disk for sure.
  sendTo(80, 100);

  const pool = await runtime.openPool({ id: "pool", flush });
  for (const id of ["a", "b"]) await pool.addMember({ id, target: awayTarget(), flush });
  for (let n = 0; n < 10; n++) pool.send(n, { "a/file": "of a" }, () => undefined);
  pool.queue.log.consumer("a").skip(0, 4);

  const picky = new ScriptedTarget();
  const no = { kind: "rejected", cause: { code: "121", message: "no" } } as const;
  picky.script = (batch) => ({ outcomes: batch.map((record) => (decode(record) === 1 ? no : DELIVERED)) });
  // Nothing of it waits in the end, and nothing did so for long enough to be written, however slow the disk is.
  const unwritten = { ...flush, writeIntervalMs: 600_000, syncIntervalMs: 600_000 };
  const rejecting = await runtime.openExporter({ id: "rejecting", target: picky, flush: unwritten });
  for (let n = 0; n < 3; n++) send(rejecting, n);
  const [member] = rejecting.members.values();
  while (member!.deadLetters.count < 1) await new Promise((resolve) => setTimeout(resolve, 10));

  for (const { queue } of [alone, pool]) await queue.log.sync();
  process.stdout.write("ready\n");
  setInterval(() => undefined, 60_000);
}

void run(process.argv[2]!);
