import assert from "node:assert/strict";
import fc from "fast-check";
import {
  BUDGETS,
  DEFAULT_FLUSH,
  FLUSH_SETTINGS,
  checkBudgets,
  checkFlushSettings,
  parseQuantity,
  type Setting,
} from "../../src/runtime/settings.js";

describe("settings of a queue", () => {
  it("takes the defaults when nothing is given", () => {
    for (const nothing of [undefined, null, "", {}]) {
      assert.deepEqual(checkFlushSettings(nothing), { settings: DEFAULT_FLUSH, problems: [] });
    }
  });

  it("inherits value by value what is left empty", () => {
    const runtime = { ...DEFAULT_FLUSH, writeIntervalMs: 2_000, overflow: "refuse" as const };

    const { settings, problems } = checkFlushSettings(
      { writeIntervalMs: "", overflow: null, batchRecords: 7 },
      runtime,
    );

    assert.deepEqual(settings, { ...runtime, batchRecords: 7 });
    assert.deepEqual(problems, []);
  });

  it("says what is wrong, and goes on with the inherited value", () => {
    const { settings, problems } = checkFlushSettings({ durability: "always", concurrency: 99, keepUnsent: "maybe" });

    assert.deepEqual(settings, DEFAULT_FLUSH);
    assert.deepEqual(
      problems.map(({ setting }) => setting),
      ["durability", "concurrency", "keepUnsent"],
    );
    assert.match(problems[1]!.message, /between 1 and 16/);
  });

  it("says what was typed where that is no number, and what is allowed where it is below zero", () => {
    const messages = (input: object): string[] => checkFlushSettings(input).problems.map(({ message }) => message);

    assert.deepEqual(messages({ backlogRecords: "${MOST}" }), ['backlogRecords must be a number, not "${MOST}".']);
    for (const backlogRecords of [-3, "-3"]) {
      assert.deepEqual(messages({ backlogRecords }), [
        "backlogRecords must be between 1 and 1000000000000, or 0 for no limit.",
      ]);
    }
  });

  it("tells a mistyped name instead of ignoring it", () => {
    const { problems } = checkFlushSettings({ writeInterval: 5 });

    assert.deepEqual(problems, [{ setting: "writeInterval", message: '"writeInterval" is not a setting.' }]);
  });

  it("reads units as an environment variable brings them", () => {
    const { settings, problems } = checkFlushSettings({
      backlogBytes: "2 GiB",
      writeIntervalMs: "1.5 s",
      giveUpAfterMs: "7d",
      bytesPerSecond: "64 KiB/s",
      batchRecords: "250",
      strictOrder: "true",
    });

    assert.deepEqual(problems, []);
    assert.equal(settings.backlogBytes, 2 * 1024 ** 3);
    assert.equal(settings.writeIntervalMs, 1_500);
    assert.equal(settings.giveUpAfterMs, 7 * 86_400_000);
    assert.equal(settings.bytesPerSecond, 65_536);
    assert.equal(settings.batchRecords, 250);
    assert.equal(settings.strictOrder, true);
  });

  it("refuses a unit of another kind", () => {
    assert.equal(parseQuantity("5 s", "bytes"), undefined);
    assert.equal(parseQuantity("5 MiB", "ms"), undefined);
    assert.equal(parseQuantity("5 MiB/s", "bytes"), undefined);
    assert.equal(parseQuantity("5 constructor", "ms"), undefined);
  });

  it("takes 0 as no limit only where there is such a thing", () => {
    assert.equal(checkFlushSettings({ backlogRecords: 0 }).problems.length, 0);
    assert.equal(checkFlushSettings({ batchRecords: 0 }).problems.length, 1);
  });

  it("is not led astray by names that every object has", () => {
    const { settings, problems } = checkFlushSettings(
      JSON.parse('{"__proto__": {"durability": "memory"}, "constructor": 1}'),
    );

    assert.deepEqual(settings, DEFAULT_FLUSH);
    assert.equal(problems.length, 2);
    assert.equal(Object.getPrototypeOf(settings), Object.prototype);
  });

  it("gives usable settings whatever comes", () => {
    fc.assert(
      fc.property(fc.anything(), (input) => {
        assertUsable(checkFlushSettings(input).settings, FLUSH_SETTINGS);
        assertUsable(checkBudgets(input).settings, BUDGETS);
      }),
    );
  });

  it("gives usable settings whatever value a known name has", () => {
    const names = Object.keys(FLUSH_SETTINGS);
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), fc.oneof(fc.anything(), fc.double())), (input) => {
        assertUsable(checkFlushSettings(input).settings, FLUSH_SETTINGS);
      }),
    );
  });

  it("has defaults that its own check accepts", () => {
    assert.deepEqual(checkFlushSettings(DEFAULT_FLUSH), { settings: DEFAULT_FLUSH, problems: [] });
  });
});

function assertUsable(settings: object, known: Readonly<Record<string, Setting>>): void {
  assert.deepEqual(Object.keys(settings), Object.keys(known));
  for (const [name, value] of Object.entries(settings)) {
    const setting = known[name]!;
    if (setting.kind === "choice") assert.ok(setting.choices.includes(value as string), name);
    else if (setting.kind === "switch") assert.equal(typeof value, "boolean", name);
    else if (setting.kind === "text") assert.equal(typeof value, "string", name);
    else {
      const isNoLimit = value === 0 && setting.zeroIsNoLimit === true;
      assert.ok(
        Number.isInteger(value) && (isNoLimit || (value >= setting.min && value <= setting.max)),
        `${name} ${value}`,
      );
    }
  }
}
