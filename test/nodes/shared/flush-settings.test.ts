/** The editor's copy of the settings, and the texts it shows, agree with the engine's. */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { BUDGETS, FLUSH_SETTINGS, type Setting, type Unit } from "../../../src/runtime/settings.js";

const NODES = join(__dirname, "..", "..", "..", "nodes");

interface EditorSetting {
  readonly name: string;
  readonly kind: string;
  readonly unit?: string;
  readonly factor?: number;
  readonly [property: string]: unknown;
}
interface Group {
  readonly set: "flush" | "budgets";
  readonly group: string;
  readonly settings: readonly EditorSetting[];
}
type Texts = { readonly [key: string]: string | Texts };

const html = readFileSync(join(NODES, "shared", "flush-settings.html"), "utf8");
const json = /<script type="application\/json" id="resilient-settings">([\s\S]*?)<\/script>/.exec(html)![1]!;
const groups = JSON.parse(json) as readonly Group[];

/** What the number typed into a field is multiplied by, for each unit that is shown. */
const FACTORS: Readonly<Record<string, { unit: Unit; factor: number }>> = {
  s: { unit: "ms", factor: 1_000 },
  ms: { unit: "ms", factor: 1 },
  h: { unit: "ms", factor: 3_600_000 },
  MiB: { unit: "bytes", factor: 1024 ** 2 },
  KiB: { unit: "bytes", factor: 1024 },
  "KiB/s": { unit: "bytes/s", factor: 1024 },
  "": { unit: "", factor: 1 },
};

describe("flush settings in the editor", () => {
  for (const [set, known] of [
    ["flush", FLUSH_SETTINGS],
    ["budgets", BUDGETS],
  ] as const) {
    it(`offers the ${set} settings of the engine with the same ranges and defaults`, () => {
      const offered = groups.filter((group) => group.set === set).flatMap((group) => group.settings);

      for (const { name, unit, factor, ...rest } of offered) {
        const { unit: expectedUnit, ...expected } = (known as Record<string, Setting & { unit?: Unit }>)[name]!;
        assert.deepEqual(rest, expected, name);
        if (rest.kind === "number") assert.deepEqual({ unit: expectedUnit, factor }, FACTORS[unit!], name);
      }
      assert.deepEqual(
        offered.map(({ name }) => name),
        Object.keys(known),
      );
    });
  }

  it("has a text for each of them", () => {
    const texts = catalogue("shared", "en-US", "flush-settings.json");

    for (const group of groups) {
      assert.equal(typeof at(texts, `group.${group.group}`), "string", group.group);
      for (const { name, unit, choices } of group.settings) {
        assert.equal(typeof at(texts, `setting.${name}`), "string", name);
        if (unit !== undefined && unit !== "") assert.equal(typeof at(texts, `unit.${unit}`), "string", unit);
        for (const choice of (choices as string[] | undefined) ?? [])
          assert.equal(typeof at(texts, `choice.${choice}`), "string", choice);
      }
    }
  });

  it("says in German all that it says in English, with the same values in it", () => {
    for (const folder of ["shared", "runtime", "file-exporter"]) {
      const files = readdirSync(join(NODES, folder, "locales", "en-US"));
      assert.deepEqual(readdirSync(join(NODES, folder, "locales", "de")), files);
      for (const file of files.filter((name) => name.endsWith(".json"))) {
        assert.deepEqual(shape(catalogue(folder, "de", file)), shape(catalogue(folder, "en-US", file)), file);
      }
    }
  });
});

function catalogue(folder: string, language: string, file: string): Texts {
  return JSON.parse(readFileSync(join(NODES, folder, "locales", language, file), "utf8")) as Texts;
}

function at(texts: Texts, path: string): unknown {
  return path.split(".").reduce<unknown>((found, name) => (found as Texts | undefined)?.[name], texts);
}

/** The keys, and the placeholders of each text in alphabetical order. */
function shape(texts: Texts): unknown {
  return Object.fromEntries(
    Object.entries(texts).map(([key, value]) => [
      key,
      typeof value === "string" ? [...value.matchAll(/__\w+__/g)].map(([name]) => name).sort() : shape(value),
    ]),
  );
}
