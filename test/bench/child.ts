/** Measures the one figure it is told and sends what it found to `main.ts`. */
import type { Measured } from "./figure.js";
import { loadFigures } from "./load.js";

async function main(): Promise<void> {
  const name = process.argv[2];
  const figure = (await loadFigures()).find((candidate) => candidate.name === name);
  if (figure === undefined) throw new Error(`No figure is called ${name}.`);
  const found: Measured[] = await figure.measure();
  await new Promise((resolve) => process.send!(found, resolve));
  process.disconnect();
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
});
