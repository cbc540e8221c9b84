/** Sends a thousand records a second into a file, each synced, until it is killed; prints how many are safe. */
import { writeSync } from "node:fs";
import { engine, openEngine } from "../engine.js";
import { readings100 } from "../readings.js";

async function main(): Promise<void> {
  const [folder, file] = process.argv.slice(2) as [string, string];
  const target = new engine.FileTarget({ file });
  const { exporter } = await openEngine({ folder, target, flush: { durability: "everyMessage" } });
  const readings = readings100();
  const startedMs = performance.now();
  let sent = 0;
  let safe = 0;
  setInterval(() => {
    for (const due = performance.now() - startedMs; sent < due; sent++) {
      exporter.send(readings[sent % readings.length], {}, (error) => {
        if (error === undefined) writeSync(1, `${++safe}\n`);
      });
    }
  }, 1);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
});
