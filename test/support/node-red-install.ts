/**
 * The programs a real Node-RED in the tests consists of: a Node.js, a Node-RED, and our package as a user gets it.
 * Each is made once and reused. Running them is `node-red.ts`.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cacheFolder, installInto, madeOnce, output, projectFolder } from "./servers-cache.js";

/** The lines of Node-RED the package supports. */
export type NodeRedVersion = "4.1" | "5";
export const NODE_RED_VERSIONS: readonly NodeRedVersion[] = ["4.1", "5"];

const RANGE = { "4.1": "~4.1.0", "5": "^5.0.0" } as const satisfies Record<NodeRedVersion, string>;
/** Node-RED 5 asks for Node.js 22.9 and recommends 24. */
const NODE_MAJOR_FOR_5 = 24;
/** A packed package that no run has made for so long is of no use any more. */
const PACKAGE_KEPT_MS = 24 * 60 * 60 * 1_000;

/** The Node.js that runs this version of Node-RED: the one running the tests for 4.1, a newer one for 5. */
export async function nodeFor(version: NodeRedVersion): Promise<string> {
  const ownMajor = Number(process.versions.node.split(".")[0]);
  if (version === "4.1" || ownMajor >= NODE_MAJOR_FOR_5) return process.execPath;
  // The package `node` picks the one for the machine in an install script, and npm may refuse to run those.
  const packageName = `node-${process.platform}-${process.arch}`;
  const folder = await madeOnce(`node-${NODE_MAJOR_FOR_5}`, (into) =>
    installInto(into, [`${packageName}@${NODE_MAJOR_FOR_5}`]),
  );
  return join(folder, "node_modules", packageName, "bin", "node");
}

/** The script that starts this version of Node-RED. */
export async function nodeRedScript(version: NodeRedVersion): Promise<string> {
  const folder = await madeOnce(`node-red-${version}`, (into) => installInto(into, [`node-red@${RANGE[version]}`]));
  return join(folder, "node_modules", "node-red", "red.js");
}

let packed: Promise<string> | undefined;

/** A node_modules folder with our package and its dependencies, installed from the tarball that npm would publish. */
export function packageModules(): Promise<string> {
  return (packed ??= installPacked());
}

async function installPacked(): Promise<string> {
  await buildWhenStale();
  const folder = await mkdtemp(join(tmpdir(), "resilient-pack-"));
  try {
    await output("npm", ["pack", "--ignore-scripts", "--loglevel=error", "--pack-destination", folder], projectFolder);
    const tarball = (await readdir(folder)).find((name) => name.endsWith(".tgz"));
    if (tarball === undefined) throw new Error("npm pack made no tarball");
    const path = join(folder, tarball);
    const digest = createHash("sha256")
      .update(await readFile(path))
      .digest("hex");
    const name = `package-${digest.slice(0, 16)}`;
    await removeOld(name);
    return join(await madeOnce(name, (into) => installInto(into, [path])), "node_modules");
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Tests of a single file are run without a build before them: what they load must still be today's code. */
async function buildWhenStale(): Promise<void> {
  const dist = join(projectFolder, "dist");
  const builtAt = existsSync(dist) ? (await stat(dist)).birthtimeMs : 0;
  const sources = ["src", "nodes", "icons", "package.json", "tsconfig.json"].map((name) => join(projectFolder, name));
  const changedAt = Math.max(...(await Promise.all(sources.map(newestChange))));
  if (changedAt > builtAt) await output(process.execPath, [join(projectFolder, ".ci", "build.mjs")], projectFolder);
}

async function newestChange(path: string): Promise<number> {
  if (!existsSync(path)) return 0;
  const { mtimeMs } = await stat(path);
  const entries = (await stat(path)).isDirectory() ? await readdir(path) : [];
  return Math.max(mtimeMs, ...(await Promise.all(entries.map((name) => newestChange(join(path, name))))));
}

/** Packages of earlier days, and what runs that were cut short left half-made. */
async function removeOld(except: string): Promise<void> {
  if (!existsSync(cacheFolder())) return;
  for (const name of await readdir(cacheFolder())) {
    if (name === except || !(name.startsWith("package-") || name.endsWith(".making"))) continue;
    const path = cacheFolder(name);
    const { mtimeMs } = await stat(path);
    if (Date.now() - mtimeMs > PACKAGE_KEPT_MS) await rm(path, { recursive: true, force: true });
  }
}
