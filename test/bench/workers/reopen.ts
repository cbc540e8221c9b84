/**
 * One life in a process of its own, for times that nothing else has touched: opens a queue, drains it into a file,
 * and reports. `reopen.ts FOLDER FILE`; without a file it only opens an empty queue and rests.
 */
import { engine, NullTarget, openEngine } from "../engine.js";
import { pause } from "../measure.js";

export interface Reopened {
  readonly openMs: number;
  readonly waiting: number;
  readonly drainMs: number;
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
  process.send!({ openMs, waiting, drainMs } satisfies Reopened, () => process.disconnect());
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
});
