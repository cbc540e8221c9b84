/** Opening a queue in which many records wait, and draining it into a file: how long, and in how much memory. */
import { fork } from "node:child_process";
import { cpSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { AwayTarget, benchFolder, openEngine, sendAll } from "../engine.js";
import { atMost, type Figure, type Measured, skipped } from "../figure.js";
import { median, perSecond } from "../measure.js";
import { readings100 } from "../readings.js";
import type { Reopened } from "../workers/reopen.js";

const MIB = 1024 * 1024;
const MOST_OPEN_MS = 100;
const MOST_MEMORY_MIB = 32;

async function reopen(count: number, lives: number): Promise<Measured[]> {
  if (!existsSync("/proc/self/status")) {
    return [skipped("ms", `<= ${MOST_OPEN_MS}`, "no /proc"), skipped("MiB", `<= ${MOST_MEMORY_MIB}`, "no /proc")];
  }
  const folder = benchFolder();
  const { exporter, close } = await openEngine({ target: new AwayTarget(), folder, flush: { overflow: "refuse" } });
  await sendAll(exporter, readings100(), count);
  await close();

  const idle: Reopened[] = [];
  const full: Reopened[] = [];
  for (let life = 0; life < lives; life++) {
    idle.push(await inAProcess(benchFolder()));
    const copy = benchFolder();
    cpSync(folder, copy, { recursive: true });
    full.push(await inAProcess(copy, join(copy, "out.jsonl")));
    rmSync(copy, { recursive: true });
  }
  if (full.some(({ waiting }) => waiting !== count)) throw new Error("records are missing after reopening");
  const of = (runs: readonly Reopened[], field: keyof Reopened): number => median(runs.map((run) => run[field]));
  const [idleBytes, peakBytes] = [of(idle, "peakBytes"), of(full, "peakBytes")];
  const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;
  const drained = `drained to a file at ${perSecond((count / of(full, "drainMs")) * 1_000)}`;
  return [
    atMost(of(full, "openMs"), MOST_OPEN_MS, "ms", `an empty queue: ${of(idle, "openMs").toFixed(1)} ms`),
    atMost(
      (peakBytes - idleBytes) / MIB,
      MOST_MEMORY_MIB,
      "MiB more",
      `most resident ${mib(peakBytes)}, idle ${mib(idleBytes)}; ${drained}`,
    ),
  ];
}

function inAProcess(folder: string, file?: string): Promise<Reopened> {
  return new Promise((resolve, reject) => {
    const child = fork(join(__dirname, "..", "workers", "reopen.ts"), file === undefined ? [folder] : [folder, file], {
      execArgv: ["--import", "tsx"],
    });
    let found: Reopened | undefined;
    child.on("message", (message) => (found = message as Reopened));
    child.on("error", reject);
    child.on("exit", (code) => {
      if (found !== undefined && code === 0) resolve(found);
      else reject(new Error(`reopening ended with ${code}`));
    });
  });
}

export const figures: readonly Figure[] = [
  { name: "reopen-1m", what: "opens with a million records queued, then drains", measure: () => reopen(1e6, 3) },
  { name: "reopen-10m", what: "opens with ten million records queued, then drains", measure: () => reopen(1e7, 1) },
];
