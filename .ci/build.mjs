/**
 * Makes dist/: the compiled CommonJS, and beside each compiled node what Node-RED's loader looks for there
 * (its html, its locales, the icons).
 */
import { cpSync, existsSync, readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { mustRun, requirePackages, root } from "./steps.mjs";

const dist = join(root, "dist");

requirePackages();
rmSync(dist, { recursive: true, force: true });
await mustRun("tsc", ["-p", "tsconfig.json"]);
copyBesideNodes();

function copyBesideNodes() {
  const nodes = join(root, "nodes");
  if (!existsSync(nodes)) return;
  const folders = new Set();
  for (const entry of readdirSync(nodes, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !/\.(html|json)$/.test(entry.name)) continue;
    const from = join(entry.parentPath, entry.name);
    cpSync(from, join(dist, "nodes", from.slice(nodes.length)));
    if (entry.name.endsWith(".html") && !from.includes("locales")) folders.add(dirname(from));
  }
  const icons = join(root, "icons");
  if (!existsSync(icons)) return;
  for (const folder of folders)
    cpSync(icons, join(dist, "nodes", folder.slice(nodes.length), "icons"), { recursive: true });
}
