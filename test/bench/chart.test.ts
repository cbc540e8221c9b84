/** The chart of the README, made of rows as `npm run bench` measures them. */
import assert from "node:assert/strict";
import { chart } from "./chart.js";
import type { Row } from "./figure.js";

const ROW: Row = {
  figure: "drain",
  what: "drains",
  value: 2,
  unit: "x",
  reach: ">= 1",
  holds: true,
  peer: "a loop: 5/s",
};

/** Width and colour of each bar. */
function barsOf(...rows: Row[]): string[] {
  const bars = chart(rows, "here").matchAll(/<rect x="140"[^>]* width="([\d.]+)"[^>]* fill="(#\w+)"/g);
  return [...bars].map(([, width, colour]) => `${width} ${colour}`);
}

describe("the chart of the figures", () => {
  it("has a bar as long as a figure is better than asked, and no reach beyond ten times or a tenth", () => {
    const widths = [1, 10, 1_000, 0.1, 0.001].map((value) => barsOf({ ...ROW, value })[0]!.split(" ")[0]);

    assert.deepEqual(widths, ["160.0", "320.0", "320.0", "2.0", "2.0"]);
    const [small, none] = [0.5, 0].map((value) => barsOf({ ...ROW, value, reach: "<= 1" })[0]);
    assert.equal(small, barsOf({ ...ROW, value: 2 })[0], "half of what is allowed is twice as good");
    assert.equal(none, "320.0 #2da44e");
  });

  it("never shows as passed what misses, failed or was not measured", () => {
    const miss = { ...ROW, value: 0.5, holds: false };
    const failed = { ...ROW, value: null, reach: "", holds: false, peer: "failed: it hung" };
    const skipped = { ...ROW, value: null, holds: null, peer: "skipped: no such server" };

    const colours = barsOf(ROW, miss, failed, skipped).map((bar) => bar.split(" ")[1]);

    assert.deepEqual(colours, ["#2da44e", "#cf222e", "#cf222e", "#8c959f"]);
    assert.match(chart([skipped], "here"), /skipped: no such server/);
  });

  it("says beside what it was measured, and on what, whatever characters that has", () => {
    const svg = chart([{ ...ROW, peer: 'x < y & "z": 5/s' }], "<a machine>");

    assert.match(svg, /x &lt; y &amp; "z"/);
    assert.match(svg, /&lt;a machine&gt;/);
    assert.doesNotMatch(svg, /<a machine>/);
  });
});
