/**
 * What an errno of the file system means for the user: one table, by code, never by message text.
 */
import { TargetUnavailableError } from "../target.js";

interface Meaning {
  /** Code of the error that reaches status and Catch nodes. */
  readonly code: string;
  readonly says: string;
  /** True where the cause lies in this one file or name: other files of the same target may well be written. */
  readonly ofThisFile: boolean;
}

/** Codes from open(2), write(2), fsync(2), mkdir(2). */
const MEANINGS: ReadonlyMap<string, Meaning> = new Map<string, Meaning>([
  ["ENOENT", { code: "file-folder-missing", says: "its folder does not exist", ofThisFile: true }],
  ["ENOTDIR", { code: "file-folder-missing", says: "a part of its path is not a folder", ofThisFile: true }],
  ["EACCES", { code: "file-permission", says: "permission denied", ofThisFile: true }],
  ["EPERM", { code: "file-permission", says: "the operation is not permitted (immutable file?)", ofThisFile: true }],
  ["EISDIR", { code: "file-is-folder", says: "it is a folder", ofThisFile: true }],
  ["ELOOP", { code: "file-symlink", says: "a symbolic link stands in its place", ofThisFile: true }],
  ["ENAMETOOLONG", { code: "file-name-too-long", says: "its name is too long", ofThisFile: true }],
  ["ENXIO", { code: "file-not-regular", says: "it is not a regular file", ofThisFile: true }],
  ["ETXTBSY", { code: "file-busy", says: "it is a program that is running", ofThisFile: true }],
  ["EFBIG", { code: "file-too-big", says: "it has reached the largest size the system allows", ofThisFile: true }],
  ["ENOSPC", { code: "disk-full", says: "the disk is full", ofThisFile: false }],
  ["EDQUOT", { code: "disk-full", says: "the disk quota is used up", ofThisFile: false }],
  ["EROFS", { code: "disk-read-only", says: "the file system is read-only", ofThisFile: false }],
  ["EIO", { code: "disk-error", says: "the disk reports an error", ofThisFile: false }],
  ["EMFILE", { code: "too-many-files", says: "this process has too many open files", ofThisFile: false }],
  ["ENFILE", { code: "too-many-files", says: "the machine has too many open files", ofThisFile: false }],
  ["ESTALE", { code: "disk-gone", says: "the network file system is gone", ofThisFile: false }],
]);

/** A file that cannot be written: the name of the path and the cause in words, the errno error as `cause`. */
export class FileUnavailableError extends TargetUnavailableError {
  /** True where other files of the same target may well be written. */
  readonly ofThisFile: boolean;
  constructor(path: string, meaning: Meaning, cause?: unknown) {
    super(`Cannot write to ${path}: ${meaning.says}.`, { code: meaning.code, cause });
    this.ofThisFile = meaning.ofThisFile;
  }
}

export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const code = (error as NodeJS.ErrnoException).code;
  return typeof code === "string" ? code : undefined;
}

/** The error to throw for a failed file call. What is no errno is a mistake of ours and stays what it is. */
export function fileError(path: string, error: unknown): Error {
  if (error instanceof TargetUnavailableError) return error;
  const errno = errnoOf(error);
  if (errno === undefined || (error as NodeJS.ErrnoException).errno === undefined) {
    return error instanceof Error ? error : new Error(String(error));
  }
  const known = MEANINGS.get(errno);
  return new FileUnavailableError(
    path,
    known ?? { code: "file-error", says: `the system answers ${errno}`, ofThisFile: false },
    error,
  );
}

export function diskFull(path: string): FileUnavailableError {
  return new FileUnavailableError(path, MEANINGS.get("ENOSPC")!);
}

export function notRegular(path: string, isFolder: boolean): FileUnavailableError {
  return new FileUnavailableError(path, MEANINGS.get(isFolder ? "EISDIR" : "ENXIO")!);
}
