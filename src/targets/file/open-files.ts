/**
 * The files that are open, and what of them a power cut would still take. A descriptor is kept for the files used
 * last; one that is replaced under its path (logrotate) stays open until it has been synced.
 */
import * as path from "node:path";
import { OutputFile } from "./output-file.js";
import type { OpenOptions } from "./output-file.js";
import { syncFolder, syncPath } from "./sync.js";

/** Descriptors of one target: a Pi's default limit is 1,024 for the whole process. */
const MAX_OPEN = 32;
/** Replaced files that wait for a sync; beyond it they are synced at once. */
const MAX_RETIRED = 8;

export class OpenFiles {
  readonly #open = new Map<string, OutputFile>();
  readonly #dirty = new Set<string>();
  readonly #dirtyFolders = new Set<string>();
  #retired: OutputFile[] = [];
  #settling: Promise<void> = Promise.resolve();

  /** The file of a path, if it is open and the path still means it. `wasCut`: someone truncated it. */
  async current(at: string): Promise<{ file: OutputFile; wasCut: boolean } | undefined> {
    const file = this.#open.get(at);
    if (file === undefined) return undefined;
    const seen = await file.look();
    if (seen === "gone") {
      await this.retire(at);
      return undefined;
    }
    this.#open.delete(at);
    this.#open.set(at, file);
    return { file, wasCut: seen === "shorter" };
  }

  async open(at: string, options: OpenOptions): Promise<OutputFile> {
    const file = await OutputFile.open(at, options);
    if (file.isNew) this.#dirtyFolders.add(path.dirname(at));
    await this.#forget(this.#open.get(at));
    this.#open.set(at, file);
    if (this.#open.size > MAX_OPEN) await this.#forget(this.#oldest());
    return file;
  }

  /** The new file has taken the name of the open one. */
  async replace(by: OutputFile): Promise<void> {
    await this.#forget(this.#open.get(by.path));
    this.#open.set(by.path, by);
  }

  /** The file has bytes that a power cut may still take. */
  markDirty(at: string): void {
    this.#dirty.add(at);
  }

  /** The path no longer means the open file: lets go of it, after the next sync if it has unsynced lines. */
  async retire(at: string): Promise<void> {
    const file = this.#open.get(at);
    if (file === undefined) return;
    this.#open.delete(at);
    if (!this.#dirty.delete(at)) return file.close();
    this.#retired.push(file);
    if (this.#retired.length > MAX_RETIRED) await this.#serially(() => this.#syncRetired());
  }

  /** Makes everything written so far survive a power cut. */
  settle(): Promise<void> {
    return this.#serially(async () => {
      await this.#syncRetired();
      await each(this.#dirty, async (at) => {
        const file = this.#open.get(at);
        await (file === undefined ? syncPath(at) : file.sync());
      });
      await each(this.#dirtyFolders, syncFolder);
    });
  }

  /**
   * Closes what can be opened again, as after a disk went away and came back. A file whose sync has failed stays open
   * while its disk is there: with the descriptor would go the knowledge of what has to be written anew.
   */
  async renew(): Promise<void> {
    for (const file of this.#open.values()) {
      if (!file.isUnproven || !(await file.isAlive())) await this.#forget(file);
    }
  }

  /** Closes every descriptor. What is unsynced is still known, and opened again by `settle`; replaced files are synced. */
  async close(): Promise<void> {
    for (const file of this.#open.values()) await this.#forget(file);
    try {
      await this.#serially(() => this.#syncRetired());
    } finally {
      for (const file of this.#retired.splice(0)) await file.close();
    }
  }

  /** Not one whose sync has failed: see `renew`. */
  #oldest(): OutputFile | undefined {
    for (const file of this.#open.values()) if (!file.isUnproven) return file;
    return undefined;
  }

  /** What one call has taken on is not done yet: the next one waits for it instead of finding nothing to do. */
  #serially(work: () => Promise<void>): Promise<void> {
    const result = this.#settling.then(work);
    this.#settling = result.catch(() => {
      /* whoever asked for it hears of it, and what was not synced is still listed */
    });
    return result;
  }

  async #syncRetired(): Promise<void> {
    const retired = this.#retired;
    this.#retired = [];
    for (let file = retired.shift(); file !== undefined; file = retired.shift()) {
      try {
        await file.sync();
      } catch (error) {
        this.#retired.push(file, ...retired);
        throw error;
      }
      await file.close();
    }
  }

  async #forget(file: OutputFile | undefined): Promise<void> {
    if (file === undefined) return;
    this.#open.delete(file.path);
    await file.close();
  }
}

/** Takes each out of the set before its work, so that what is added meanwhile is kept, and back when that fails. */
async function each(items: Set<string>, work: (item: string) => Promise<void>): Promise<void> {
  const taken = Array.from(items);
  for (const item of taken) {
    items.delete(item);
    try {
      await work(item);
    } catch (error) {
      items.add(item);
      throw error;
    }
  }
}
