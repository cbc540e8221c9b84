import assert from "node:assert/strict";
import fc from "fast-check";
import { RangeSet } from "../../src/log/format/ranges.js";

const MOST = 40;

type Op = readonly ["add" | "remove", number, number];

const op = fc.tuple(
  fc.constantFrom("add" as const, "remove" as const),
  fc.integer({ min: 0, max: MOST }),
  fc.integer({ min: 0, max: MOST }),
);

function play(ops: readonly Op[]): { set: RangeSet; plain: Set<number> } {
  const set = new RangeSet();
  const plain = new Set<number>();
  for (const [what, from, to] of ops) {
    set[what](from, to);
    for (let n = from; n < to; n++) {
      if (what === "add") plain.add(n);
      else plain.delete(n);
    }
  }
  return { set, plain };
}

describe("ranges", () => {
  it("hold exactly the numbers that were added and not removed", () => {
    fc.assert(
      fc.property(fc.array(op, { maxLength: 30 }), (ops) => {
        const { set, plain } = play(ops);

        const held = Array.from({ length: MOST + 1 }, (_, n) => n).filter((n) => set.has(n));

        assert.deepEqual(
          held,
          [...plain].sort((a, b) => a - b),
        );
      }),
    );
  });

  it("stay as few as they can be: sorted, never touching, never empty", () => {
    fc.assert(
      fc.property(fc.array(op, { maxLength: 30 }), (ops) => {
        const ranges = [...play(ops).set];

        ranges.forEach(({ from, to }, i) => assert.ok(from < to && (i === 0 || ranges[i - 1]!.to < from)));
      }),
    );
  });

  it("count, and find the first gap, as if number by number", () => {
    const bound = fc.integer({ min: 0, max: MOST });
    fc.assert(
      fc.property(fc.array(op, { maxLength: 30 }), bound, bound, (ops, from, to) => {
        const { set, plain } = play(ops);
        let gap = from;
        while (plain.has(gap)) gap++;

        assert.equal(set.countIn(from, to), [...plain].filter((n) => n >= from && n < to).length);
        assert.equal(set.firstGap(from), gap);
        assert.equal(set.first?.from, plain.size === 0 ? undefined : Math.min(...plain));
      }),
    );
  });

  it("forget what lies below, and can be made from what they held", () => {
    fc.assert(
      fc.property(fc.array(op, { maxLength: 30 }), fc.integer({ min: 0, max: MOST }), (ops, below) => {
        const { set, plain } = play(ops);

        set.removeBelow(below);
        const again = RangeSet.of(set);

        assert.deepEqual([...again], [...set]);
        assert.equal(again.countIn(0, MOST + 1), [...plain].filter((n) => n >= below).length);
      }),
    );
  });
});
