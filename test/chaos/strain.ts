/**
 * How late things are on this machine at the moment, whoever keeps it busy: how late a timer fires, and how long a sync
 * of a few bytes takes. What was promised to be done within a time is claimed only so much later.
 */
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";

const LOOK_MS = 100;
/** What is older does not count any more: no life under chaos is longer. */
const KEPT_MS = 4_000;

interface Look {
  readonly atMs: number;
  readonly lateMs: number;
}

export class Strain {
  readonly #file: FileHandle;
  #looks: Look[] = [];
  #isOver = false;
  readonly #looking: Promise<void>;

  /** @param folder on the disk that is in question */
  static async watch(folder: string): Promise<Strain> {
    return new Strain(await open(join(folder, "strain"), "w"));
  }

  private constructor(file: FileHandle) {
    this.#file = file;
    this.#looking = this.#look();
  }

  /** The worst of the last seconds: a sync and two turns of the event loop, since a round has as much to wait for. */
  get worstMs(): number {
    const sinceMs = performance.now() - KEPT_MS;
    return Math.max(0, ...this.#looks.filter(({ atMs }) => atMs >= sinceMs).map(({ lateMs }) => lateMs));
  }

  async #look(): Promise<void> {
    while (!this.#isOver) {
      const startedMs = performance.now();
      await wait(LOOK_MS);
      const timerMs = performance.now() - startedMs - LOOK_MS;
      await this.#file.write("x", 0);
      await this.#file.datasync();
      const atMs = performance.now();
      this.#looks.push({ atMs, lateMs: timerMs + (atMs - startedMs - LOOK_MS) });
      this.#looks = this.#looks.filter((look) => look.atMs >= atMs - KEPT_MS);
    }
  }

  async close(): Promise<void> {
    this.#isOver = true;
    await this.#looking;
    await this.#file.close();
  }
}
