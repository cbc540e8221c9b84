/**
 * Folders of queues whose runtime is gone: its node was deleted, disabled, or given another folder. What waits in them is
 * neither delivered nor listed, so the user is told where it is.
 */
import { join } from "node:path";
import { isErrno, systemFiles } from "../../src/files.js";
import { LOGS } from "../../src/runtime/folder.js";
import { bytesIn } from "../../src/runtime/orphans.js";

export interface LeftFolder {
  readonly folder: string;
  /** On disk, of all its queues. */
  readonly bytes: number;
}

/** Those in `parent` that hold records and that nobody uses. */
export async function leftFolders(parent: string, isUsed: (folder: string) => boolean): Promise<LeftFolder[]> {
  const left: LeftFolder[] = [];
  for (const name of await systemFiles.list(parent)) {
    const folder = join(parent, name);
    if (isUsed(folder)) continue;
    const bytes = await bytesOfQueues(join(folder, LOGS));
    if (bytes > 0) left.push({ folder, bytes });
  }
  return left;
}

async function bytesOfQueues(logs: string): Promise<number> {
  let bytes = 0;
  try {
    for (const log of await systemFiles.list(logs)) bytes += await bytesIn(join(logs, log), systemFiles);
  } catch (error) {
    if (!isErrno(error, "ENOTDIR")) throw error; // a file that somebody put there
  }
  return bytes;
}
