import assert from "node:assert/strict";
import fc from "fast-check";
import { record } from "./arbitraries.js";
import { BytesError } from "../../src/log/format/bytes.js";
import {
  type Cursor,
  decodeCursorChanges,
  decodeSnapshot,
  encodeCursorChanges,
  encodeSnapshot,
  isConfirmedBy,
  movedTo,
  type Snapshot,
} from "../../src/log/format/cursor.js";
import type { Range } from "../../src/log/format/ranges.js";

/** Ranges above a start, from the lengths of gaps and ranges. */
function rangesAfter(start: number, steps: readonly (readonly [number, number])[]): Range[] {
  let last = start;
  return steps.map(([gap, length]) => {
    const from = last + gap;
    last = from + length;
    return { from, to: last };
  });
}

const steps = fc.array(fc.tuple(fc.integer({ min: 1, max: 1e6 }), fc.integer({ min: 1, max: 1e6 })), { maxLength: 20 });
const cursor: fc.Arbitrary<Cursor> = fc
  .tuple(fc.nat({ max: 2 ** 45 }), steps, fc.option(fc.uint8Array({ maxLength: 64 }), { nil: undefined }))
  .map(([offset, gaps, state]) => ({
    offset,
    ranges: rangesAfter(offset, gaps),
    state: state === undefined ? undefined : Buffer.from(state),
  }));
const id = fc.string({ unit: "grapheme", minLength: 1 });

const snapshot: fc.Arbitrary<Snapshot> = record({
  nextOffset: fc.nat({ max: 2 ** 45 }),
  firstSequence: fc.nat(),
  predecessor: fc.option(
    record({
      epoch: fc.nat({ max: 2 ** 32 - 1 }),
      provenLength: fc.nat(),
      badRanges: steps.map((gaps) => rangesAfter(0, gaps)),
    }),
    { nil: undefined },
  ),
  carries: fc.boolean(),
  cursors: fc.uniqueArray(fc.tuple(id, cursor), { selector: ([name]) => name }).map((entries) => new Map(entries)),
});

describe("cursors on disk", () => {
  it("say how far each consumer was, and who was removed", () => {
    const changes = fc.uniqueArray(fc.tuple(id, fc.option(cursor)), { selector: ([name]) => name });
    fc.assert(
      fc.property(changes, (entries) => {
        assert.deepEqual(decodeCursorChanges(encodeCursorChanges(new Map(entries))), new Map(entries));
      }),
    );
  });

  it("say in a snapshot all that a file must know of those before it", () => {
    fc.assert(fc.property(snapshot, (given) => assert.deepEqual(decodeSnapshot(encodeSnapshot(given)), given)));
  });

  it("are refused when their bytes were cut, and never take long to refuse", () => {
    fc.assert(
      fc.property(snapshot, fc.nat(), (given, cutSeed) => {
        const body = encodeSnapshot(given);

        assert.throws(() => decodeSnapshot(body.subarray(0, cutSeed % body.length)), BytesError);
      }),
    );
  });

  it("fail with one kind of error only, whatever the bytes are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        try {
          decodeCursorChanges(Buffer.from(bytes));
        } catch (error) {
          assert.ok(error instanceof BytesError);
        }
      }),
    );
  });

  it("know which offsets they have confirmed", () => {
    const at = { offset: 3, ranges: [{ from: 5, to: 7 }], state: undefined };

    const confirmed = [0, 1, 2, 3, 4, 5, 6, 7, 8].filter((offset) => isConfirmedBy(at, offset));

    assert.deepEqual(confirmed, [0, 1, 2, 5, 6]);
  });

  it("stand at the lowest record that is left when something is given up, also in the middle of what is confirmed", () => {
    fc.assert(
      fc.property(cursor, fc.nat({ max: 3e6 }), fc.nat({ max: 1e6 }), (before, ahead, step) => {
        const end = before.offset + ahead;

        const after = movedTo(before, end);

        assert.ok(after.offset >= end && !after.ranges.some(({ from }) => from <= after.offset));
        const place = end + step;
        assert.equal(isConfirmedBy(after, place), isConfirmedBy(before, place));
        assert.deepEqual(decodeCursorChanges(encodeCursorChanges(new Map([["a", after]]))).get("a"), after);
      }),
    );
  });
});
