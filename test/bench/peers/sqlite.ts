/** Asks `sqlite.mjs`, under a Node.js that has a driver for it. */
import { join } from "node:path";
import { nodeFor } from "../../support/node-red-install.js";
import { benchFolder } from "../engine.js";
import type { Reading } from "../readings.js";
import { PeerProcess } from "./process.js";

/** NORMAL survives the death of the process, FULL a power cut. Or why there is none here. */
export async function sqliteOrReason(
  synchronous: "NORMAL" | "FULL",
  readings: readonly Reading[],
): Promise<{ sqlite: PeerProcess } | { why: string }> {
  try {
    const execPath = await nodeFor("5");
    const execArgv = ["--disable-warning=ExperimentalWarning"];
    const sqlite = new PeerProcess("SQLite", join(__dirname, "sqlite.mjs"), { execPath, execArgv });
    await sqlite.open({ path: join(benchFolder(), "queue.sqlite"), synchronous, readings });
    return { sqlite };
  } catch (error) {
    return { why: `no SQLite: ${(error as Error).message.split("\n")[0]}` };
  }
}
