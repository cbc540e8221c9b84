/**
 * One life in a process of its own, for memory and times that nothing else has touched: opens a queue, drains it into
 * a file, and reports. `reopen.ts FOLDER FILE`; without a file it only opens an empty queue and rests.
 */
import { readFileSync } from "node:fs";
import { engine, NullTarget, openEngine } from "../engine.js";
import { pause } from "../measure.js";

export interface Reopened {
  readonly openMs: number;
  readonly waiting: number;
  readonly drainMs: number;
  /** Most memory resident at any time, in bytes. */
  readonly peakBytes: number;
}

async function main(): Promise<void> {
  const [folder, file] = process.argv.slice(2) as [string, string | undefined];
  const target = file === undefined ? new NullTarget() : new engine.FileTarget({ file });
  const startedMs = performance.now();
  const { exporter, delivered, close } = await openEngine({ folder, target });
  const openMs = performance.now() - startedMs;
  const { waiting } = exporter.status();
  if (file === undefined) await pause(1_000);
  await delivered();
  await close();
  const drainMs = performance.now() - startedMs;
  process.send!({ openMs, waiting, drainMs, peakBytes: peakBytes() } satisfies Reopened, () => process.disconnect());
}

function peakBytes(): number {
  const kib = /VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"));
  return Number(kib?.[1]) * 1024;
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
});
