/** Finds the figures: each file in `figures/` has some, and is read in the order of its name. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Figure } from "./figure.js";

export async function loadFigures(): Promise<Figure[]> {
  const folder = join(__dirname, "figures");
  const figures: Figure[] = [];
  for (const name of readdirSync(folder).sort()) {
    if (!name.endsWith(".ts")) continue;
    const found = (await import(join(folder, name))) as { figures: readonly Figure[] };
    figures.push(...found.figures);
  }
  return figures;
}
