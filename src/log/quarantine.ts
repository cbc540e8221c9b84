/**
 * Keeps a copy of bytes that could not be read, before their file is deleted: a person, or a better tool, may still make
 * something of them. Bounded, and never in the way of the queue.
 */
import { basename, join } from "node:path";
import { type Files, isErrno } from "../files.js";
import type { Loss } from "./recovery.js";

/** All copies of one queue together. A disk that rots does not get to fill itself with what is left. */
const MOST_BYTES = 16 * 1024 * 1024;

/**
 * Copies the bytes of a loss to `<folder>/<segment>.<position>.bad`.
 * @returns the path of the copy; undefined when there is nothing to copy, it was copied before, or there is no room
 */
export async function quarantine(loss: Loss, folder: string, files: Files): Promise<string | undefined> {
  if (loss.bytes === 0) return undefined;
  const path = join(folder, `${basename(loss.path)}.${loss.from}.bad`);
  let used = 0;
  for (const name of await files.list(folder)) used += (await files.size(join(folder, name))) ?? 0;
  if (used + loss.bytes > MOST_BYTES) return undefined;
  const bytes = Buffer.alloc(loss.bytes);
  const source = await files.open(loss.path);
  let found: number;
  try {
    found = await source.read(bytes, loss.from);
  } finally {
    await source.close();
  }
  await files.makeFolder(folder);
  try {
    const copy = await files.create(path);
    try {
      for (let at = 0; at < found;) at += await copy.write(bytes.subarray(at, found), at);
    } finally {
      await copy.close();
    }
  } catch (error) {
    if (isErrno(error, "EEXIST")) return undefined;
    throw error;
  }
  return path;
}
