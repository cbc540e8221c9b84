/**
 * Where the compiled engine is: below node_modules, from where its files find their packages. Each run has its own, told
 * to its child processes in the environment, so that two runs at once do not pull it away under each other.
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { projectFolder } from "../support/servers-cache.js";

const CACHE = join(projectFolder, "node_modules", ".cache");
const NAME = "resilient-bench-";

const run = (process.env["RESILIENT_BENCH_RUN"] ??= String(process.pid));

export const builtFolder = join(CACHE, NAME + run);

/** Removes what earlier runs that were killed have left, and this one's. */
export function removeBuilds(): void {
  let names: string[] = [];
  try {
    names = readdirSync(CACHE);
  } catch {
    return; // nothing was ever built
  }
  for (const name of names) {
    if (!name.startsWith(NAME)) continue;
    const pid = name.slice(NAME.length);
    if (pid === run || !isAlive(Number(pid))) rmSync(join(CACHE, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return Number.isInteger(pid) && process.kill(pid, 0);
  } catch {
    return false; // no such process
  }
}
