/** The Python library that this package is heir to, `resilient-exporters`, in a Python of its own. */
import { join } from "node:path";
import { madeOnce, output } from "../../support/servers-cache.js";

const VERSION = "0.1.6";
export const SEED = `resilient-exporters ${VERSION}`;

/**
 * Path of a Python that has it. Without psycopg2 it cannot be imported, whatever it is used for.
 * @param name of this set of packages, in the cache
 * @param packages what it needs beside itself
 * @throws when there is no Python, or the packages cannot be had
 */
export async function seedPython(name = "", packages: readonly string[] = []): Promise<string> {
  const folder = await madeOnce(`resilient-exporters-${VERSION}${name}`, async (into) => {
    await output("python3", ["-m", "venv", "--copies", into], "/");
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    const all = [`resilient-exporters==${VERSION}`, "psycopg2-binary", "orjson", ...packages];
    await output(join(into, "bin", "python"), [...pip, ...all], "/");
  });
  return join(folder, "bin", "python");
}
