/**
 * The file calls of the queue, and nothing else. The only module of the engine that opens the queue's files, so that
 * the crash tests can put a simulated disk in its place. Plain `node:fs`, not fs-extra: graceful-fs retries EMFILE
 * in silence, and a queue must hear of it.
 */
import * as fs from "node:fs";
import { dirname } from "node:path";

export interface OpenFile {
  /** Writes at `position` and resolves to how many bytes were taken: a full disk takes fewer without an error. */
  write(bytes: Uint8Array, position: number): Promise<number>;
  /** The same, blocking: for the last write of a dying process only. */
  writeNow(bytes: Uint8Array, position: number): number;
  /** Fills `into` from `position`; resolves to the bytes read, fewer only at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** fdatasync. After a rejection nothing written since the last success may be believed, whatever a retry says. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface Files {
  /** Makes a folder and its parents, private to the user (0700). No error when it is there. */
  makeFolder(folder: string): Promise<void>;
  /** Names in a folder; empty when it does not exist. */
  list(folder: string): Promise<string[]>;
  /** Size of a file in bytes; undefined for a folder, a pipe, or whatever else is no file. */
  size(path: string): Promise<number | undefined>;
  /** Creates a file that must not exist yet, readable by the user only (0600). */
  create(path: string): Promise<OpenFile>;
  /** The same, and a folder, blocking: for the last write of a dying process only. */
  createNow(path: string): OpenFile;
  makeFolderNow(folder: string): void;
  /** As `syncFolder`, blocking, likewise. Absent where that cannot be. */
  syncFolderNow?(folder: string): void;
  /** Opens an existing file for reading. */
  open(path: string): Promise<OpenFile>;
  remove(path: string): Promise<void>;
  /** Removes an empty folder. */
  removeFolder(folder: string): Promise<void>;
  /** Makes creations and removals in this folder durable. */
  syncFolder(folder: string): Promise<void>;
  /** Bytes of the file system that a folder is on: those anyone may still use, and all. Absent where nobody can tell. */
  room?(folder: string): Promise<{ readonly freeBytes: number; readonly totalBytes: number }>;
}

class NodeFile implements OpenFile {
  readonly #fd: number;
  constructor(fd: number) {
    this.#fd = fd;
  }
  write(bytes: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) =>
      fs.write(this.#fd, bytes, 0, bytes.length, position, (e, n) => (e ? reject(e) : resolve(n))),
    );
  }
  writeNow(bytes: Uint8Array, position: number): number {
    return fs.writeSync(this.#fd, bytes, 0, bytes.length, position);
  }
  async read(into: Uint8Array, position: number): Promise<number> {
    let filled = 0;
    while (filled < into.length) {
      const n = await new Promise<number>((resolve, reject) =>
        fs.read(this.#fd, into, filled, into.length - filled, position + filled, (e, count) =>
          e ? reject(e) : resolve(count),
        ),
      );
      if (n === 0) break;
      filled += n;
    }
    return filled;
  }
  sync(): Promise<void> {
    return new Promise((resolve, reject) => fs.fdatasync(this.#fd, (e) => (e ? reject(e) : resolve())));
  }
  close(): Promise<void> {
    return new Promise((resolve, reject) => fs.close(this.#fd, (e) => (e ? reject(e) : resolve())));
  }
}

function openFd(path: string, flags: string | number, mode?: number): Promise<OpenFile> {
  return new Promise((resolve, reject) =>
    fs.open(path, flags, mode, (e, fd) => (e ? reject(e) : resolve(new NodeFile(fd)))),
  );
}

export function isErrno(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? "");
}

/** Level by level: of a disk that is read-only, Node's `recursive` says that there is no such folder. */
async function makeFolder(folder: string): Promise<void> {
  const make = (): Promise<void> => fs.promises.mkdir(folder, { mode: 0o700 });
  try {
    await make();
  } catch (error) {
    const parent = dirname(folder);
    if (isErrno(error, "ENOENT") && parent !== folder) {
      await makeFolder(parent);
      await make().catch((again: unknown) => unlessFolder(folder, again)); // another may have made it meanwhile
    } else await unlessFolder(folder, error);
  }
}

async function unlessFolder(path: string, error: unknown): Promise<void> {
  const stats = await fs.promises.stat(path).catch(() => undefined); // `error` says why it is not there
  if (stats?.isDirectory() !== true) throw error;
}

export const systemFiles: Files = {
  makeFolder,
  async list(folder) {
    try {
      return await fs.promises.readdir(folder);
    } catch (error) {
      if (isErrno(error, "ENOENT")) return [];
      throw error;
    }
  },
  async size(path) {
    const stats = await fs.promises.stat(path);
    return stats.isFile() ? stats.size : undefined;
  },
  create: (path) => openFd(path, "wx+", 0o600),
  createNow: (path) => new NodeFile(fs.openSync(path, "wx+", 0o600)),
  makeFolderNow(folder) {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  },
  syncFolderNow(folder) {
    const fd = fs.openSync(folder, "r");
    try {
      fs.fsyncSync(fd);
    } catch (error) {
      if (!isErrno(error, "EINVAL", "EPERM", "ENOTSUP")) throw error; // as in `syncFolder`
    } finally {
      fs.closeSync(fd);
    }
  },
  open: (path) => openFd(path, "r"),
  remove: (path) => fs.promises.unlink(path),
  removeFolder: (folder) => fs.promises.rmdir(folder),
  async syncFolder(folder) {
    const handle = await fs.promises.open(folder, "r");
    try {
      await handle.sync();
    } catch (error) {
      // Windows and some network file systems cannot sync a folder; there it is as durable as they make it.
      if (!isErrno(error, "EINVAL", "EPERM", "ENOTSUP")) throw error;
    } finally {
      await handle.close();
    }
  },
  async room(folder) {
    const { bavail, blocks, bsize } = await fs.promises.statfs(folder);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },
};
