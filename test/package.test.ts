import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { projectFolder } from "./support/servers-cache.js";

interface Manifest {
  readonly keywords: readonly string[];
  readonly dependencies: Readonly<Record<string, string>>;
  readonly "node-red": { readonly nodes: Readonly<Record<string, string>> };
}

const manifest = JSON.parse(readFileSync(join(projectFolder, "package.json"), "utf8")) as Manifest;
const announced = Object.entries(manifest["node-red"].nodes);

function filesUnder(folder: string, ending: string): string[] {
  const path = join(projectFolder, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));
}

describe("the package", () => {
  it("announces every node to Node-RED, and none that is not there", () => {
    const nodes = filesUnder("nodes", ".html").filter((html) => existsSync(html.replace(/\.html$/, ".ts")));

    assert.ok(nodes.length > 0);
    assert.deepEqual(
      announced.map(([, file]) => file).sort(),
      nodes.map((html) => `dist/${html.replace(/\.html$/, ".js")}`).sort(),
    );
  });

  it("gives each node a help text and labels in English beside its dialog", () => {
    for (const [name, file] of announced) {
      const source = file.replace(/^dist\//, "");
      const locale = join(projectFolder, source, "..", "locales", "en-US", basename(source, ".js"));
      for (const ending of [".json", ".html"]) assert.ok(existsSync(locale + ending), `${name}: no ${locale}${ending}`);
    }
  });

  it("registers each node type in its html as a literal, which is what the flow library reads", () => {
    for (const [name, file] of announced) {
      const html = readFileSync(join(projectFolder, file.replace(/^dist\//, "").replace(/\.js$/, ".html")), "utf8");
      assert.match(html, new RegExp(`RED\\.nodes\\.registerType\\(\\s*["']${name}["'],\\s*\\{`), name);
    }
  });

  it("shows each node that is not a config node in an example flow", () => {
    const shown = new Set(
      filesUnder("examples", ".json").flatMap((file) =>
        (JSON.parse(readFileSync(join(projectFolder, file), "utf8")) as { type: string }[]).map((node) => node.type),
      ),
    );

    const missing = announced.map(([name]) => name).filter((name) => name !== "resilient-runtime" && !shown.has(name));
    assert.deepEqual(missing, []);
  });

  it("is found under the keyword node-red and brings at most six dependencies", () => {
    assert.ok(manifest.keywords.includes("node-red"));
    assert.ok(Object.keys(manifest.dependencies).length <= 6);
  });
});
