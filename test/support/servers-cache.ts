/**
 * Where what the tests need besides npm's packages is kept between runs: other versions of Node.js and Node-RED,
 * databases, the packed package. Outside the project, since these must not be found by its own scripts.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

export const projectFolder = join(__dirname, "..", "..");

/** A place in the cache, `$RESILIENT_CACHE` or `~/.cache/node-red-contrib-resilient-exporters`. It need not exist. */
export function cacheFolder(...names: string[]): string {
  const root = process.env["RESILIENT_CACHE"] ?? join(homedir(), ".cache", "node-red-contrib-resilient-exporters");
  return join(root, ...names);
}

/**
 * The folder `name` of the cache, made by `make` when it is missing. It appears whole or not at all, so a run that was
 * cut short leaves nothing that looks finished, and two runs at once do not disturb each other.
 */
export async function madeOnce(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = cacheFolder(name);
  if (existsSync(folder)) return folder;
  const making = `${folder}.${randomBytes(4).toString("hex")}.making`;
  await mkdir(making, { recursive: true });
  try {
    await make(making);
    await rename(making, folder);
  } catch (error) {
    await rm(making, { recursive: true, force: true });
    // Another run was faster: its result is as good as ours.
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

/** Runs a program and resolves to its output; a failure carries what it said. */
export async function output(command: string, args: readonly string[], cwd: string): Promise<string> {
  try {
    return (await promisify(execFile)(command, args, { cwd, maxBuffer: MAX_OUTPUT_BYTES })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(" ")} failed\n${stdout ?? ""}${stderr ?? ""}`, { cause: error });
  }
}

/** `npm install` of `packages` into a folder of their own. */
export async function installInto(folder: string, packages: readonly string[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  const flags = ["--prefix", folder, "--omit=dev", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
  // From outside the project, whose .npmrc and workspace are no business of this install.
  await output("npm", ["install", ...flags, ...packages], dirname(folder));
}
