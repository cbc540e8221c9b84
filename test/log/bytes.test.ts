import assert from "node:assert/strict";
import fc from "fast-check";
import { ByteReader, BytesError, ByteWriter } from "../../src/log/format/bytes.js";

describe("numbers and bytes of a body", () => {
  it("come back as they were written, up to the largest safe integer", () => {
    const item = fc.oneof(fc.maxSafeNat(), fc.string({ unit: "grapheme" }), fc.uint8Array({ maxLength: 600 }));
    fc.assert(
      fc.property(fc.array(item), (items) => {
        const writer = new ByteWriter();
        for (const value of items) {
          if (typeof value === "number") writer.varint(value);
          else if (typeof value === "string") writer.text(value);
          else writer.bytes(value);
        }
        const reader = new ByteReader(writer.finish());

        const found = items.map((value) => {
          if (typeof value === "number") return reader.varint();
          return typeof value === "string" ? reader.text() : Uint8Array.from(reader.bytes());
        });

        assert.deepEqual(found, items);
        assert.ok(reader.atEnd);
      }),
    );
  });

  it("are refused, not misread, where they were cut", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.nat(), (value, cutSeed) => {
        const whole = new ByteWriter().bytes(value).finish();

        const cut = whole.subarray(0, cutSeed % whole.length);

        assert.throws(() => new ByteReader(cut).bytes(), BytesError);
      }),
    );
  });

  it("are refused when a number is larger than can be counted to", () => {
    assert.throws(() => new ByteReader(Buffer.alloc(9, 0xff)).varint(), BytesError);
  });
});
