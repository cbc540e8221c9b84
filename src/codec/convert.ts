/**
 * Turns any payload into what JSON or BSON holds, value by value, the same for every target:
 *
 * | value | becomes |
 * | --- | --- |
 * | Date; Buffer, Uint8Array, ArrayBuffer, DataView; RegExp; bigint inside int64; NaN, infinities, -0 | kept, by BSON |
 * | ObjectId, Decimal128, Long, Binary, UUID, Timestamp ... of any version of bson | the same in ours |
 * | invalid Date | null (counted as changed) |
 * | bigint outside int64 | decimal text (counted as changed) |
 * | Map; Set; Error; other typed arrays | object; array; {name, message, stack}; array of numbers |
 * | undefined, function, symbol | dropped from objects, null in arrays, as in JSON |
 * | an object with toJSON; another class instance; new String("x") ... | toJSON(); its own enumerable keys; "x" ... |
 */
import { types } from "node:util";
import { fromBsonClass } from "./bson-classes.js";
import { PayloadError } from "./payload-error.js";
import { bson } from "./bson.js";
import { isPlainNumber, isPlainPrototype, MAX_DEPTH, MAX_VALUES, tooManyValues } from "./plain.js";

export interface Converted {
  /** Undefined when nothing is left. Objects in it have no prototype, so that a key `__proto__` is a key like others. */
  readonly value: unknown;
  /** JSON text would lose something of `value`. */
  readonly needsBson: boolean;
  /** Values replaced by lesser ones. */
  readonly changed: number;
  /** No less than the bytes of the BSON. */
  readonly weight: number;
}

export function convert(payload: unknown): Converted {
  const conversion = new Conversion();
  const value = conversion.value(payload, MAX_DEPTH);
  return { value, needsBson: conversion.needsBson, changed: conversion.changed, weight: conversion.weight };
}

/** The most bytes that the key of an array element, a type and a number take; UTF-8 takes at most 3 per character. */
const VALUE_WEIGHT = 32;
const CHARACTER_WEIGHT = 3;

const MIN_INT64 = -(2n ** 63n);
const MAX_INT64 = 2n ** 63n - 1n;

class Conversion {
  needsBson = false;
  changed = 0;
  weight = 0;
  #valuesLeft = MAX_VALUES;
  readonly #ancestors: object[] = [];

  value(value: unknown, depthLeft: number): unknown {
    if (--this.#valuesLeft < 0) throw tooManyValues();
    this.weight += VALUE_WEIGHT;
    switch (typeof value) {
      case "string":
        this.weight += value.length * CHARACTER_WEIGHT;
        return value;
      case "boolean":
        return value;
      case "number":
        if (!isPlainNumber(value)) this.needsBson = true;
        return value;
      case "bigint":
        if (value < MIN_INT64 || value > MAX_INT64) {
          this.changed++;
          return this.value(value.toString(), depthLeft);
        }
        this.needsBson = true;
        return value;
      case "object":
        return value === null ? null : this.#object(value, depthLeft);
      default:
        return undefined;
    }
  }

  #object(object: object, depthLeft: number): unknown {
    if (depthLeft === 0) {
      throw this.#ancestors.includes(object)
        ? new PayloadError("circular", "The payload contains itself (a circular reference): choose the part to send")
        : new PayloadError("too-deep", `The payload is nested deeper than ${MAX_DEPTH} levels`);
    }
    this.#ancestors.push(object);
    const converted = Array.isArray(object)
      ? this.#elements(object, depthLeft)
      : isPlainPrototype(object)
        ? typeof (object as { toJSON?: unknown }).toJSON === "function"
          ? this.#toJson(object, depthLeft)
          : this.#entries(Object.entries(object), depthLeft)
        : this.#instance(object, depthLeft);
    this.#ancestors.pop();
    return converted;
  }

  #elements(elements: ArrayLike<unknown>, depthLeft: number): unknown[] {
    // A sparse array names a length that it does not have.
    if (elements.length > this.#valuesLeft) throw tooManyValues();
    return Array.from(elements, (element) => this.value(element, depthLeft - 1) ?? null);
  }

  #entries(entries: Iterable<[unknown, unknown]>, depthLeft: number): unknown {
    const converted = Object.create(null) as Record<string, unknown>;
    for (const [key, value] of entries) {
      if (typeof key === "symbol") continue;
      const name = String(key);
      const kept = this.value(value, depthLeft - 1);
      if (kept === undefined) continue;
      this.weight += name.length * CHARACTER_WEIGHT;
      converted[name] = kept;
    }
    // bson takes an object with such a key for one of its classes, but reads a Map by its entries alone.
    if (Object.hasOwn(converted, "_bsontype")) {
      this.needsBson = true;
      return new Map(Object.entries(converted));
    }
    return converted;
  }

  #toJson(object: object, depthLeft: number): unknown {
    return this.value((object as { toJSON(key: string): unknown }).toJSON(""), depthLeft - 1);
  }

  #bytes(bytes: Buffer): Buffer {
    this.needsBson = true;
    this.weight += bytes.length;
    return bytes;
  }

  /** An instance of a class. Told by what it is inside, since a sandbox has classes of its own. */
  #instance(object: object, depthLeft: number): unknown {
    if (types.isDate(object)) {
      const time = Date.prototype.getTime.call(object);
      if (Number.isNaN(time)) {
        this.changed++;
        return null;
      }
      this.needsBson = true;
      return new Date(time);
    }
    if (ArrayBuffer.isView(object)) {
      if (types.isUint8Array(object) || types.isDataView(object)) {
        return this.#bytes(Buffer.from(object.buffer, object.byteOffset, object.byteLength));
      }
      return this.#elements(object as unknown as ArrayLike<number | bigint>, depthLeft);
    }
    if (types.isAnyArrayBuffer(object)) return this.#bytes(Buffer.from(object as ArrayBuffer));
    if (types.isMap(object)) return this.#entries(object, depthLeft);
    if (types.isSet(object)) return this.#elements([...object], depthLeft);
    if (types.isNativeError(object) || object instanceof Error) {
      const { name, message, stack } = object;
      return this.#entries(Object.entries({ name, message, stack }), depthLeft);
    }
    if (types.isRegExp(object)) {
      this.needsBson = true;
      this.weight += object.source.length * CHARACTER_WEIGHT;
      // Flags without a meaning outside JavaScript (g, y, d, v) stay behind.
      return new (bson().BSONRegExp)(object.source, object.flags.replaceAll(/[^imsu]/g, ""));
    }
    if (types.isBoxedPrimitive(object)) return this.value(object.valueOf(), depthLeft - 1);
    if (typeof (object as { _bsontype?: unknown })._bsontype === "string") {
      const kept = fromBsonClass(object as { _bsontype: string }, (part) => this.value(part, depthLeft - 1));
      if (kept !== undefined) {
        this.needsBson = true;
        this.weight += kept.weight;
        return kept.value;
      }
    }
    if (typeof (object as { toJSON?: unknown }).toJSON === "function") return this.#toJson(object, depthLeft);
    return this.#entries(Object.entries(object), depthLeft);
  }
}
