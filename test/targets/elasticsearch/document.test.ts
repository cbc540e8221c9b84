import assert from "node:assert/strict";
import fc from "fast-check";
import { documentText, fieldKey, topLevelValue } from "../../../src/targets/elasticsearch/document.js";

function textOf(json: string, fields: Readonly<Record<string, unknown>>): string {
  const added = Object.entries(fields).map(([name, value]) => ({ key: fieldKey(name), json: JSON.stringify(value) }));
  const { before, from, after } = documentText(Buffer.from(json), added);
  return before + Buffer.from(json).toString("utf8", from) + after;
}

/** Keys that meet each other, quotes and backslashes among them. */
const key = fc.oneof(fc.constantFrom("a", "b", "@timestamp", 'q"', "b\\", '\\"', "a:", "é", "{", ""), fc.string());
const value = fc.jsonValue({ maxDepth: 3 });
const object = fc.dictionary(key, fc.oneof(value, fc.dictionary(key, value), fc.array(fc.dictionary(key, value))), {
  noNullPrototype: true,
});

describe("The text of an Elasticsearch document", () => {
  it("is the payload with the fields it did not have, whatever is in it", () => {
    fc.assert(
      fc.property(object, fc.dictionary(key, value, { noNullPrototype: true }), (payload, fields) => {
        const text = textOf(JSON.stringify(payload), fields);

        assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify({ ...fields, ...payload })));
        // No key twice, which JSON.parse would hide.
        const count = new Set([...Object.keys(fields), ...Object.keys(payload)]).size;
        assert.equal(topLevelKeys(text), count);
      }),
    );
  });

  it("wraps what is no object", () => {
    for (const payload of [null, 7, "text", true, [1, { "@timestamp": 1 }]]) {
      assert.deepEqual(JSON.parse(textOf(JSON.stringify(payload), { t: 1 })), { t: 1, payload });
      assert.deepEqual(JSON.parse(textOf(JSON.stringify(payload), { payload: "topic" })), { payload });
    }
  });

  it("is the stored text itself when nothing is added", () => {
    for (const json of ['{"a":1}', "{}"]) assert.equal(textOf(json, {}), json);
  });

  it("finds the value of an outermost key only", () => {
    fc.assert(
      fc.property(object, key, (payload, name) => {
        const json = Buffer.from(JSON.stringify(payload));

        const span = topLevelValue(json, fieldKey(name));

        const found = span && (JSON.parse(json.toString("utf8", span.start, span.end)) as unknown);
        const expected = Object.hasOwn(payload, name)
          ? (JSON.parse(JSON.stringify(payload[name])) as unknown)
          : undefined;
        assert.deepEqual(found, expected);
      }),
    );
  });
});

/** How many keys the outermost object has, counted with repetitions. */
function topLevelKeys(text: string): number {
  let depth = 0;
  let count = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (inString) {
      if (c === "\\") i++;
      else if (c === '"') inString = false;
    } else if (c === '"') inString = true;
    else if (c === "{" || c === "[") depth++;
    else if (c === "}" || c === "]") depth--;
    else if (c === ":" && depth === 1) count++;
  }
  return count;
}
