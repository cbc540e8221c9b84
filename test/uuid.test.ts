import assert from "node:assert/strict";
import fc from "fast-check";
import { UUID_TEXT_BYTES, uuidText, writeUuidText } from "../src/record.js";
import { idAt, newIdBase } from "../src/uuid.js";

/** Also all ones, where every addition carries. */
const random = fc.oneof(fc.uint8Array({ minLength: 10, maxLength: 16 }), fc.constant(new Uint8Array(10).fill(255)));
const wallMs = fc.nat(2 ** 48 - 1);
const index = fc.oneof(fc.nat(2 ** 32 - 1), fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 2, 2 ** 32 - 1));

describe("record ids", () => {
  it("are UUIDs of version 7 with the time of their base, at every index", () => {
    fc.assert(
      fc.property(wallMs, random, index, (ms, bytes, i) => {
        const text = uuidText(idAt(newIdBase(ms, bytes), i));

        assert.match(text, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        assert.equal(Number.parseInt(text.slice(0, 8) + text.slice(9, 13), 16), ms);
      }),
    );
  });

  it("read the same whether their text is made or written", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(9), (id, at) => {
        const bytes = Buffer.alloc(UUID_TEXT_BYTES + 9);

        const end = writeUuidText(bytes, at, id);

        assert.equal(bytes.toString("latin1", at, end), uuidText(id));
      }),
    );
  });

  it("ascend with the index and never meet, though the low bits overflow", () => {
    fc.assert(
      fc.property(wallMs, random, index, index, (ms, bytes, i, j) => {
        const base = newIdBase(ms, bytes);

        assert.equal(Math.sign(Buffer.compare(idAt(base, i), idAt(base, j))), Math.sign(i - j));
      }),
    );
  });

  it("leave their base as it was", () => {
    const base = newIdBase(1, new Uint8Array(10).fill(255));
    const before = Buffer.from(base);

    assert.deepEqual(idAt(base, 0), before);
    idAt(base, 2 ** 32 - 1);

    assert.deepEqual(base, before);
  });

  it("are made even while the clock talks nonsense", () => {
    for (const ms of [-1, NaN, Infinity, -Infinity, 2 ** 60, 1.5]) {
      assert.match(uuidText(newIdBase(ms, new Uint8Array(10))), /^[0-9a-f]{8}-[0-9a-f]{4}-7000-8000-0{12}$/);
    }
  });
});
