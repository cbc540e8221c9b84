/** The documentation names every option there is, with the default it has. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as library from "../../src/index.js";
import { BUDGETS, DEFAULT_FLUSH, FLUSH_SETTINGS, NETWORK, type Setting } from "../../src/runtime/settings.js";
import { checkElasticsearchOptions } from "../../src/targets/elasticsearch/options.js";
import { checkMongoOptions } from "../../src/targets/mongodb/options.js";
import { projectFolder } from "../support/servers-cache.js";

const page = (name: string): string => readFileSync(join(projectFolder, "docs", name), "utf8");
const libraryPage = page("library.md");

/** The text below a heading, up to the next. */
function section(heading: string): string {
  const from = libraryPage.indexOf(`${heading}\n`);
  assert.ok(from >= 0, `no ${heading}`);
  const next = libraryPage.slice(from + heading.length).search(/^##/m);
  return next < 0 ? libraryPage.slice(from) : libraryPage.slice(from, from + heading.length + next);
}

/** The cells of the row that begins with this name. */
function row(text: string, name: string): string[] {
  const line = text.split("\n").find((candidate) => new RegExp(`^\\| \`${name}\``).test(candidate));
  assert.ok(line !== undefined, `no row for ${name}`);
  return line.split("|").map((cell) => cell.trim());
}

describe("the documentation of the library", () => {
  it("has every flush setting, with its default and its choices", () => {
    const text = section("### Flush settings");
    for (const [name, setting] of Object.entries<Setting>(FLUSH_SETTINGS)) {
      const [, , byDefault, range] = row(text, name);
      const expected = String(DEFAULT_FLUSH[name as keyof typeof DEFAULT_FLUSH]);
      assert.equal(byDefault?.replaceAll("`", ""), expected, name);
      if (setting.kind === "choice") {
        assert.deepEqual(range?.replaceAll("`", "").split(", "), [...setting.choices], name);
      }
    }
  });

  it("has every setting of the runtime", () => {
    for (const name of ["folder", ...Object.keys(BUDGETS), ...Object.keys(NETWORK)])
      row(section("### `runtime`"), name);
  });

  it("has every option of the exporters", () => {
    const mongo = checkMongoOptions({ database: "a", collection: "b", device: "d", timeSeries: { timeField: "t" } });
    const elastic = checkElasticsearchOptions({ index: "i" });
    const options: readonly [string, readonly string[]][] = [
      ["## Options of `MongoDBExporter`", [...Object.keys(mongo), ...Object.keys(mongo.connection)]],
      ["## Options of `ElasticsearchExporter`", [...Object.keys(elastic), ...Object.keys(elastic.connection)]],
    ];
    for (const [heading, names] of options) {
      const text = section(heading);
      for (const name of names) assert.ok(text.includes(`\`${name}\``), `${heading} lacks ${name}`);
    }
  });

  it("has no option of the file exporter that it would refuse", () => {
    const names = [...section("## Options of `FileExporter`").matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name!);

    assert.ok(names.length >= 12);
    for (const name of names) new library.FileExporter({ file: "x", [name]: name === "file" ? "x" : undefined });
  });

  it("tells where each argument of the Python package went", () => {
    const text = page("from-python.md");
    const given = `transform timeout use_memory manual_reexport tmp_file max_size save_unsent_data test_url name
      target_file max_lines append keep_new_data remaining_lines remove_lines target_ip target_port username password
      default_db default_collection cluster_hosts cloud_id api_key sniff_on_start default_index use_ssl ssl_certfile
      ssl_ca_certs exporters num_threads wait_for_result add_exporter send_unsent_data has_unsent_data`.split(/\s+/);
    for (const name of given) assert.match(text, new RegExp(`\`[^\`]*\\b${name}\\b`), name);
  });

  it("names no option or export that does not exist", () => {
    const text = page("library.md") + page("targets.md") + page("from-python.md");
    const imported = [...text.matchAll(/(?:import|const) \{([^}]*)\} (?:from|=) (?:require\()?"node-red-contrib/g)]
      .flatMap(([, names]) => names!.split(","))
      .map((name) => name.trim())
      .filter((name) => name !== "" && !name.startsWith("type "));

    assert.ok(imported.length > 5);
    for (const name of imported) assert.ok(Object.hasOwn(library, name), name);
  });
});
