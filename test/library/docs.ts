/** The programs in the documentation: each block of code that is named, by that name. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectFolder } from "../support/servers-cache.js";

export function programsIn(document: string): ReadonlyMap<string, string> {
  const text = readFileSync(join(projectFolder, "docs", document), "utf8");
  return new Map([...text.matchAll(/^```[a-z]+ file=(\S+)\n(.*?)^```$/gms)].map((match) => [match[1]!, match[2]!]));
}
