/** Whether a file could be written, found out without writing. */
import * as path from "node:path";
import { promisify } from "node:util";
import fs from "fs-extra";
import type { StatsFs } from "fs-extra";
import { diskFull, errnoOf, fileError, notRegular } from "./errors.js";

/** Less free space than this counts as none. */
const MIN_FREE_BYTES = 64 * 1_024;
/** fs-extra has it as a promise too, its types only with a callback. */
const statfs = promisify<string, StatsFs>(fs.statfs);

/** @throws {FileUnavailableError} */
export async function probeFile(at: string, createFolders: boolean): Promise<void> {
  const existing = await nearest(at, createFolders);
  const { bavail, bfree, bsize } = await statfs(existing);
  const isRoot = process.getuid?.() === 0;
  if ((isRoot ? bfree : bavail) * bsize < MIN_FREE_BYTES) throw diskFull(at);
}

/** The file, or the folder that it would be made in: what is there of its path, checked to be writable. */
async function nearest(at: string, createFolders: boolean): Promise<string> {
  let existing = at;
  for (;;) {
    const isFile = existing === at;
    try {
      const stats = await fs.stat(existing);
      if (isFile && !stats.isFile()) throw notRegular(at, stats.isDirectory());
      await fs.access(existing, isFile ? fs.constants.W_OK : fs.constants.W_OK | fs.constants.X_OK);
      return existing;
    } catch (error) {
      const parent = path.dirname(existing);
      if (errnoOf(error) !== "ENOENT" || !(isFile || createFolders) || parent === existing) throw fileError(at, error);
      existing = parent;
    }
  }
}
