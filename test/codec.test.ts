import assert from "node:assert/strict";
import { createContext, runInContext } from "node:vm";
import {
  Binary,
  BSONRegExp,
  Code,
  DBRef,
  Decimal128,
  Double,
  Long,
  MaxKey,
  MinKey,
  ObjectId,
  Timestamp,
  UUID,
} from "bson";
import fc from "fast-check";
import {
  decode,
  decodeJson,
  encode,
  plainJson,
  extendedJson,
  jsonText,
  PayloadError,
  plainText,
} from "../src/codec.js";

const roundTrip = (payload: unknown): unknown => decode(encode(payload));
const jsonOf = (payload: unknown): string => jsonText(encode(payload)).toString();

/** What JSON holds, with every awkward key and string. */
const jsonPayload = fc.jsonValue({ stringUnit: "binary", maxDepth: 6 }).filter((value) => !hasNegativeZero(value));

function hasNegativeZero(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return Object.values(value).some(hasNegativeZero);
  return Object.is(value, -0);
}

function nested(levels: number): unknown {
  let payload: unknown = [];
  for (let level = 1; level < levels; level++) payload = level % 2 === 0 ? [payload] : { in: payload };
  return payload;
}

function rejectsWith(code: PayloadError["code"]): (error: unknown) => boolean {
  return (error) => error instanceof PayloadError && error.code === code && error.message !== "";
}

