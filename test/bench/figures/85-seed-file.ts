/** The Python library that this package is heir to: what a record costs on its way into a file, and what a kill loses. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { output } from "../../support/servers-cache.js";
import { benchFolder, engine, mustBeTaken, openEngine } from "../engine.js";
import { atMost, type Figure, type Measured, skipped } from "../figure.js";
import { median, pause } from "../measure.js";
import { SEED, seedPython } from "../peers/seed.js";
import { readings100 } from "../readings.js";

const COUNT = 200_000;
const ROUNDS = 5;
const KILL_AFTER_MS = 3_000;
const SEED_SCRIPT = join(__dirname, "..", "peers", "seed.py");

async function seedFile(): Promise<Measured[]> {
  let python: string;
  try {
    python = await seedPython();
  } catch (error) {
    const why = `no Python with it: ${(error as Error).message.split("\n")[0]}`;
    return [skipped("x CPU", "<= 1", why), skipped("lost", "<= 0", why)];
  }
  const folder = benchFolder();
  const rows = join(folder, "rows.jsonl");
  writeFileSync(
    rows,
    readings100()
      .map((reading) => JSON.stringify(reading))
      .join("\n"),
  );
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = -1; round < ROUNDS; round++) {
    const cpu = [await ourCpu(), await seedCpu(python, rows, join(folder, `seed-${round}.txt`))] as const;
    if (round < 0) continue;
    ours.push(cpu[0]);
    theirs.push(cpu[1]);
  }
  const [here, there] = [median(ours), median(theirs)];

  const seedLost = await lostByKill(python, [SEED_SCRIPT, rows, join(folder, "seed.txt"), "evenly"], folder, () =>
    linesOf(join(folder, "seed.txt")),
  );
  const ourFile = join(folder, "ours.txt");
  const queue = join(folder, "queue");
  const worker = ["--import", "tsx", join(__dirname, "..", "workers", "evenly.ts"), queue, ourFile];
  const ourLost = await lostByKill(process.execPath, worker, process.cwd(), async () => {
    const { delivered, close } = await openEngine({ folder: queue, target: new engine.FileTarget({ file: ourFile }) });
    await delivered();
    await close();
    return linesOf(ourFile);
  });
  return [
    atMost(here / there, 1, "x CPU", `${SEED}: ${there.toFixed(2)} us a record, here ${here.toFixed(2)}`),
    atMost(ourLost, 0, "lost", `of those acknowledged, every message synced; ${SEED} lost ${seedLost}`),
  ];
}

/** CPU of this process for each record, all threads, from `send` to the file and its sync, in us. */
async function ourCpu(): Promise<number> {
  const { exporter, delivered, close } = await openEngine({
    target: new engine.FileTarget({ file: join(benchFolder(), "out.txt") }),
  });
  const readings = readings100();
  const before = process.cpuUsage();
  for (let i = 0; i < COUNT;) {
    for (let turn = 0; turn < 200; turn++, i++) exporter.send(readings[i % readings.length], {}, mustBeTaken);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await delivered();
  await close();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / COUNT;
}

async function seedCpu(python: string, rows: string, file: string): Promise<number> {
  const said = await output(python, [SEED_SCRIPT, rows, file, String(COUNT)], "/tmp");
  return Number(/cpu ([\d.]+)/.exec(said)![1]);
}

/** Kills it after a while and resolves to how many of the records it had acknowledged are nowhere. */
async function lostByKill(
  command: string,
  args: string[],
  cwd: string, // the library leaves files there
  kept: () => number | Promise<number>,
): Promise<number> {
  const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "inherit"] });
  let acknowledged = 0;
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) if (/^\d+$/.test(line)) acknowledged = Number(line);
  });
  const closed = once(child, "close");
  while (acknowledged === 0 && child.exitCode === null) await pause(20);
  await pause(KILL_AFTER_MS);
  child.kill("SIGKILL");
  await closed;
  if (acknowledged === 0) throw new Error(`${command} acknowledged nothing`);
  return Math.max(0, acknowledged - (await kept()));
}

function linesOf(path: string): number {
  return readFileSync(path, "latin1").split("\n").length - 1;
}

export const figures: readonly Figure[] = [
  { name: "seed-file", what: "the Python library resilient-exporters, into a file", measure: seedFile },
];
