/**
 * `npm run bench [-- --only accept-100,drain-file] [--json FILE] [--svg FILE] [--profile FOLDER]`: every figure in
 * `figures/`, each in a process of its own, beside its peers. Prints a table. Ends with 1 when a figure misses what it
 * has to reach; what could not be measured here is named as skipped, and is not a miss.
 */
import { execFileSync, fork } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { projectFolder } from "../support/servers-cache.js";
import { chart } from "./chart.js";
import { builtFolder, removeBuilds } from "./engine-path.js";
import { type Figure, limitMsOf, type Measured, type Row } from "./figure.js";
import { loadFigures } from "./load.js";
import { tableOf } from "./table.js";
import type { Told } from "./child.js";

/** A figure ends itself at its limit and says where it was; this much later its process is killed. */
const KILL_AFTER_MS = 30_000;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    json: { type: "string" },
    svg: { type: "string" },
    profile: { type: "string" },
  },
});

async function main(): Promise<void> {
  build();
  const figures = await loadFigures();
  const wanted = values.only?.split(",");
  const unknown = wanted?.filter((name) => !figures.some((figure) => figure.name === name)) ?? [];
  if (unknown.length > 0) {
    throw new Error(
      `No figure is called ${unknown.join(", ")}. There are: ${figures.map(({ name }) => name).join(", ")}`,
    );
  }
  const machine = machineLine();
  const rows: Row[] = [];
  for (const figure of figures) {
    if (wanted !== undefined && !wanted.includes(figure.name)) continue;
    process.stderr.write(`${figure.name} ...\n`);
    // One that fails is a miss, and no reason not to measure the others.
    for (const { value, unit, reach, holds, peer } of await measured(figure).catch(failed)) {
      rows.push({
        figure: figure.name,
        what: figure.what,
        value: value ?? null,
        unit,
        reach,
        holds: holds ?? null,
        peer,
      });
    }
    // After each, so that a run that is broken off has not been for nothing.
    keep(rows, machine);
  }
  process.stdout.write(`${tableOf(rows)}${machine}\n`);
  if (rows.some(({ holds }) => holds === false)) process.exitCode = 1;
}

function keep(rows: readonly Row[], machine: string): void {
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, undefined, 2)}\n`);
  if (values.svg !== undefined) writeFileSync(values.svg, chart(rows, machine));
}

/** What it is measured on, and how busy that was before. */
function machineLine(): string {
  const day = new Date().toISOString().slice(0, 10);
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  const load = loadavg()[0]!.toFixed(1);
  return `${day}, Node.js ${process.versions.node}, ${cpus().length} x ${model}, load ${load} when the run began`;
}

function failed(error: unknown): Measured[] {
  return [{ value: undefined, unit: "", reach: "", holds: false, peer: `failed: ${(error as Error).message}` }];
}

function build(): void {
  removeBuilds();
  process.on("exit", removeBuilds);
  const compiler = join(projectFolder, "node_modules", ".bin", "tsc");
  execFileSync(compiler, ["-p", "tsconfig.json", "--outDir", builtFolder, "--declaration", "false", "--noCheck"], {
    cwd: projectFolder,
    stdio: "inherit",
  });
}

/** In a process of its own: what one figure leaves behind must not change the next. */
function measured(figure: Figure): Promise<Measured[]> {
  const { name } = figure;
  const profile = values.profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${values.profile}`];
  return new Promise((resolve, reject) => {
    const child = fork(join(__dirname, "child.ts"), [name], {
      execArgv: ["--expose-gc", ...profile, "--import", "tsx"],
      cwd: projectFolder,
    });
    let limit: NodeJS.Timeout | undefined;
    let told: Told | undefined;
    child.on("message", (message) => {
      told = message as Told;
      limit ??= setTimeout(() => child.kill("SIGKILL"), limitMsOf(figure) + KILL_AFTER_MS);
    });
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      clearTimeout(limit);
      if (told?.found !== undefined && code === 0) resolve(told.found);
      else reject(new Error(told?.failure ?? `it ended with ${signal ?? code} and without a result`));
    });
  });
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
});
