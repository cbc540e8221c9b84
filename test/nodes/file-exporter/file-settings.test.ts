import assert from "node:assert/strict";
import { checkFileSettings, targetOptions } from "../../../nodes/file-exporter/file-settings.js";
import { checkOptions } from "../../../src/targets/file/options.js";

describe("settings of a file exporter", () => {
  it("are usable by the file target when the dialog was left alone", () => {
    const { settings, problems } = checkFileSettings(undefined);

    assert.deepEqual(problems, []);
    assert.doesNotThrow(() => checkOptions({ file: "/tmp/x", ...targetOptions(settings) }));
  });

  it("take columns as a person writes them, and a tab by its usual name", () => {
    const { settings } = checkFileSettings({ format: "csv", columns: " time, value.celsius ,,unit", separator: "\\t" });

    const { csv } = targetOptions(settings);

    assert.deepEqual(csv?.columns, ["time", "value.celsius", "unit"]);
    assert.equal(csv?.separator, "\t");
  });

  it("say what is wrong and take the default in its place", () => {
    const { settings, problems } = checkFileSettings({ maxLines: "many", encoding: 7, whenFull: "explode" });

    assert.deepEqual(
      problems.map(({ setting }) => setting),
      ["maxLines", "encoding", "whenFull"],
    );
    assert.deepEqual(settings, checkFileSettings({}).settings);
  });
});
