/** Asks `sqlite.mjs`, under a Node.js that has a driver for it. */
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import { nodeFor } from "../../support/node-red-install.js";
import { benchFolder } from "../engine.js";
import type { Reading } from "../readings.js";

export class Sqlite {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** `synchronous`: NORMAL survives the death of the process, FULL a power cut. @throws where it cannot be had */
  static async open(synchronous: "NORMAL" | "FULL", readings: readonly Reading[]): Promise<Sqlite> {
    const execPath = await nodeFor("5");
    const child = fork(join(__dirname, "sqlite.mjs"), [], {
      execPath,
      execArgv: ["--disable-warning=ExperimentalWarning"],
    });
    const sqlite = new Sqlite(child);
    await sqlite.#ask({ open: { path: join(benchFolder(), "queue.sqlite"), synchronous, readings } });
    return sqlite;
  }

  /** Inserts so many records, each in a transaction of its own, and resolves to records per second. */
  async insert(count: number): Promise<number> {
    return (await this.#ask({ insert: count })).rate;
  }

  #ask(message: object): Promise<{ rate: number }> {
    return new Promise((resolve, reject) => {
      const onEnd = (): void => reject(new Error("the SQLite peer ended"));
      this.#child.once("exit", onEnd);
      this.#child.once("message", (answer) => {
        this.#child.off("exit", onEnd);
        resolve(answer as { rate: number });
      });
      this.#child.send(message);
    });
  }

  close(): void {
    this.#child.disconnect();
  }
}

/** The peer, or why there is none. */
export async function sqliteOrReason(
  synchronous: "NORMAL" | "FULL",
  readings: readonly Reading[],
): Promise<{ sqlite: Sqlite } | { why: string }> {
  try {
    return { sqlite: await Sqlite.open(synchronous, readings) };
  } catch (error) {
    return { why: `no SQLite: ${(error as Error).message.split("\n")[0]}` };
  }
}
