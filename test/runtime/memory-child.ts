/**
 * A process with a small heap: run by `memory.test.ts`. Arguments: folder, what it does. Says in the end, as JSON, how much
 * memory it used at most, and what became of the records.
 */
import { type Files, type OpenFile, systemFiles } from "../../src/files.js";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { awayTarget } from "../support/store-rig.js";

const [folder, what] = process.argv.slice(2) as [string, string];
const TEXT = "x".repeat(200);

/** From the first write on, every change is refused. */
function failingFiles(): Files {
  const refuse = (): never => {
    throw Object.assign(new Error("EROFS: read-only file system"), { code: "EROFS" });
  };
  const wrap = (file: OpenFile): OpenFile => ({
    write: () => Promise.reject(Object.assign(new Error("EROFS"), { code: "EROFS" })),
    writeNow: refuse,
    read: (into, position) => file.read(into, position),
    sync: () => file.sync(),
    close: () => file.close(),
  });
  return {
    ...systemFiles,
    create: async (path) =>
      path.endsWith("queue.id") ? systemFiles.create(path) : wrap(await Promise.reject(new Error("EROFS"))),
    createNow: refuse,
  };
}

let most = 0;
let longestMs = 0;

function look(): void {
  most = Math.max(most, process.memoryUsage.rss());
}

async function run(): Promise<void> {
  const durability = what === "every-message" || what === "delivered" ? what : undefined;
  const flush = {
    ...DEFAULT_FLUSH,
    ...(durability === undefined
      ? {}
      : { durability: durability === "delivered" ? ("delivered" as const) : ("everyMessage" as const) }),
  };
  const files = what === "drain" ? systemFiles : failingFiles();
  const memoryBytes = (what === "drain" ? 32 : 16) * 1024 * 1024;
  const runtime = await Runtime.open({ folder, flush, files, memoryBytes });
  const target = what === "drain" ? new ScriptedTarget() : awayTarget();
  target.isUp = false;
  const exporter = await runtime.openExporter({ id: "a", target, flush });
  if (global.gc !== undefined) global.gc();
  look();
  const base = most;
  const count = what === "drain" ? 100_000 : 400_000;
  let done = 0;
  let failed = 0;
  for (let n = 0; n < count; n++) {
    // Of our own time: a machine with other work lets everyone wait.
    const since = process.cpuUsage();
    exporter.send({ n, text: TEXT }, {}, (error) => (error === undefined ? done++ : failed++));
    const { user, system } = process.cpuUsage(since);
    longestMs = Math.max(longestMs, (user + system) / 1_000);
    if (n % 1_000 === 999) {
      look();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  const used = runtime.used.memoryBytes;
  if (what === "drain") {
    target.isUp = true;
    const drained = exporter.flush();
    const timer = setInterval(look, 20);
    await drained;
    while (exporter.status().waiting > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    clearInterval(timer);
  }
  const { waiting, dropped, delivered } = exporter.status();
  process.stdout.write(
    JSON.stringify({ grown: most - base, used, memoryBytes, waiting, dropped, delivered, done, failed, longestMs }),
  );
  process.exit(0);
}

void run();
