/** What the user chooses for a file target, checked, with its defaults. */
import * as path from "node:path";
import { TargetConfigError } from "../target.js";

export interface FileTargetOptions {
  /** The file for records that name none. Default: every record must name its own. */
  readonly file?: string;
  /**
   * The folder below which records name their files (`file` in their routing). Names that would lead out of it are
   * refused. Default: records may not name files.
   */
  readonly root?: string;
  /** Makes missing folders. Default true. */
  readonly createFolders?: boolean;
}

export interface CheckedOptions {
  readonly file: string | undefined;
  readonly root: string | undefined;
  readonly createFolders: boolean;
}

/** @throws {TargetConfigError} */
export function checkOptions(options: FileTargetOptions): CheckedOptions {
  const { file, root, createFolders = true } = options;
  if ((file === undefined || file === "") && (root === undefined || root === "")) {
    throw new TargetConfigError("The file exporter needs a file name, or a folder for the names in its records.", {
      code: "file-name-missing",
    });
  }
  return { file: absolute(file), root: absolute(root), createFolders };
}

function absolute(given: string | undefined): string | undefined {
  if (given === undefined || given === "") return undefined;
  if (given.includes("\0")) throw new TargetConfigError("A file name holds a NUL character.", { code: "file-name" });
  return path.resolve(given);
}
