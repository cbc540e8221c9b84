/** Measures the one figure it is told and sends what it found, or why it failed, to `main.ts`. */
import { limitMsOf, type Measured } from "./figure.js";
import { loadFigures } from "./load.js";

/** Without anything: it begins to measure. */
export interface Told {
  readonly found?: Measured[];
  /** Why there is nothing, in a sentence. */
  readonly failure?: string;
}

async function main(): Promise<void> {
  const name = process.argv[2];
  const figure = (await loadFigures()).find((candidate) => candidate.name === name);
  if (figure === undefined) throw new Error(`No figure is called ${name}.`);
  await figure.prepare?.();
  await tell({});
  const limitMs = limitMsOf(figure);
  const limit = setTimeout(
    () => fail(new Error(`it had not ended after ${limitMs / 1_000} s${waitingFor()}`)),
    limitMs,
  );
  const found = await figure.measure();
  clearTimeout(limit);
  await tell({ found });
  process.disconnect();
}

/** What keeps the process alive, to see what a figure that hangs waits for. */
function waitingFor(): string {
  const counts = new Map<string, number>();
  for (const resource of process.getActiveResourcesInfo()) counts.set(resource, (counts.get(resource) ?? 0) + 1);
  const list = [...counts].map(([resource, count]) => `${count} ${resource}`).join(", ");
  return `, with ${list} under way`;
}

function tell(told: Told): Promise<void> {
  return new Promise((resolve) => process.send!(told, () => resolve()));
}

function fail(error: unknown): void {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  // Not by itself: whatever hangs would keep it alive.
  void tell({ failure: error instanceof Error ? error.message : String(error) }).finally(() => process.exit(1));
}

main().catch(fail);
