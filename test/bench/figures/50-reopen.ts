/**
 * Opening a queue in which many records wait, and draining it into a file: how long, in a process of its own, and in how
 * much memory, in a real Node-RED beside the same Node-RED whose exporter has nothing to do.
 */
import { fork } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Flow, type NodeRed, startNodeRed } from "../../support/node-red.js";
import { AwayTarget, benchFolder, openEngine, sendAll } from "../engine.js";
import { atMost, type Figure, type Measured, skipped } from "../figure.js";
import { median, pause, perSecond } from "../measure.js";
import { readings100 } from "../readings.js";
import type { Reopened } from "../workers/reopen.js";

const MIB = 1024 * 1024;
const MOST_OPEN_MS = 100;
const MOST_MEMORY_MIB = 32;
/** The queue's id is that of the node that finds it again. */
const EXPORTER_ID = "bench";
/** So long without a change of the queue folder, and something hangs. */
const STALLED_MS = 60_000;

async function reopen(count: number, lives: number): Promise<Measured[]> {
  if (!existsSync("/proc/self/status")) {
    return [skipped("ms", `<= ${MOST_OPEN_MS}`, "no /proc"), skipped("MiB more", `<= ${MOST_MEMORY_MIB}`, "no /proc")];
  }
  const folder = benchFolder();
  const diskBytes = count * 100; // three times what they take: nothing may be given up
  const { exporter, close } = await openEngine({
    target: new AwayTarget(),
    folder,
    diskBytes,
    flush: { overflow: "refuse" },
    id: EXPORTER_ID,
  });
  await sendAll(exporter, readings100(), count);
  await close();

  return [await openingOf(folder, count, lives), await memoryOf(folder, count, lives)];
}

async function openingOf(folder: string, count: number, lives: number): Promise<Measured> {
  const empty: Reopened[] = [];
  const full: Reopened[] = [];
  for (let life = 0; life < lives; life++) {
    empty.push(await inAProcess(benchFolder()));
    const copy = benchFolder();
    cpSync(folder, copy, { recursive: true });
    full.push(await inAProcess(copy, join(copy, "out.jsonl")));
    rmSync(copy, { recursive: true });
  }
  if (full.some(({ waiting }) => waiting !== count)) throw new Error("records are missing after reopening");
  const of = (runs: readonly Reopened[], field: keyof Reopened): number => median(runs.map((run) => run[field]));
  const drained = `drained to a file at ${perSecond((count / of(full, "drainMs")) * 1_000)}`;
  return atMost(
    of(full, "openMs"),
    MOST_OPEN_MS,
    "ms",
    `an empty queue: ${of(empty, "openMs").toFixed(1)} ms; ${drained}`,
  );
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

/** Most memory resident, in bytes: in the whole life, and after the flows had started. */
interface Peaks {
  readonly life: number;
  readonly running: number;
}

async function memoryOf(folder: string, count: number, lives: number): Promise<Measured> {
  const reach = `<= ${MOST_MEMORY_MIB}`;
  const idle: Peaks[] = [];
  const full: Peaks[] = [];
  try {
    for (let life = 0; life < lives; life++) {
      full.push(await inNodeRed(folder, count));
      idle.push(await inNodeRed(undefined, 0));
    }
  } catch (error) {
    if (full.length > 0) throw error;
    return skipped("MiB more", reach, `no Node-RED: ${(error as Error).message.split("\n")[0]}`);
  }
  const of = (runs: readonly Peaks[], field: keyof Peaks): number => median(runs.map((run) => run[field]));
  const more = Math.max(of(full, "life") - of(idle, "life"), of(full, "running") - of(idle, "running"));
  const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;
  const peer =
    `Node-RED 4.1 with the queue: most resident ${mib(of(full, "life"))} (${mib(of(full, "running"))} after its start), ` +
    `idle ${mib(of(idle, "life"))} (${mib(of(idle, "running"))}); the larger difference counts`;
  return atMost(more / MIB, MOST_MEMORY_MIB, "MiB more", peer);
}

/** One life of a Node-RED with one exporter, until its queue is empty; without a queue for as long as that takes with one. */
async function inNodeRed(queue: string | undefined, count: number): Promise<Peaks> {
  const folder = benchFolder();
  const own = join(folder, "queue");
  if (queue === undefined) mkdirSync(own);
  else cpSync(queue, own, { recursive: true });
  const file = join(folder, "out.jsonl");
  const nodeRed = await startNodeRed("4.1", { flows: flowOf(own, file) });
  try {
    const atStart = peakBytes(nodeRed.pid);
    writeFileSync(`/proc/${nodeRed.pid}/clear_refs`, "5"); // the peak begins anew, see proc(5)
    if (queue === undefined) await pause(IDLE_MS);
    else await drained(nodeRed, file, count);
    const running = peakBytes(nodeRed.pid);
    return { life: Math.max(atStart, running), running };
  } finally {
    await nodeRed.remove();
    rmSync(folder, { recursive: true });
  }
}

/** Resolves when so many lines are in the file. */
async function drained(nodeRed: NodeRed, file: string, count: number): Promise<void> {
  const readings = readings100().map((reading) => JSON.stringify(reading).length + 1);
  let bytes = 0;
  for (let i = 0; i < count; i++) bytes += readings[i % readings.length]!;
  let seen = -1;
  let changedMs = performance.now();
  for (;;) {
    const size = existsSync(file) ? statSync(file).size : 0;
    if (size === bytes) return;
    if (size !== seen) changedMs = performance.now();
    seen = size;
    if (performance.now() - changedMs > STALLED_MS) {
      throw new Error(`the file stays at ${size} of ${bytes} bytes: ${nodeRed.lines.slice(-5).join(" | ")}`);
    }
    await pause(50);
  }
}

const IDLE_MS = 5_000;

function flowOf(queue: string, file: string): Flow {
  return [
    { id: "tab", type: "tab", label: "bench" },
    { id: "runtime", type: "resilient-runtime", name: "", folder: queue, budgets: {}, flush: {} },
    {
      id: EXPORTER_ID,
      type: "resilient-file",
      z: "tab",
      name: "",
      runtime: "runtime",
      file,
      fileType: "str",
      folder: "",
      createFolders: false,
      data: "payload",
      dataType: "msg",
      control: false,
      flush: {},
      wires: [],
    },
  ];
}

function peakBytes(pid: number): number {
  const kib = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(kib?.[1]) * 1024;
}

export const figures: readonly Figure[] = [
  { name: "reopen-1m", what: "opens with a million records queued, then drains", measure: () => reopen(1e6, 3) },
  {
    name: "reopen-10m",
    what: "opens with ten million records queued, then drains",
    limitS: 900,
    measure: () => reopen(1e7, 1),
  },
];
