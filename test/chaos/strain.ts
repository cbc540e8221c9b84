/**
 * How late things are on this machine at the moment, whoever keeps it busy: how late a timer fires, and how long it takes
 * to do what a write round of the queue does, which goes through libuv's threads some twenty times and makes a file. What
 * was promised to be done within a time is claimed only so much later.
 */
import { randomBytes } from "node:crypto";
import { open, unlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { promisify } from "node:util";
import { deflateRaw } from "node:zlib";

const LOOK_MS = 250;
/** What ended before does not count any more. */
const KEPT_MS = 4_000;
/** Blocks of a round after a restart under two thousand messages a second. */
const BLOCKS = 20;
const BLOCK = Buffer.alloc(16 * 1024, randomBytes(1_024));

const deflate = promisify(deflateRaw);

interface Look {
  readonly endedMs: number;
  readonly tookMs: number;
}

export class Strain {
  readonly #folder: string;
  #looks: Look[] = [];
  #startedMs = performance.now();
  #isOver = false;
  readonly #looking: Promise<void>;

  /** @param folder on the disk that is in question */
  constructor(folder: string) {
    this.#folder = folder;
    this.#looking = this.#look();
  }

  /** The worst of the last seconds, and of what has not ended yet. */
  get worstMs(): number {
    const nowMs = performance.now();
    const recent = this.#looks.filter(({ endedMs }) => endedMs >= nowMs - KEPT_MS).map(({ tookMs }) => tookMs);
    return Math.max(nowMs - this.#startedMs - LOOK_MS, ...recent, 0);
  }

  async #look(): Promise<void> {
    while (!this.#isOver) {
      this.#startedMs = performance.now();
      await wait(LOOK_MS);
      await this.#round();
      const endedMs = performance.now();
      this.#looks.push({ endedMs, tookMs: endedMs - this.#startedMs - LOOK_MS });
      this.#looks = this.#looks.filter((look) => look.endedMs >= endedMs - KEPT_MS);
    }
  }

  async #round(): Promise<void> {
    const path = join(this.#folder, "strain");
    for (let i = 0; i < BLOCKS; i++) await deflate(BLOCK);
    const folder = await open(this.#folder, "r");
    await folder.sync();
    await folder.close();
    const file = await open(path, "w");
    await file.write(BLOCK);
    await file.close();
    await unlink(path);
  }

  async close(): Promise<void> {
    this.#isOver = true;
    await this.#looking;
  }
}
