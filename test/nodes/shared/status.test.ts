import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { statusOf, type Translate } from "../../../nodes/shared/status.js";
import type { ExporterStatus } from "../../../src/runtime/exporter.js";

const LOCALE = join(__dirname, "..", "..", "..", "nodes", "shared", "locales", "en-US", "flush-settings.json");
const texts = JSON.parse(readFileSync(LOCALE, "utf8")) as Record<string, Record<string, string>>;

/** As Node-RED's: dots lead into the catalogue, `__name__` is replaced. */
const text: Translate = (key, values = {}) => {
  const [group, name] = key.split(".") as [string, string];
  return texts[group]![name]!.replace(/__(\w+)__/g, (_, value: string) => String(values[value]));
};

const IDLE: ExporterStatus = {
  waiting: 0,
  waitingBytes: 0,
  oldestAgeMs: undefined,
  circuit: "closed",
  paused: false,
  problem: undefined,
  storage: undefined,
  deadLetters: 0,
  delivered: 0,
  dropped: 0,
  filtered: 0,
  onDisk: false,
};

describe("status under a node", () => {
  const cases: readonly (readonly [string, Partial<ExporterStatus>, string])[] = [
    ["is ready when nothing waits", {}, "green dot ready"],
    ["counts what waits", { waiting: 12, oldestAgeMs: 90 }, "green dot 12 waiting"],
    [
      "tells the age of the oldest",
      { waiting: 12, oldestAgeMs: 200_000, circuit: "open" },
      "yellow ring target down, 12 waiting, oldest 3 min",
    ],
    ["tells days", { waiting: 1, oldestAgeMs: 190_000_000 }, "green dot 1 waiting, oldest 2 d"],
    [
      "tells a problem that only the user can mend from one that mends itself",
      { circuit: "open", waiting: 3, problem: { message: "x", code: "login", configuration: true } },
      "red ring to be mended, 3 waiting",
    ],
    [
      "puts trouble with the queue's own disk first",
      { circuit: "open", paused: true, storage: { message: "no space left", code: "ENOSPC" } },
      "red ring queue disk trouble",
    ],
    [
      "tells trouble with the target's disk from that with the queue's",
      { storage: { message: "has not answered", code: "settle-late", ofTarget: true } },
      "red ring target disk trouble",
    ],
    [
      "says that there is no answer",
      { waiting: 2, problem: { message: "silence", code: "no-answer", configuration: false } },
      "yellow ring no answer, 2 waiting",
    ],
    ["shows that it is paused", { paused: true, waiting: 2 }, "grey ring paused, 2 waiting"],
    ["shows that it is trying again", { circuit: "halfOpen", waiting: 2 }, "yellow dot trying, 2 waiting"],
    [
      "shows a destination that is held while others go on",
      { waiting: 2, problem: { message: "x", code: "hold", configuration: false } },
      "yellow dot held, 2 waiting",
    ],
    [
      "shows a target that asks for less",
      { waiting: 2, problem: { message: "write queue full", code: "throttled", configuration: false } },
      "yellow dot target busy, 2 waiting",
    ],
    [
      "shows that it waits for a clock that can be trusted",
      { waiting: 2, problem: { message: "x", code: "clock", configuration: false } },
      "yellow ring waits for the clock, 2 waiting",
    ],
    ["never hides a drop or a rejection", { dropped: 7, deadLetters: 1 }, "green dot ready, 7 dropped, 1 rejected"],
  ];
  for (const [name, status, expected] of cases) {
    it(name, () => {
      const { fill, shape, text: shown } = statusOf({ ...IDLE, ...status }, text);

      assert.equal(`${fill} ${shape} ${shown}`, expected);
    });
  }
});
