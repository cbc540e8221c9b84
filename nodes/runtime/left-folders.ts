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

/** Those in `parent`, and of `others` wherever they are, that hold records and that nobody uses. */
export async function leftFolders(
  parent: string,
  others: Iterable<string>,
  isUsed: (folder: string) => boolean,
): Promise<LeftFolder[]> {
  const left: LeftFolder[] = [];
  const names = await systemFiles.list(parent);
  for (const folder of new Set([...names.map((name) => join(parent, name)), ...others])) {
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
