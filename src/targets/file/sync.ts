/** Durability by path: for files that are no longer open, and for the folders they are named in. */
import fs from "fs-extra";
import { errnoOf, fileError } from "./errors.js";

/** fdatasync by path, for a file that is no longer open. One that is gone has nothing left to be made durable. */
export async function syncPath(at: string): Promise<void> {
  let fd: number;
  try {
    fd = await fs.open(at, fs.constants.O_RDWR | (fs.constants.O_NONBLOCK ?? 0));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return;
    throw fileError(at, error);
  }
  try {
    await fs.fdatasync(fd);
  } catch (error) {
    throw fileError(at, error);
  } finally {
    await fs.close(fd);
  }
}

/** Makes creations and renames in a folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  let fd: number;
  try {
    fd = await fs.open(folder, "r");
  } catch (error) {
    // Windows does not open folders; one that is gone took its files with it.
    if (["EISDIR", "EPERM", "EACCES", "ENOENT"].includes(errnoOf(error) ?? "")) return;
    throw fileError(folder, error);
  }
  try {
    await fs.fsync(fd);
  } catch (error) {
    // Some network file systems cannot sync a folder: there it is as durable as they make it.
    if (!["EINVAL", "EPERM", "ENOTSUP"].includes(errnoOf(error) ?? "")) throw fileError(folder, error);
  } finally {
    await fs.close(fd);
  }
}
