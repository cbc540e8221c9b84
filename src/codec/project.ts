/**
 * What is left of BSON types where only JSON is understood (files, Elasticsearch): Date -> ISO 8601 text, bytes ->
 * base64, int64 -> number while it is exact and text above, Decimal128 -> text, ObjectId -> hex, UUID -> its usual
 * text, RegExp -> "/source/flags", Timestamp -> { t, i }, NaN and infinities -> null.
 */
import { bson } from "./bson.js";

/** @param value what `bson` has read: only its own classes, Date, Buffer, arrays, objects and scalars. */
export function projectToJson(value: unknown): unknown {
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(projectToJson);
  if (Buffer.isBuffer(value)) return value.toString("base64");
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  const { ObjectId, Decimal128, Long, Binary, UUID, Timestamp, BSONRegExp, Code, DBRef, MinKey, MaxKey } = bson();
  if (value instanceof Timestamp) return { t: value.getHighBitsUnsigned(), i: value.getLowBitsUnsigned() }; // a Long too
  if (value instanceof Long) {
    const number = value.toNumber();
    return Number.isSafeInteger(number) ? number : value.toString();
  }
  if (value instanceof ObjectId) return value.toHexString();
  if (value instanceof Decimal128) return value.toString();
  if (value instanceof UUID) return value.toHexString();
  if (value instanceof Binary) return Buffer.from(value.value()).toString("base64");
  if (value instanceof BSONRegExp) return `/${value.pattern}/${value.options}`;
  if (value instanceof Code) return value.code;
  if (value instanceof MinKey) return "MinKey";
  if (value instanceof MaxKey) return "MaxKey";
  if (value instanceof DBRef) {
    const { collection, oid, db, fields } = value;
    return projectEntries(
      Object.entries({ $ref: collection, $id: oid, ...(db === undefined ? {} : { $db: db }), ...fields }),
    );
  }
  return projectEntries(Object.entries(value));
}

function projectEntries(entries: [string, unknown][]): unknown {
  // Without a prototype, so that a key `__proto__` is a key like others.
  const projected = Object.create(null) as Record<string, unknown>;
  for (const [key, value] of entries) projected[key] = projectToJson(value);
  return projected;
}
