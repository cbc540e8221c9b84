/**
 * From a record to what is sent: the document with its `_id`, the added fields, and for replace and update the filter
 * and the change. Pure: what happens to it is `target.ts`.
 */
import type { Document, ObjectId, UUID } from "bson";
import { decode } from "../../codec.js";
import { bson } from "../../codec/bson.js";
import { type LogRecord, uuidText } from "../../record.js";
import type { Rejection } from "../target.js";
import type { MongoOptions } from "./options.js";

export interface Prepared {
  readonly kind: "document";
  /** For an insert: the document, with `_id` first, as the server stores it. Else the statement of an update. */
  readonly document: Document;
  /** Whether the `_id` is made of the record's id: then "already there" means that an earlier attempt got through. */
  readonly hasOurId: boolean;
  /** The fields added to the payload, which may differ from one attempt to the next. */
  readonly added: readonly string[];
}

export interface Refused {
  readonly kind: "rejected";
  readonly cause: Rejection;
}

function refuse(code: string, message: string): Refused {
  return { kind: "rejected", cause: { code, message } };
}

/** Makes the document for an insert. */
export function prepareDocument(record: LogRecord, options: MongoOptions): Prepared | Refused {
  const payload = payloadOf(record, options);
  if (payload.kind === "rejected") return payload;
  const { fields } = payload;
  const userId = ownValue(fields, "_id");
  const hasOurId = userId === undefined || userId === null;
  const added = addedFields(record, options, fields);
  const document: Document = {
    _id: hasOurId ? recordId(record, options.idKind) : userId,
    ...withoutId(fields),
    ...added,
  };
  if (options.timeSeries !== undefined) {
    const { timeField } = options.timeSeries;
    const time = timeOf(ownValue(document, timeField), record);
    if (time === undefined) {
      return refuse(
        "time-field",
        `The field ${timeField} holds no time: give a date, ms since 1970, or ISO 8601 text.`,
      );
    }
    document[timeField] = time;
  }
  return { kind: "document", document, hasOurId, added: Object.keys(added) };
}

/** Makes the statement for a replace or an update. */
export function prepareChange(record: LogRecord, options: MongoOptions): Prepared | Refused {
  const payload = payloadOf(record, options);
  if (payload.kind === "rejected") return payload;
  const { fields } = payload;
  const areOperators = options.mode === "update" && options.operators && Object.keys(fields).some(isOperator);
  if (areOperators && !Object.keys(fields).every((key) => isOperator(key) && isObject(ownValue(fields, key)))) {
    return refuse(
      "operators",
      "Either all keys of the payload are update operators, each with its fields, or none is.",
    );
  }
  const sources = areOperators ? [ownValue(fields, "$set"), ownValue(fields, "$setOnInsert")] : [fields];
  const q: Document = {};
  for (const name of options.keyFields) {
    let value = sources.map((source) => valueAt(source, name)).find((found) => found !== undefined && found !== null);
    if (value === undefined && name === "_id") value = recordId(record, options.idKind);
    if (value === undefined) return refuse("key-missing", `The key field ${name} is missing in the payload.`);
    // $eq, since a value from outside must never be read as a condition ({ "$gt": "" } would match any document).
    q[name] = isPlainScalar(value) ? value : { $eq: value };
  }
  const added = addedFields(record, options, fields);
  const change = areOperators
    ? withSet(fields, added)
    : options.mode === "replace"
      ? replacementOf(fields, added, options)
      : updateOf(record, fields, added, options);
  return { kind: "document", document: { q, u: change, upsert: true }, hasOurId: false, added: [] };
}

/** The `_id` made of a record's id: always the same for the same record. */
export function recordId(record: LogRecord, kind: MongoOptions["idKind"]): UUID | string | ObjectId {
  switch (kind) {
    case "uuid":
      return new (bson().UUID)(record.id);
    case "string":
      return uuidText(record.id);
    case "objectId": {
      // Seconds from the UUIDv7's ms, as an ObjectId begins, then its random half.
      const bytes = Buffer.alloc(12);
      bytes.writeUInt32BE(Math.floor(record.id.readUIntBE(0, 6) / 1_000) >>> 0, 0);
      record.id.copy(bytes, 4, 8, 16);
      return new (bson().ObjectId)(bytes);
    }
    default:
      return kind satisfies never;
  }
}

/** Whether two documents hold the same, fields added by us aside. */
export function isSameDocument(stored: Document, sent: Document, added: readonly string[]): boolean {
  return bytesWithout(stored, added).equals(bytesWithout(sent, added));
}

/** Size as BSON. @throws {BSONError} for what BSON cannot hold */
export function documentBytes(document: Document): Buffer {
  return Buffer.from(bson().serialize(document, { ignoreUndefined: true }));
}

