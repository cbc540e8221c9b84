/**
 * Files set aside: `data.log` becomes `data.log.1`, the next one `data.log.2`, and so on, so that a name once given
 * never means another file. Old ones are removed and compressed in the background, one at a time.
 */
import * as path from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import fs from "fs-extra";
import { errnoOf, fileError } from "./errors.js";
import type { RotateOptions } from "./options.js";
import type { OutputFile } from "./output-file.js";
import { identityOf, isSameFile } from "./state.js";
import type { FileIdentity } from "./state.js";
import { syncFolder, syncPath } from "./sync.js";

const GZIPPED = ".gz";
/** Files whose beginning is remembered. */
const MAX_BIRTHS = 1_000;
const GZIP_UNFINISHED = ".gz.tmp";

interface Aside {
  readonly number: number;
  readonly path: string;
  readonly isGzipped: boolean;
}

export class Rotation {
  readonly #options: Required<RotateOptions>;
  readonly #closing = new AbortController();
  #tidying: Promise<void> = Promise.resolve();
  /** What waits to be tidied, with the files that were in use when it was last asked for. */
  readonly #waiting = new Map<string, readonly FileIdentity[]>();
  #failure: Error | undefined;
  /** By inode, wall time in ms: when files began that `isDue` was asked about. */
  readonly #bornMs = new Map<bigint, number>();

  constructor(options: Required<RotateOptions>) {
    this.#options = options;
  }

  /**
   * True when the file is older than the user wants one to be. To be asked before each line: a file that was empty then
   * counts from its first line, any other from its birth, or where that is unknown from when it was first seen.
   */
  isDue(file: OutputFile, wallMs: number): boolean {
    if (this.#options.everyMs === 0) return false;
    const { ino, birthNs } = file.identity;
    const known = file.end === 0 ? wallMs : (this.#bornMs.get(ino) ?? (Number(birthNs / 1_000_000n) || wallMs));
    // In the future: the clock was wrong then, and has been set back.
    const bornMs = Math.min(known, wallMs);
    this.#bornMs.delete(ino);
    this.#bornMs.set(ino, bornMs);
    if (this.#bornMs.size > MAX_BIRTHS) this.#bornMs.delete(this.#bornMs.keys().next().value!);
    return wallMs - bornMs >= this.#options.everyMs;
  }

  /** Why the last work in the background did not succeed; it is tried again after the next rotation. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Gives the file the next number. @throws {FileUnavailableError} */
  async setAside(at: string): Promise<void> {
    try {
      const real = await fs.realpath(at); // A link stays where it is and leads to the new file.
      const last = (await list(real)).at(-1)?.number ?? 0;
      await fs.rename(real, `${real}.${last + 1}`);
    } catch (error) {
      throw fileError(at, error);
    }
  }

  /**
   * Removes and compresses in the background. Not before the new file's position is stored: a crash looks for inodes.
   * @param inUse files that lines go to: records may name one as if it had been set aside (`10.0.0.1` beside `10.0.0`)
   */
  tidy(at: string, inUse: readonly FileIdentity[]): void {
    if (this.#closing.signal.aborted) return;
    const isWaiting = this.#waiting.has(at);
    this.#waiting.set(at, inUse);
    if (isWaiting) return;
    this.#tidying = this.#tidying.then(async () => {
      const inUseNow = this.#waiting.get(at) ?? [];
      this.#waiting.delete(at);
      try {
        await this.#tidyNow(await fs.realpath(at), inUseNow);
        this.#failure = undefined;
      } catch (error) {
        if (!this.#closing.signal.aborted) this.#failure = fileError(at, error);
      }
    });
  }

  /** Resolves when nothing is left to do in the background. */
  idle(): Promise<void> {
    return this.#tidying;
  }

  /** Gives up a compression under way; it begins anew after the next rotation. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#tidying;
  }

  async #tidyNow(at: string, inUse: readonly FileIdentity[]): Promise<void> {
    const aside = await without(inUse, await list(at));
    const numbers = [...new Set(aside.map(({ number }) => number))];
    const kept = new Set(numbers.slice(-this.#options.keepFiles));
    for (const { number, path: old } of aside) if (!kept.has(number)) await remove(old);
    if (!this.#options.gzip) return;
    for (const { number, path: plain, isGzipped } of aside) {
      if (isGzipped || !kept.has(number)) continue;
      this.#closing.signal.throwIfAborted();
      await this.#compress(plain);
    }
  }

  async #compress(plain: string): Promise<void> {
    const unfinished = plain + GZIP_UNFINISHED;
    try {
      const { mode } = await fs.stat(plain);
      const { signal } = this.#closing;
      await pipeline(fs.createReadStream(plain), createGzip(), fs.createWriteStream(unfinished, { mode }), { signal });
      // The plain file goes only when the other one would survive a power cut.
      await syncPath(unfinished);
      await fs.rename(unfinished, plain + GZIPPED);
      await syncFolder(path.dirname(plain));
      await fs.unlink(plain);
    } catch (error) {
      await remove(unfinished);
      throw error;
    }
  }
}

/** By number, ascending. What a crash left unfinished is overwritten by the next attempt. */
async function list(at: string): Promise<Aside[]> {
  const folder = path.dirname(at);
  const start = `${path.basename(at)}.`;
  const aside: Aside[] = [];
  for (const name of await fs.readdir(folder)) {
    const match = name.startsWith(start) ? /^([1-9]\d{0,14})(\.gz)?$/.exec(name.slice(start.length)) : null;
    if (match === null) continue;
    aside.push({ number: Number(match[1]), path: path.join(folder, name), isGzipped: match[2] !== undefined });
  }
  return aside.sort((a, b) => a.number - b.number);
}

async function without(inUse: readonly FileIdentity[], aside: readonly Aside[]): Promise<Aside[]> {
  const rest: Aside[] = [];
  for (const one of aside) {
    try {
      const identity = identityOf(await fs.lstat(one.path, { bigint: true }));
      if (!inUse.some((used) => isSameFile(used, identity))) rest.push(one);
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") throw error; // Somebody has removed it meanwhile.
    }
  }
  return rest;
}

async function remove(at: string): Promise<void> {
  try {
    await fs.unlink(at);
  } catch (error) {
    if (errnoOf(error) !== "ENOENT") throw error;
  }
}
