import assert from "node:assert/strict";
import fc from "fast-check";
import { type DestinationName, nameFrom, standingName } from "../../../nodes/shared/destination-name.js";
import { collectionProblem, indexProblem } from "../../../src/names.js";
import { anyCharacter } from "../../support/any-character.js";

const problemOf = (name: string): string | undefined => collectionProblem("plant", name);

function named(more: Partial<DestinationName> = {}): DestinationName {
  const value = { kind: "now", evaluate: () => undefined } as const;
  return { what: "collection name", value, prefix: "readings_", isAnyAllowed: false, ...more };
}

describe("a name from a message", () => {
  it("stands behind the prefix, whatever it is, or is refused", () => {
    fc.assert(
      fc.property(fc.string({ unit: anyCharacter }), fc.constantFrom("readings_", "a.", "x-"), (text, prefix) => {
        for (const problem of [problemOf, indexProblem]) {
          let name: string;
          try {
            name = nameFrom(text, named({ prefix }), problem);
          } catch (error) {
            assert.equal((error as { code?: unknown }).code, "no-destination");
            continue;
          }
          assert.equal(name, prefix + text);
          assert.equal(problem(name), undefined);
        }
      }),
    );
  });

  it("may be a number, and nothing else that is no text", () => {
    assert.equal(nameFrom(7, named(), problemOf), "readings_7");
    for (const none of [undefined, null, "", {}, [], true, Number.NaN])
      assert.throws(() => nameFrom(none, named(), problemOf), { code: "no-destination", message: /is missing/ });
  });

  it("may be any that the server takes where the user has said so", () => {
    const free = named({ prefix: "", isAnyAllowed: true });

    assert.equal(nameFrom("anything", free, problemOf), "anything");
    assert.throws(() => nameFrom("system.users", free, problemOf), { code: "no-destination" });
  });

  it("is shortened in the error when it is a whole document", () => {
    const name = "x".repeat(10_000);
    assert.throws(
      () => nameFrom(name, named(), problemOf),
      (error: Error) => error.message.length < 250,
    );
  });

  it("leaves a place of its own for records that were accepted without one", () => {
    assert.equal(standingName(named()), "readings_unrouted");
  });
});