describe("codec", () => {
  describe("payloads that JSON holds", () => {
    it("are stored as the very text of JSON.stringify and come back equal", () => {
      fc.assert(
        fc.property(jsonPayload, (payload) => {
          const encoded = encode(payload);

          assert.equal(encoded.codec, 0);
          assert.equal(Buffer.from(encoded.bytes).toString(), JSON.stringify(payload));
          assert.deepEqual(decode(encoded), JSON.parse(JSON.stringify(payload)));
          assert.deepEqual(decodeJson(encoded), decode(encoded));
        }),
      );
    });

    it("never contain a raw line break, so that a line is a record", () => {
      fc.assert(
        fc.property(jsonPayload, (payload) => {
          assert.equal(/[\r\n]/.test(Buffer.from(encode(payload).bytes).toString()), false);
        }),
      );
      assert.equal(jsonOf("a\r\nb\u0000"), '"a\\r\\nb\\u0000"');
    });

    it("are the same text by the fast way", () => {
      fc.assert(
        fc.property(jsonPayload, (payload) => {
          assert.deepEqual(Buffer.from(plainJson(payload)!), Buffer.from(encode(payload).bytes));
        }),
      );
    });

    it("may come from a function node's sandbox or have no prototype", () => {
      const sandboxed: unknown = runInContext("({ list: [1, { two: 'x' }], none: null })", createContext());
      const bare = Object.assign(Object.create(null) as object, { a: 1 });

      assert.deepEqual(encode(sandboxed).codec, 0);
      assert.equal(jsonOf(sandboxed), '{"list":[1,{"two":"x"}],"none":null}');
      assert.equal(encode(bare).codec, 0);
    });

    it("lose undefined values as in JSON, and stay JSON", () => {
      assert.equal(encode({ a: undefined, b: [undefined], c: 1 }).codec, 0);
      assert.equal(jsonOf({ a: undefined, b: [undefined, 2], c: 1 }), '{"b":[null,2],"c":1}');
    });

    it("keep lone surrogates, huge and tiny numbers", () => {
      for (const payload of ["\ud800", { "\udfff": "x\ud83d" }, 1.7976931348623157e308, 5e-324, 2 ** 53 + 2, -1e21]) {
        assert.deepEqual(roundTrip(payload), payload);
      }
    });
  });

  describe("payloads that JSON does not hold", () => {
    it("reach MongoDB with their types", () => {
      const payload = {
        at: new Date(1_700_000_000_123),
        bytes: Buffer.from([0, 255, 10]),
        count: 2n ** 60n,
        nan: NaN,
        infinite: [Infinity, -Infinity],
        negativeZero: -0,
        nested: [{ deep: new Date(0) }],
      };

      const encoded = encode(payload);
      const decoded = decode(encoded) as Record<string, unknown>;

      assert.equal(encoded.codec, 1);
      assert.equal(encoded.changed, 0);
      assert.deepEqual({ ...decoded, count: undefined }, { ...payload, count: undefined });
      assert.ok(decoded["count"] instanceof Long && decoded["count"].toBigInt() === 2n ** 60n);
      assert.ok(Buffer.isBuffer(decoded["bytes"]));
    });

    it("keep BSON's own types, among them the subtype of binary data", () => {
      const payload = {
        id: new ObjectId("0123456789abcdef01234567"),
        price: Decimal128.fromString("1.10"),
        long: Long.fromString("-9223372036854775808"),
        uuid: new UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
        sealed: new Binary(Buffer.from("secret"), 6),
        stamp: new Timestamp({ t: 4_000_000_000, i: 7 }),
        pattern: new BSONRegExp("^a", "i"),
        script: new Code("x", { at: new Date(5) }),
        reference: new DBRef("c", new ObjectId("0123456789abcdef01234567"), "d", { extra: 1 }),
        lowest: new MinKey(),
        highest: new MaxKey(),
      };

      assert.deepEqual(roundTrip(payload), payload);
      assert.equal(roundTrip(new Double(2.5)), 2.5);
    });

    it("accept the classes of another version of bson, which the driver would refuse", () => {
      class ObjectID {
        get _bsontype(): string {
          return "ObjectID";
        }
        toHexString(): string {
          return "0123456789abcdef01234567";
        }
      }
      class Binary4 {
        readonly buffer = Buffer.from("abcdef");
        readonly position = 3;
        readonly sub_type = 5;
        get _bsontype(): string {
          return "Binary";
        }
      }
      class Long4 {
        readonly low = -1;
        readonly high = -1;
        readonly unsigned = true;
        get _bsontype(): string {
          return "Long";
        }
        toString(): string {
          return "18446744073709551615";
        }
      }

      const encoded = encode({ _id: new ObjectID(), data: new Binary4(), big: new Long4() });

      assert.equal(encoded.changed, 1);
      assert.deepEqual(decode(encoded), {
        _id: new ObjectId("0123456789abcdef01234567"),
        data: new Binary(Buffer.from("abc"), 5),
        big: "18446744073709551615",
      });
    });

    it("take data that only looks like a BSON class for data", () => {
      const payload = { a: { _bsontype: "ObjectId", id: "x" }, at: new Date(1) };

      const decoded = roundTrip(payload) as { a: object };

      assert.deepEqual(decoded, payload);
      assert.equal(jsonOf(payload), '{"a":{"_bsontype":"ObjectId","id":"x"},"at":"1970-01-01T00:00:00.001Z"}');
      assert.ok(extendedJson(encode(payload)).includes("ObjectId"));
    });

    it("become their nearest relatives, and counted where something is lost", () => {
      class Reading {
        value = 1;
        method(): number {
          return this.value;
        }
      }
      const cases: [unknown, unknown, number][] = [
        [{ d: new Date(NaN) }, { d: null }, 1],
        [{ n: 2n ** 70n }, { n: "1180591620717411303424" }, 1],
        [-(2n ** 63n) - 1n, "-9223372036854775809", 1],
        [
          new Map<unknown, unknown>([
            ["a", 1],
            [2, "b"],
          ]),
          { a: 1, "2": "b" },
          0,
        ],
        [new Set([1, "x"]), [1, "x"], 0],
        [new Float32Array([0.5, 2]), [0.5, 2], 0],
        [new Uint8ClampedArray([1, 2]), [1, 2], 0],
        [{ f: () => 1, s: Symbol("s"), u: undefined, a: [() => 1, undefined] }, { a: [null, null] }, 0],
        [new Reading(), { value: 1 }, 0],
        [new URL("http://x/y"), "http://x/y", 0],
        [[new String("s"), new Number(2), new Boolean(false)], ["s", 2, false], 0],
        [{ toJSON: "data" }, { toJSON: "data" }, 0],
        [{ toJSON: () => ({ as: "told" }) }, { as: "told" }, 0],
      ];
      for (const [payload, kept, changed] of cases) {
        const encoded = encode(payload);

        assert.deepEqual(decode(encoded), kept);
        assert.equal(encoded.codec, 0);
        assert.equal(encoded.changed, changed);
      }
    });

    it("tell an error by name, message and stack", () => {
      const error = Object.assign(new TypeError("broken"), { secret: "not told" });

      const kept = roundTrip({ error }) as { error: Record<string, unknown> };

      assert.deepEqual(kept.error, { name: "TypeError", message: "broken", stack: error.stack });
    });

    it("are understood from a sandbox too", () => {
      const payload: unknown = runInContext(
        "({ d: new Date(5), m: new Map([['k', 1n]]), b: new Uint8Array([1, 2]), r: /a/gi, e: new RangeError('r'), s: new Set([1]) })",
        createContext(),
      );

      const decoded = roundTrip(payload) as Record<string, unknown>;

      assert.deepEqual(decoded["d"], new Date(5));
      assert.deepEqual(decoded["m"], { k: Long.fromNumber(1) });
      assert.deepEqual(decoded["b"], Buffer.from([1, 2]));
      assert.deepEqual(decoded["r"], new BSONRegExp("a", "i"));
      assert.equal((decoded["e"] as { name: string }).name, "RangeError");
      assert.deepEqual(decoded["s"], [1]);
    });

    it("are given to files and Elasticsearch as JSON", () => {
      const payload = {
        at: new Date(0),
        bytes: Buffer.from("hi"),
        small: 5n,
        large: 2n ** 60n,
        price: Decimal128.fromString("1.10"),
        id: new ObjectId("0123456789abcdef01234567"),
        uuid: new UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
        sealed: new Binary(Buffer.from("x"), 6),
        stamp: new Timestamp({ t: 4_000_000_000, i: 7 }),
        odd: [NaN, Infinity, -0],
        pattern: /a"b/gi,
        reference: new DBRef("c", new ObjectId("0123456789abcdef01234567")),
      };

      assert.deepEqual(JSON.parse(jsonOf(payload)), {
        at: "1970-01-01T00:00:00.000Z",
        bytes: "aGk=",
        small: 5,
        large: "1152921504606846976",
        price: "1.10",
        id: "0123456789abcdef01234567",
        uuid: "01890a5d-ac96-774b-bcce-b302099a8057",
        sealed: "eA==",
        stamp: { t: 4_000_000_000, i: 7 },
        odd: [null, null, 0],
        pattern: '/a"b/i',
        reference: { $ref: "c", $id: "0123456789abcdef01234567" },
      });
    });

    it("are left to encode by the fast way", () => {
      for (const payload of [new Date(), { a: 1n }, [NaN], undefined, -0, () => 1, nested(101)]) {
        assert.equal(plainJson(payload), undefined);
      }
    });
  });

  it("keeps every value there is, invents none, and gives the same JSON as the payload's own where it can", () => {
    const anything = fc.anything({
      withBigInt: true,
      withBoxedValues: true,
      withDate: true,
      withMap: true,
      withNullPrototype: true,
      withSet: true,
      withTypedArray: true,
      withSparseArray: true,
      stringUnit: "binary",
    });
    fc.assert(
      fc.property(anything, (payload) => {
        let encoded;
        try {
          encoded = encode(payload);
        } catch (error) {
          // Nothing to send, or a key with NUL beside a value that needs BSON.
          assert.ok(error instanceof PayloadError && (error.code === "empty" || error.code === "unencodable"));
          return;
        }
        const decoded = decode(encoded);

        // What was kept once is kept as it is ever after.
        assert.deepEqual(decode(encode(decoded)), decoded);
        assert.deepEqual(jsonText(encode(decoded)), jsonText(encoded));
        assert.deepEqual(JSON.parse(jsonText(encoded).toString()), JSON.parse(JSON.stringify(decodeJson(encoded))));
        assert.ok(extendedJson(encoded).length > 0);
      }),
      { numRuns: 500 },
    );
  });

  describe("keys like __proto__", () => {
    const hostile = '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"a":{"__proto__":[1]}}';

    it("stay data in JSON and in BSON, and change no prototype", () => {
      for (const payload of [JSON.parse(hostile), { at: new Date(1), data: JSON.parse(hostile) as unknown }]) {
        const decoded = roundTrip(payload) as Record<string, unknown>;

        assert.deepEqual(decoded, payload);
        assert.equal(jsonText(encode(payload)).includes(hostile), true);
        assert.equal(Object.getPrototypeOf(decoded), Object.prototype);
        assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
      }
    });

    it("stay data as keys of a Map", () => {
      const decoded = roundTrip(
        new Map<string, unknown>([
          ["__proto__", { polluted: 1 }],
          ["at", new Date(1)],
        ]),
      ) as object;

      assert.equal(Object.hasOwn(decoded, "__proto__"), true);
      assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
    });
  });

  describe("payloads that cannot be kept", () => {
    it("are refused with the reason when they contain themselves", () => {
      const circle: Record<string, unknown> = { a: [] };
      (circle["a"] as unknown[]).push(circle);

      assert.throws(() => encode(circle), rejectsWith("circular"));
      assert.throws(
        () =>
          encode({
            toJSON() {
              return this;
            },
          }),
        rejectsWith("circular"),
      );
    });

    it("are refused when nested deeper than 100 levels, and taken at 100", () => {
      assert.deepEqual(roundTrip(nested(100)), nested(100));
      assert.throws(() => encode(nested(101)), rejectsWith("too-deep"));
      assert.throws(() => encode(nested(100_000)), rejectsWith("too-deep"));
      assert.throws(() => encode([new Date(), nested(100)]), rejectsWith("too-deep"));
    });

    it("are refused when there is nothing to send", () => {
      for (const payload of [undefined, () => 1, Symbol("s")])
        assert.throws(() => encode(payload), rejectsWith("empty"));
    });

    it("are refused when their own code throws", () => {
      const broken = {
        get a(): number {
          throw new Error("out of order");
        },
      };

      for (const payload of [
        broken,
        {
          toJSON() {
            throw new TypeError("no");
          },
        },
        { "a\0b": 1n },
        new Map([[Object.create(null), 1]]),
      ]) {
        assert.throws(() => encode(payload), rejectsWith("unencodable"));
      }
      assert.throws(() => plainJson(broken), rejectsWith("unencodable"));
    });

    it("are refused and not cut when BSON of 16 MiB could not hold them", () => {
      const text = "x".repeat(16 * 1024 * 1024);

      assert.throws(() => encode({ at: new Date(), text }), rejectsWith("too-large"));
      assert.throws(() => encode(Buffer.alloc(17 * 1024 * 1024)), rejectsWith("too-large"));
      assert.throws(() => encode(Object.assign([], { length: 4e9 })), rejectsWith("too-large"));
      const large = { at: new Date(1), text: text.slice(0, 15 * 1024 * 1024) };
      assert.equal((roundTrip(large) as typeof large).text.length, large.text.length);
    });

    it("are refused in time when one object repeats until it would never end", () => {
      let doubled: unknown = [1];
      for (let i = 0; i < 60; i++) doubled = [doubled, doubled];

      assert.throws(() => encode(doubled), rejectsWith("too-large"));
    });
  });

  describe("damaged bytes", () => {
    const readers = [decode, decodeJson, jsonText, plainText, extendedJson];

    it("are told as such by every reader, whatever they are", () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 80 }), fc.constantFrom<0 | 1>(0, 1), (bytes, codec) => {
          for (const read of readers) {
            try {
              read({ codec, bytes });
            } catch (error) {
              assert.ok(rejectsWith("undecodable")(error), String(error));
            }
          }
        }),
      );
    });

    it("are told as such when one byte of a real record is wrong", () => {
      const payload = {
        at: new Date(1),
        b: Buffer.from("xyz"),
        l: 5n,
        o: new ObjectId(),
        r: /x/,
        c: new Code("x", { y: 1 }),
      };
      const { bytes } = encode(payload);
      fc.assert(
        fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, byte) => {
          const damaged = Buffer.from(bytes);
          damaged[at] = byte;
          for (const read of readers) {
            try {
              read({ codec: 1, bytes: damaged });
            } catch (error) {
              assert.ok(rejectsWith("undecodable")(error), String(error));
            }
          }
        }),
        { numRuns: 500 },
      );
    });

    it("without a value, or cut short, are told as such", () => {
      assert.throws(() => decode({ codec: 0, bytes: Buffer.from('{"a":') }), rejectsWith("undecodable"));
      assert.throws(() => decode({ codec: 1, bytes: Buffer.from([5, 0, 0, 0, 0]) }), rejectsWith("undecodable"));
      const { bytes } = encode(new Date());
      assert.throws(() => decode({ codec: 1, bytes: bytes.subarray(0, bytes.length - 1) }), rejectsWith("undecodable"));
    });
  });

  it("gives text without quotes where a file wants lines as they are", () => {
    assert.equal(plainText(encode('a "b"\nc')), 'a "b"\nc');
    assert.equal(plainText(encode(new Date(0))), "1970-01-01T00:00:00.000Z");
    assert.equal(plainText(encode({ a: 1 })), undefined);
    assert.equal(plainText(encode(5)), undefined);
  });

  it("exports records as canonical Extended JSON", () => {
    assert.equal(extendedJson(encode({ n: 1, s: "x" })), '{"n":{"$numberInt":"1"},"s":"x"}');
    assert.equal(extendedJson(encode({ d: new Date(1) })), '{"d":{"$date":{"$numberLong":"1"}}}');
    assert.equal(extendedJson(encode(Buffer.from("hi"))), '{"$binary":{"base64":"aGk=","subType":"00"}}');
  });

  it("makes the classes that the MongoDB driver accepts", () => {
    const driver = require.resolve("mongodb");

    assert.equal(require.resolve("bson", { paths: [driver] }), require.resolve("bson"));
  });
});
