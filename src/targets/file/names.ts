/**
 * From the name in a record to a path below the root folder, and no further. Names come from messages, so from anyone.
 */
import * as path from "node:path";
import fs from "fs-extra";
import type { Rejection } from "../target.js";
import { errnoOf, fileError } from "./errors.js";

/** Most file systems: 255 bytes a part. */
const MAX_PART_BYTES = 255;
/** PATH_MAX of Linux is 4,096 with the root folder; 1,024 is macOS's. */
const MAX_NAME_BYTES = 1_024;

/** The name with `/` between its parts, or why it is refused. */
function checkName(name: string): { readonly name: string } | { readonly refusal: Rejection } {
  const parts = name.split(process.platform === "win32" ? /[\\/]/ : "/");
  const refuse = (why: string): { refusal: Rejection } => ({
    refusal: { code: "file-name-refused", message: `The file name ${JSON.stringify(name.slice(0, 200))} ${why}.` },
  });
  if (name === "") return refuse("is empty");
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\0-\x1f\x7f]/.test(name)) return refuse("holds a control character");
  if (path.posix.isAbsolute(name) || path.win32.isAbsolute(name) || /^[a-z]:/i.test(name)) {
    return refuse("is absolute: it must lie below the folder of this exporter");
  }
  if (parts.some((part) => part === "..")) return refuse("leads out of the folder of this exporter");
  const kept = parts.filter((part) => part !== "." && part !== "");
  if (kept.length === 0 || name.endsWith("/")) return refuse("names a folder");
  if (Buffer.byteLength(name) > MAX_NAME_BYTES || kept.some((part) => Buffer.byteLength(part) > MAX_PART_BYTES)) {
    return refuse("is too long");
  }
  return { name: kept.join("/") };
}

/** The place below the root that a name in a record means, or why it means none. */
export function destinationFor(
  given: string | undefined,
  root: string,
): { readonly name: string; readonly path: string } | { readonly refusal: Rejection } {
  if (given === undefined) {
    const message = "The record names no file, and the exporter has none.";
    return { refusal: { code: "file-name-missing", message } };
  }
  const checked = checkName(given);
  return "refusal" in checked ? checked : { name: checked.name, path: path.join(root, checked.name) };
}

/**
 * Refuses a symbolic link in any part of the path below the root: whoever can make one could lead our lines anywhere.
 * The root itself may be one, since the user chose it. What is missing is no link.
 */
export async function refuseLinks(root: string, name: string): Promise<Rejection | undefined> {
  let at = root;
  for (const part of name.split("/")) {
    at = path.join(at, part);
    try {
      if ((await fs.lstat(at)).isSymbolicLink()) {
        return {
          code: "file-name-refused",
          message: `The path of ${JSON.stringify(name)} goes through a link: ${at}.`,
        };
      }
    } catch (error) {
      if (errnoOf(error) === "ENOENT" || errnoOf(error) === "ENOTDIR") return undefined;
      throw fileError(at, error);
    }
  }
  return undefined;
}
