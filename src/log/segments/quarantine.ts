/**
 * Keeps a copy of bytes that could not be read, before their file is deleted: a person, or a better tool, may still make
 * something of them. Bounded in size; whoever met them waits for it, and an error ends it, not the queue.
 */
import { basename, join } from "node:path";
import type { Files } from "../../files.js";
import type { Loss } from "./recovery.js";

/** All copies of one queue together. A disk that rots does not get to fill itself with what is left. */
const MOST_BYTES = 16 * 1024 * 1024;

/**
 * Copies the bytes of a loss to `<folder>/<segment>.<from>-<to>.bad`, durably.
 * @returns the path of the copy; undefined when there is nothing to copy, it was copied before, or there is no room
 * @throws errors of the disk
 */
export async function quarantine(loss: Loss, folder: string, files: Files): Promise<string | undefined> {
  if (loss.bytes === 0) return undefined;
  const path = join(folder, `${basename(loss.path)}.${loss.from}-${loss.from + loss.bytes}.bad`);
  let used = 0;
  let isCutShort = false;
  for (const other of (await files.list(folder)).map((name) => join(folder, name))) {
    const size = (await files.size(other)) ?? 0;
    if (other !== path) used += size;
    else if (size >= loss.bytes) return undefined;
    else isCutShort = true; // by a crash
  }
  if (used + loss.bytes > MOST_BYTES) return undefined;
  const bytes = Buffer.alloc(loss.bytes);
  const source = await files.open(loss.path);
  let found: number;
  try {
    found = await source.read(bytes, loss.from);
  } finally {
    await source.close();
  }
  if (found === 0) return undefined; // the file was cut off there
  if (isCutShort) await files.remove(path);
  await files.makeFolder(folder);
  const copy = await files.create(path);
  try {
    for (let at = 0; at < found;) {
      const taken = await copy.write(bytes.subarray(at, found), at);
      if (taken === 0) throw new Error("the disk takes no more bytes");
      at += taken;
    }
    await copy.sync();
  } finally {
    await copy.close();
  }
  await files.syncFolder(folder);
  return path;
}
