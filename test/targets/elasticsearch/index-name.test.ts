import assert from "node:assert/strict";
import { dateSuffixProblem, IndexNames, resolveIndexName } from "../../../src/targets/elasticsearch/index-name.js";

describe("The date in an index name", () => {
  const leapDay = Date.UTC(2024, 1, 29, 23, 30);

  for (const [pattern, expected] of [
    ["-%Y.%m.%d", "x-2024.02.29"],
    ["-%Y-%j-%H", "x-2024-060-23"],
    ["-%G-w%V", "x-2024-w09"],
    ["", "x"],
  ] as const) {
    it(`replaces ${pattern || "nothing"} in UTC`, () => {
      assert.equal(resolveIndexName("x", pattern, leapDay), expected);
      assert.equal(new IndexNames(pattern).resolve("x", leapDay), expected);
    });
  }

  it("leaves percent signs in the name itself alone", () => {
    assert.equal(resolveIndexName("100%Y", "-%Y", leapDay), "100%Y-2024");
  });

  for (const [day, expected] of [
    ["2021-01-03", "2020-53"],
    ["2021-01-04", "2021-01"],
    ["2024-12-30", "2025-01"],
    ["2026-12-31", "2026-53"],
  ] as const) {
    it(`counts ${day} to ISO week ${expected}`, () => {
      assert.equal(resolveIndexName("", "%G-%V", Date.parse(day)), expected);
    });
  }

  it("follows records back and forth across an hour", () => {
    const names = new IndexNames("-%H");
    const times = [leapDay, leapDay + 3_600_000, leapDay, leapDay + 1];

    assert.deepEqual(
      times.map((at) => names.resolve("x", at)),
      ["x-23", "x-00", "x-23", "x-23"],
    );
  });

  it("refuses codes that it does not know, and characters that an index cannot have", () => {
    assert.match(dateSuffixProblem("-%y") ?? "", /unknown code "%y"/u);
    assert.match(dateSuffixProblem("-%") ?? "", /unknown code/u);
    assert.match(dateSuffixProblem("/%Y") ?? "", /contains/u);
    assert.equal(dateSuffixProblem("-%Y.%m.%d"), undefined);
    assert.equal(dateSuffixProblem(""), undefined);
  });
});
