/** Looks for secrets everywhere a Node-RED leaves traces: its folder, its log, what its nodes said. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { NodeRed } from "../support/node-red.js";
import { heard } from "./flows.js";

/** Every character that means something in a URI, JSON, a shell, HTML or a regular expression, and some beyond ASCII. */
export const SPECIAL = `p@:/?#[]!$&'()*+,;=%"<>\\^\`{|}~ -_.§ü`;

/** Whether records lie on disk, in a folder that `traces` looks into. */
export function hasQueueFile(nodeRed: NodeRed): boolean {
  return readdirSync(nodeRed.userDir, { recursive: true }).some((name) => String(name).endsWith(".seg"));
}

/** Where a secret was found, in words; empty when nowhere. Also as JSON, URIs and headers would write it. */
export async function traces(nodeRed: NodeRed, secrets: readonly string[]): Promise<string[]> {
  const needles = secrets.flatMap((secret) => [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
    Buffer.from(secret).toString("base64").replace(/=+$/, ""),
  ]);
  const found: string[] = [];
  const look = (where: string, text: string): void => {
    if (needles.some((needle) => text.includes(needle))) found.push(where);
  };
  look("the log", nodeRed.lines.join("\n"));
  look("what nodes heard", JSON.stringify(await heard(nodeRed)));
  look("the flows over the admin API", JSON.stringify(await nodeRed.flows()));
  for (const entry of readdirSync(nodeRed.userDir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.parentPath.includes("node_modules")) continue;
    const path = join(entry.parentPath, entry.name);
    look(path.slice(nodeRed.userDir.length), readFileSync(path, "utf8"));
  }
  return found;
}
