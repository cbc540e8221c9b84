/**
 * Takes in instances of BSON classes, whichever version of `bson` made them (a function node's own, another node's
 * driver): ours refuses the classes of other major versions, and with them the whole batch. Always rebuilt from the
 * value inside, never taken as they are.
 */
import { bson } from "./bson.js";

export interface FromBsonClass {
  readonly value: unknown;
  /** No less than the bytes that it takes beyond a number. */
  readonly weight: number;
}

interface Foreign {
  readonly _bsontype: string;
  readonly [field: string]: unknown;
}

/**
 * @param keep converts a value that the instance carries (the scope of a Code, the id of a DBRef)
 * @returns undefined when it is no BSON class that we know
 */
export function fromBsonClass(
  foreign: { _bsontype: string },
  keep: (part: unknown) => unknown,
): FromBsonClass | undefined {
  const { ObjectId, Decimal128, Long, Binary, UUID, Timestamp, BSONRegExp, Code, MinKey, MaxKey } = bson();
  const source = foreign as Foreign;
  switch (source._bsontype) {
    case "ObjectId":
    case "ObjectID": // bson 4 and older
      return { value: new ObjectId(textOf(source, "toHexString")), weight: 12 };
    case "Decimal128":
      return { value: Decimal128.fromString(textOf(source, "toString")), weight: 16 };
    case "Long":
      // Unsigned numbers above int64 would come back negative.
      if (source["unsigned"] === true) return { value: keep(BigInt(textOf(source, "toString"))), weight: 0 };
      return { value: new Long(Number(source["low"]), Number(source["high"])), weight: 0 };
    case "Timestamp":
      return { value: new Timestamp({ t: Number(source["high"]) >>> 0, i: Number(source["low"]) >>> 0 }), weight: 0 };
    case "Double":
    case "Int32":
      return { value: keep(Number((source["value"] as number | undefined) ?? source.valueOf())), weight: 0 };
    case "UUID": // bson 4
      return { value: new UUID(textOf(source, "toHexString")), weight: 16 };
    case "Binary": {
      const bytes = bytesOf(source);
      return { value: new Binary(bytes, Number(source["sub_type"] ?? 0)), weight: bytes.length };
    }
    case "BSONRegExp": {
      const pattern = textIn(source["pattern"]);
      return { value: new BSONRegExp(pattern, textIn(source["options"])), weight: pattern.length * 3 };
    }
    case "BSONSymbol":
    case "Symbol": // bson 4 and older
      return { value: keep(String(source["value"])), weight: 0 };
    case "Code": {
      const code = textIn(source["code"]);
      const scope = keep(source["scope"] ?? undefined) as Record<string, unknown> | undefined;
      return { value: new Code(code, scope), weight: code.length * 3 };
    }
    case "DBRef": {
      const { collection, oid, db, fields } = source;
      // Its form inside a document; bson makes a DBRef of it again when it reads.
      const document = Object.assign(
        { $ref: collection, $id: oid },
        db === undefined || db === null ? undefined : { $db: db },
        fields,
      );
      return { value: keep(document), weight: 0 };
    }
    case "MinKey":
      return { value: new MinKey(), weight: 0 };
    case "MaxKey":
      return { value: new MaxKey(), weight: 0 };
    default:
      return undefined;
  }
}

function textOf(source: Foreign, method: "toHexString" | "toString"): string {
  return (source as unknown as Record<typeof method, () => string>)[method]();
}

function textIn(field: unknown): string {
  return typeof field === "string" ? field : "";
}

function bytesOf(source: Foreign): Buffer {
  const buffer = source["buffer"];
  if (!(buffer instanceof Uint8Array)) throw new TypeError("a Binary without bytes");
  const length = typeof source["position"] === "number" ? source["position"] : buffer.length;
  return Buffer.from(buffer.buffer, buffer.byteOffset, Math.min(length, buffer.length));
}
