/**
 * One process per folder. The lock is a unix socket in it: as long as its process lives, somebody answers; after a kill
 * nobody does, and the next process takes it over. No heartbeat is written, and no process id can be mistaken for
 * another's. Where sockets are impossible (some network and FAT file systems) a file with the process id stands in.
 */
import fse from "fs-extra";
import { createConnection, createServer, type Server } from "node:net";
import { join } from "node:path";
import { sleep, systemClock } from "../clock.js";
import { isErrno } from "../files.js";

/** Another process has this folder. Nothing in it was touched. */
export class FolderInUseError extends Error {
  override readonly name = "FolderInUseError";
  readonly code = "folder-in-use";
  constructor(folder: string) {
    super(
      `The queue folder ${folder} is in use by another process, perhaps a second Node-RED. ` +
        "Stop that one, or give each a folder of its own.",
    );
  }
}

export interface FolderLock {
  /** Lets go. Safe to call twice. */
  release(): Promise<void>;
}

const SOCKET_NAME = "lock.sock";
const PID_NAME = "lock.pid";
/** Taking over a dead lock is done by one process at a time: it makes this folder, and removes it afterwards. */
const TAKEOVER_NAME = "lock.takeover";
const ATTEMPTS = 20;
const PAUSE_MS = 50;

/** @throws {FolderInUseError} when another process has the folder */
export async function lockFolder(folder: string): Promise<FolderLock> {
  try {
    return await lockBySocket(folder);
  } catch (error) {
    if (error instanceof FolderInUseError) throw error;
    if (isErrno(error, "EACCES", "EROFS", "ENOENT", "ENOSPC", "ENOTDIR", "EIO")) throw error;
    return lockByFile(folder);
  }
}

/** Whether a living process has the folder. Takes nothing, and changes nothing. */
export async function isFolderInUse(folder: string): Promise<boolean> {
  const { fd, path } = await socketIn(folder);
  try {
    if (await answers(path)) return true;
  } finally {
    await closeFd(fd);
  }
  return isHeldByFile(join(folder, PID_NAME));
}

/** A socket path may have 108 bytes at most, so on Linux it is named through the open folder. */
async function socketIn(folder: string): Promise<{ readonly fd: number | undefined; readonly path: string }> {
  if (process.platform !== "linux") return { fd: undefined, path: join(folder, SOCKET_NAME) };
  const fd = await fse.open(folder, "r");
  return { fd, path: `/proc/self/fd/${fd}/${SOCKET_NAME}` };
}

async function lockBySocket(folder: string): Promise<FolderLock> {
  const { fd, path } = await socketIn(folder);
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const server = await listen(path);
      if (server !== undefined) {
        let released: Promise<void> | undefined;
        return { release: () => (released ??= letGo(server, fd)) };
      }
      if (await answers(path)) break;
      await removeStale(folder, path);
    }
  } catch (error) {
    await closeFd(fd);
    throw error;
  }
  await closeFd(fd);
  throw new FolderInUseError(folder);
}

async function letGo(server: Server, fd: number | undefined): Promise<void> {
  try {
    await close(server);
  } finally {
    await closeFd(fd); // not before: closing a server removes its socket by path
  }
}

async function closeFd(fd: number | undefined): Promise<void> {
  if (fd !== undefined) await fse.close(fd);
}

function listen(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.unref();
    server.once("error", (error) => (isErrno(error, "EADDRINUSE") ? resolve(undefined) : reject(error)));
    server.listen({ path, exclusive: true }, () => resolve(server));
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve, reject) => server.close((error) => (error ? reject(error) : resolve())));
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    // ECONNREFUSED: its process is gone. Anything else says nothing good of it either, but it may still live.
    socket.once("error", (error) => resolve(!isErrno(error, "ECONNREFUSED", "ENOENT")));
  });
}

async function removeStale(folder: string, path: string): Promise<void> {
  const takeover = join(folder, TAKEOVER_NAME);
  try {
    await fse.mkdir(takeover);
  } catch (error) {
    if (!isErrno(error, "EEXIST")) throw error;
    await pause();
    // Whoever was taking over has died in the middle: its mark must not bar the folder for ever.
    if (await isOld(takeover)) await fse.rmdir(takeover).catch(ignoreMissing);
    return;
  }
  try {
    if (!(await answers(path))) await fse.unlink(path).catch(ignoreMissing);
  } finally {
    await fse.rmdir(takeover).catch(ignoreMissing);
  }
}

async function isOld(path: string): Promise<boolean> {
  try {
    // Both times are of the same clock, the file system's and ours; a jump costs one more attempt at most.
    return Date.now() - (await fse.stat(path)).mtimeMs > ATTEMPTS * PAUSE_MS * 0.5;
  } catch (error) {
    ignoreMissing(error);
    return false;
  }
}

function ignoreMissing(error: unknown): void {
  if (!isErrno(error, "ENOENT")) throw error; // gone already: somebody else was quicker
}

function pause(): Promise<void> {
  return sleep(systemClock, PAUSE_MS);
}

/** Process id, and when that process started: an id is given again sooner or later. */
async function identityOf(pid: number): Promise<string | undefined> {
  try {
    const stat = await fse.readFile(`/proc/${pid}/stat`, "latin1");
    return `${pid} ${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`;
  } catch {
    try {
      process.kill(pid, 0);
      return `${pid} -`;
    } catch (error) {
      return isErrno(error, "EPERM") ? `${pid} -` : undefined;
    }
  }
}

async function lockByFile(folder: string): Promise<FolderLock> {
  const path = join(folder, PID_NAME);
  const identity = await identityOf(process.pid);
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      await fse.writeFile(path, `${identity}\n`, { flag: "wx", mode: 0o600 });
      let released: Promise<void> | undefined;
      return { release: () => (released ??= fse.unlink(path).catch(ignoreMissing)) };
    } catch (error) {
      if (!isErrno(error, "EEXIST")) throw error;
    }
    if (await isHeldByFile(path)) break;
    await fse.unlink(path).catch(ignoreMissing);
  }
  throw new FolderInUseError(folder);
}

async function isHeldByFile(path: string): Promise<boolean> {
  const holder = (await fse.readFile(path, "latin1").catch(() => "")).trim(); // not there, or just released
  const pid = Number.parseInt(holder, 10);
  return Number.isInteger(pid) && (await identityOf(pid)) === holder;
}
