/** Where the compiled engine is: below node_modules, from where its files find their packages. */
import { join } from "node:path";
import { projectFolder } from "../support/servers-cache.js";

export const builtFolder = join(projectFolder, "node_modules", ".cache", "resilient-bench");
