/** The editor's copies of the settings, and the texts it shows, agree with what the nodes check. */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { EVENT_SETTINGS } from "../../../nodes/events/events.js";
import { ELASTICSEARCH_SETTINGS } from "../../../nodes/elasticsearch-exporter/elasticsearch-settings.js";
import { FILE_SETTINGS } from "../../../nodes/file-exporter/file-settings.js";
import { MONGO_SETTINGS } from "../../../nodes/mongodb-exporter/mongodb-settings.js";
import { BUDGETS, FLUSH_SETTINGS, NETWORK, type Setting, type Unit } from "../../../src/runtime/settings.js";

const NODES = join(__dirname, "..", "..", "..", "nodes");

interface EditorSetting {
  readonly name: string;
  readonly kind: string;
  readonly unit?: string;
  readonly factor?: number;
  /** What 0 is called where it is not "no limit". */
  readonly zeroText?: string;
  readonly [property: string]: unknown;
}
interface Group {
  readonly set: string;
  readonly group: string;
  readonly settings: readonly EditorSetting[];
}
type Texts = { readonly [key: string]: string | Texts };

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

const SETS = [
  { set: "flush", known: FLUSH_SETTINGS, folder: "shared", base: "flush-settings", id: "resilient-shared" },
  { set: "budgets", known: BUDGETS, folder: "shared", base: "flush-settings", id: "resilient-shared" },
  { set: "network", known: NETWORK, folder: "shared", base: "flush-settings", id: "resilient-shared" },
  { set: "resilient-events", known: EVENT_SETTINGS, folder: "events", base: "events", id: "resilient-events" },
  { set: "resilient-file", known: FILE_SETTINGS, folder: "file-exporter", base: "file-exporter", id: "resilient-file" },
  {
    set: "resilient-mongodb",
    known: MONGO_SETTINGS,
    folder: "mongodb-exporter",
    base: "mongodb-exporter",
    id: "resilient-mongodb",
  },
  {
    set: "resilient-elasticsearch",
    known: ELASTICSEARCH_SETTINGS,
    folder: "elasticsearch-exporter",
    base: "elasticsearch-exporter",
    id: "resilient-elasticsearch",
  },
] as const;

describe("settings in the editor", () => {
  for (const { set, known, folder, base, id } of SETS) {
    const groups = groupsIn(join(NODES, folder, `${base}.html`), `${id}-settings`).filter((group) => group.set === set);

    it(`offer those of "${set}" with the ranges and defaults that are checked`, () => {
      const offered = groups.flatMap((group) => group.settings);

      for (const { name, unit, factor, zeroText, ...rest } of offered) {
        const { unit: expectedUnit, ...expected } = (known as Record<string, Setting & { unit?: Unit }>)[name]!;
        assert.deepEqual(rest, expected, name);
        assert.ok(zeroText === undefined || ("zeroIsNoLimit" in rest && rest.zeroIsNoLimit === true), name);
        if (rest.kind === "number") assert.deepEqual({ unit: expectedUnit, factor }, FACTORS[unit!], name);
      }
      assert.deepEqual(
        offered.map(({ name }) => name),
        Object.keys(known),
      );
    });

    it(`have a text for all of "${set}"`, () => {
      const texts = catalogue(folder, "en-US", `${base}.json`);
      const shared = catalogue("shared", "en-US", "flush-settings.json");

      assert.equal(typeof at(texts, `label.${set}`), "string");
      for (const { group, settings } of groups) {
        assert.equal(typeof at(texts, `group.${group}`), "string", group);
        for (const { name, unit, zeroText, choices } of settings) {
          if (zeroText !== undefined) assert.equal(typeof at(shared, `label.${zeroText}`), "string", zeroText);
          assert.equal(typeof at(texts, `setting.${name}`), "string", name);
          if (unit !== undefined && unit !== "") assert.equal(typeof at(shared, `unit.${unit}`), "string", unit);
          for (const choice of (choices as string[] | undefined) ?? [])
            assert.equal(typeof at(texts, `choice.${choice}`), "string", choice);
        }
      }
    });
  }

  it("say in German all that they say in English, with the same values in it", () => {
    for (const folder of ["shared", "runtime", "file-exporter", "mongodb-exporter", "elasticsearch-exporter"]) {
      const files = readdirSync(join(NODES, folder, "locales", "en-US"));
      assert.deepEqual(readdirSync(join(NODES, folder, "locales", "de")), files);
      for (const file of files.filter((name) => name.endsWith(".json"))) {
        assert.deepEqual(shape(catalogue(folder, "de", file)), shape(catalogue(folder, "en-US", file)), file);
      }
    }
  });
});

function groupsIn(path: string, id: string): readonly Group[] {
  const json = new RegExp(`<script type="application/json" id="${id}">([\\s\\S]*?)</script>`).exec(
    readFileSync(path, "utf8"),
  );
  return JSON.parse(json![1]!) as readonly Group[];
}

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
