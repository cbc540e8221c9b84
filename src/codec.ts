/**
 * A payload as bytes, and back. Encoded once, at acceptance. Nearly every payload is what JSON holds unchanged (tag 0):
 * files and Elasticsearch take its bytes as they are. Anything else (dates, buffers, ObjectIds ...) is BSON of
 * `{ v: payload }` (tag 1), so that it reaches MongoDB with its types. What becomes of values that neither holds:
 * `codec/convert.ts`; of BSON types where only JSON is understood: `codec/project.ts`.
 */
import { bson } from "./codec/bson.js";
import { convert } from "./codec/convert.js";
import { PayloadError } from "./codec/payload-error.js";
import { isPlain } from "./codec/plain.js";
import { projectToJson } from "./codec/project.js";
import type { Encoded } from "./record.js";

export { PayloadError } from "./codec/payload-error.js";

export interface EncodedPayload extends Encoded {
  /** Values that had to be replaced by lesser ones (an invalid date by null, a bigint beyond int64 by text). */
  readonly changed: number;
}

/** Above this `bson` cuts strings without a word, and MongoDB takes no document of this size anyway. */
const MAX_BSON_BYTES = 16 * 1024 * 1024;

const READ_OPTIONS = { promoteLongs: false, promoteBuffers: false, bsonRegExp: true } as const;

/** @throws {PayloadError} when the payload is circular, nested too deep, too large, empty, or has code that throws. */
export function encode(payload: unknown): EncodedPayload {
  try {
    if (isPlain(payload)) return encodeAsJson(payload, 0);
    const { value, needsBson, changed, weight } = convert(payload);
    if (value === undefined) throw new PayloadError("empty", "There is no payload to send");
    if (!needsBson) return encodeAsJson(value, changed);
    const document = { v: value };
    if (weight > MAX_BSON_BYTES && bson().calculateObjectSize(document) > MAX_BSON_BYTES) throw tooLarge();
    return { codec: 1, bytes: bson().serialize(document), changed };
  } catch (error) {
    throw encodingError(error);
  }
}

/**
 * The payload as JSON text where that says all of it, as it does for nearly all traffic: the log writes it straight into
 * its block. Undefined for a payload that takes `encode`.
 * @throws {PayloadError} when the payload has code that throws
 */
export function plainJson(payload: unknown): string | undefined {
  try {
    return isPlain(payload) ? JSON.stringify(payload) : undefined;
  } catch (error) {
    throw encodingError(error);
  }
}

/**
 * The payload with its types, for MongoDB: int64 as Long, binary of subtype 0 as Buffer, RegExp as BSONRegExp.
 * Keys are data, `__proto__` too: read them as own properties and never merge them into other objects.
 * An object with a key `_bsontype` is returned as it was sent; the driver refuses it.
 * @throws {PayloadError} when the bytes are damaged
 */
export function decode(record: Encoded): unknown {
  return reading(() => (record.codec === 0 ? parseJson(record) : withBuffers(parseBson(record))));
}

/**
 * The payload as JSON text in UTF-8 without raw line breaks. Tag 0: the very bytes of the record, unchecked.
 * @throws {PayloadError} when the bytes are damaged (tag 1)
 */
export function jsonText(record: Encoded): Buffer {
  if (record.codec === 0) return asBuffer(record.bytes);
  return reading(() => Buffer.from(JSON.stringify(projectToJson(withBuffers(parseBson(record))))));
}

/** The payload as JSON would give it back. @throws {PayloadError} when the bytes are damaged */
export function decodeJson(record: Encoded): unknown {
  return reading(() => (record.codec === 0 ? parseJson(record) : projectToJson(withBuffers(parseBson(record)))));
}

/**
 * The text of a payload that is text in JSON (also a date, bytes, an ObjectId), without quotes and escapes: it may
 * hold line breaks. Undefined for every other payload.
 * @throws {PayloadError} when the bytes are damaged
 */
export function plainText(record: Encoded): string | undefined {
  if (record.codec === 0 && record.bytes[0] !== 0x22 /* " */) return undefined;
  const value = decodeJson(record);
  return typeof value === "string" ? value : undefined;
}

/**
 * The payload as canonical MongoDB Extended JSON, which names every type: what an export of dead letters holds.
 * @see https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/
 * @throws {PayloadError} when the bytes are damaged
 */
export function extendedJson(record: Encoded): string {
  return reading(() => {
    const value = record.codec === 0 ? parseJson(record) : parseBson(record);
    try {
      return bson().EJSON.stringify(value, { relaxed: false });
    } catch {
      // A key `_bsontype` in the data looks like one of bson's classes: plain JSON still shows it all.
      return JSON.stringify(projectToJson(withBuffers(value)));
    }
  });
}

function encodeAsJson(value: unknown, changed: number): EncodedPayload {
  return { codec: 0, bytes: Buffer.from(JSON.stringify(value)), changed };
}

function parseJson(record: Encoded): unknown {
  return JSON.parse(asBuffer(record.bytes).toString("utf8"));
}

function parseBson(record: Encoded): unknown {
  const document: unknown = bson().deserialize(record.bytes, READ_OPTIONS);
  if (typeof document !== "object" || document === null || !Object.hasOwn(document, "v")) {
    throw new PayloadError("undecodable", "The stored payload cannot be read: it holds no value");
  }
  return (document as { v: unknown }).v;
}

/**
 * Binary of subtype 0 becomes a Buffer. bson's own `promoteBuffers` does it to every subtype, so that UUIDs and
 * encrypted fields would reach MongoDB as something else.
 */
function withBuffers(value: unknown): unknown {
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  const { Binary, Code } = bson();
  if (value instanceof Binary) {
    return value.sub_type === Binary.SUBTYPE_DEFAULT ? asBuffer(value.value()) : value;
  }
  if ("_bsontype" in value && !Object.hasOwn(value, "_bsontype")) {
    if (value instanceof Code && value.scope !== null) withBuffers(value.scope);
    return value;
  }
  for (const [key, part] of Object.entries(value)) {
    const replaced = withBuffers(part);
    // Assigning an own `__proto__` key, which this is, does not reach the prototype.
    if (replaced !== part) (value as Record<string, unknown>)[key] = replaced;
  }
  return value;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function tooLarge(): PayloadError {
  return new PayloadError("too-large", "The payload is larger than 16 MiB: send it in parts");
}

function encodingError(error: unknown): PayloadError {
  // "Invalid string length": more than half a gigabyte of JSON.
  if (error instanceof RangeError) return new PayloadError("too-large", "The payload is too large", { cause: error });
  return PayloadError.from(error, "unencodable");
}

function reading<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw PayloadError.from(error, "undecodable");
  }
}
