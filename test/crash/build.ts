/**
 * Makes the explorer ready to run at full speed, and copies of it with faults planted: compiled by tsc into a folder of
 * their own, so that nothing in the source knows of the faults.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import type { PlantedFault } from "./mutants.js";

const ROOT = resolve(__dirname, "../..");
const ENTRY = "test/crash/worker.ts";

export interface Built {
  /** The compiled `test/crash` of a fault, or of the code as it is. */
  crashFolder(fault?: string): string;
  remove(): void;
}

/** @throws when the text that a fault replaces is not there exactly once: the code has moved on, and so must the fault */
export async function build(faults: readonly PlantedFault[]): Promise<Built> {
  const sources = sourcesFrom(ENTRY);
  const folder = mkdtempSync(join(tmpdir(), "resilient-crash-"));
  try {
    writeVariant(folder, "as-is", sources);
    for (const fault of faults) writeVariant(folder, fault.name, planted(fault, sources));
    writeFileSync(join(folder, "package.json"), `{ "type": "commonjs" }\n`);
    const compilerOptions = {
      target: "es2023",
      module: "node20",
      types: [],
      noCheck: true,
      skipLibCheck: true,
      rootDir: "in",
      outDir: "out",
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["in"] }));
    symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
    await promisify(execFile)(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", folder]);
  } catch (error) {
    rmSync(folder, { recursive: true });
    throw error;
  }
  return {
    crashFolder: (fault = "as-is") => join(folder, "out", fault, "test/crash"),
    remove: () => rmSync(folder, { recursive: true }),
  };
}

function writeVariant(folder: string, name: string, sources: ReadonlyMap<string, string>): void {
  for (const [path, text] of sources) {
    const to = join(folder, "in", name, path);
    mkdirSync(dirname(to), { recursive: true });
    writeFileSync(to, text);
  }
}

/** A file of ours and all that it imports of ours, by path. */
function sourcesFrom(entry: string): Map<string, string> {
  const sources = new Map<string, string>();
  const wanted = [entry];
  for (let path = wanted.pop(); path !== undefined; path = wanted.pop()) {
    if (sources.has(path)) continue;
    const text = readFileSync(join(ROOT, path), "utf8");
    sources.set(path, text);
    for (const [, imported] of text.matchAll(/^(?:import|export) [^;]*?from "(\.[^"]+)\.js";/gms)) {
      wanted.push(relative(ROOT, resolve(ROOT, dirname(path), `${imported}.ts`)));
    }
  }
  return sources;
}

function planted({ name, edits }: PlantedFault, sources: ReadonlyMap<string, string>): Map<string, string> {
  const changed = new Map(sources);
  for (const { file, find, replace } of edits) {
    const path = `src/log/${file}`;
    const text = changed.get(path) ?? "";
    const found = [...text.matchAll(anyhowSpaced(find))];
    if (found.length !== 1) throw new Error(`${name}: its text stands ${found.length} times in ${path}, not once`);
    const [{ index, 0: whole }] = found as [RegExpExecArray];
    changed.set(path, text.slice(0, index) + replace + text.slice(index + whole.length));
  }
  return changed;
}

/** Finds the text whatever its line breaks and indents, which a formatter may change at any time. */
function anyhowSpaced(text: string): RegExp {
  const words = text.trim().split(/\s+/);
  return new RegExp(words.map((word) => word.replace(/[$()*+.?[\\\]^{|}]/g, "\\$&")).join("\\s+"), "g");
}
