/** The package node-persistent-queue, where it can be built: its database driver is compiled by the install, for minutes. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { cacheFolder, madeOnce } from "../../support/servers-cache.js";
import { benchFolder } from "../engine.js";
import type { Reading } from "../readings.js";
import { PeerProcess } from "./process.js";

const NAME = "node-persistent-queue";
const VERSION = "1.0.3";
const BUILT_WITHIN_MS = 600_000;

const BUILT = `${NAME}-${VERSION}-node-${process.versions.modules}`;
const FAILED = cacheFolder(`${BUILT}.failed`);

/** Builds it where that has not been tried. That it cannot be built is remembered, since to find out takes minutes. */
export async function buildPersistentQueue(): Promise<void> {
  if (existsSync(FAILED)) return;
  try {
    await madeOnce(BUILT, install);
  } catch (error) {
    mkdirSync(dirname(FAILED), { recursive: true });
    writeFileSync(FAILED, (error as Error).message);
  }
}

/** The peer, or why there is none. */
export async function persistentQueueOrReason(
  readings: readonly Reading[],
): Promise<{ queue: PeerProcess } | { why: string }> {
  try {
    if (existsSync(FAILED)) throw new Error(`${readFileSync(FAILED, "utf8")} (remove ${FAILED} to try again)`);
    const queue = new PeerProcess(NAME, join(__dirname, "persistent-queue.mjs"));
    await queue.open({ modules: cacheFolder(BUILT), path: join(benchFolder(), "jobs.sqlite"), readings });
    return { queue };
  } catch (error) {
    return { why: `no ${NAME} ${VERSION}: ${(error as Error).message}` };
  }
}

async function install(folder: string): Promise<void> {
  const flags = ["--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error"];
  try {
    await promisify(execFile)("npm", ["install", ...flags, `${NAME}@${VERSION}`], {
      cwd: dirname(folder),
      timeout: BUILT_WITHIN_MS,
      maxBuffer: 64 * 1024 * 1024,
    });
  } catch (error) {
    const said = (error as { stderr?: string }).stderr ?? "";
    const reason = /npm error (.*(?:error:|Error:|ERR!).*)/.exec(said)?.[1] ?? (error as Error).message.split("\n")[0];
    throw new Error(`its driver of SQLite cannot be built here: ${reason}`, { cause: error });
  }
}