function bytesWithout(document: Document, names: readonly string[]): Buffer {
  return documentBytes(Object.fromEntries(Object.entries(document).filter(([name]) => !names.includes(name))));
}

type Fields = Readonly<Record<string, unknown>>;

function payloadOf(record: LogRecord, options: MongoOptions): { kind: "fields"; fields: Fields } | Refused {
  let payload: unknown;
  try {
    payload = decode(record);
  } catch (error) {
    return refuse("undecodable", `The stored payload cannot be read: ${(error as Error).message}`);
  }
  let fields: Fields;
  if (isObject(payload)) fields = payload;
  else {
    const { topic } = record.routing;
    fields = { [options.wrapField]: payload, ...(topic !== undefined && { topic }) };
  }
  return { kind: "fields", fields: options.replaceKeys ? (withSafeKeys(fields) as Fields) : fields };
}

function addedFields(record: LogRecord, options: MongoOptions, fields: Fields): Document {
  const { topic, acceptedAt, device, replayed, doubtful } = options.fields;
  const added: Document = {};
  const add = (name: string | undefined, value: unknown): void => {
    if (name !== undefined && value !== undefined && !Object.hasOwn(fields, name)) added[name] = value;
  };
  add(topic, record.routing["topic"]);
  if (acceptedAt !== undefined) add(acceptedAt, new Date(record.acceptedAtMs));
  add(device, options.device);
  add(replayed, record.replayed);
  add(doubtful, record.isTimeDoubtful === true);
  return added;
}

/** The `_id` of a replacement is the stored document's: the server refuses any other, and makes one when there is none. */
function replacementOf(fields: Fields, added: Document, options: MongoOptions): Document {
  const id = ownValue(fields, "_id");
  const keepsId = !options.keyFields.includes("_id") && id !== undefined && id !== null;
  return { ...(keepsId && { _id: id }), ...withoutId(fields), ...added };
}

function updateOf(record: LogRecord, fields: Fields, added: Document, options: MongoOptions): Document {
  const set = { ...withoutId(fields), ...added };
  const hasSet = Object.keys(set).length > 0;
  if (options.keyFields.includes("_id")) {
    // Servers before 5.0 refuse an empty $set; $setOnInsert of the key itself changes nothing.
    const id = ownValue(fields, "_id") ?? recordId(record, options.idKind);
    return hasSet ? { $set: set } : { $setOnInsert: { _id: id } };
  }
  const id = ownValue(fields, "_id") ?? recordId(record, options.idKind);
  return { ...(hasSet && { $set: set }), $setOnInsert: { _id: id } };
}

function withSet(operators: Fields, added: Document): Document {
  if (Object.keys(added).length === 0) return { ...operators };
  return { ...operators, $set: { ...added, ...(ownValue(operators, "$set") as Document | undefined) } };
}

function timeOf(value: unknown, record: LogRecord): Date | undefined {
  if (value === undefined || value === null) return new Date(record.acceptedAtMs);
  if (!(value instanceof Date) && typeof value !== "number" && typeof value !== "string") return undefined;
  const time = new Date(value);
  return Number.isNaN(time.getTime()) ? undefined : time;
}

/** Never by `[]=` from input: `__proto__` stays data. */
function withSafeKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withSafeKeys);
  if (!isObject(value)) return value;
  const taken = new Set<string>();
  const renamed = Object.entries(value).map(([key, inner]) => {
    let safe = key.replaceAll(".", "_").replace(/^\$/, "_");
    // Two keys that become one would lose a value.
    while (safe !== key && (taken.has(safe) || Object.hasOwn(value, safe))) safe += "_";
    taken.add(safe);
    return [safe, withSafeKeys(inner)] as const;
  });
  return Object.fromEntries(renamed);
}

function withoutId(fields: Fields): Fields {
  if (!Object.hasOwn(fields, "_id")) return fields;
  return Object.fromEntries(Object.entries(fields).filter(([key]) => key !== "_id"));
}

function ownValue(fields: unknown, name: string): unknown {
  return isObject(fields) && Object.hasOwn(fields, name) ? fields[name] : undefined;
}

function valueAt(fields: unknown, path: string): unknown {
  // The operators of an update may name the path as one key.
  const direct = ownValue(fields, path);
  if (direct !== undefined) return direct;
  return path.split(".").reduce<unknown>((value, name) => ownValue(value, name), fields);
}

function isOperator(key: string): boolean {
  return key.startsWith("$");
}

/** A document's worth of fields: no array, and no value that BSON has a type for. */
function isObject(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !ArrayBuffer.isView(value) &&
    !(value instanceof Date) &&
    !(value instanceof RegExp) &&
    !("_bsontype" in value)
  );
}

function isPlainScalar(value: unknown): boolean {
  if (typeof value !== "object" || value instanceof Date) return true;
  const { Binary, ObjectId } = bson();
  return value instanceof ObjectId || value instanceof Binary;
}
