/**
 * Tells whether JSON text holds a payload without changing it. Runs for every record, so it does nothing else: what
 * fails here is converted by `convert.ts`.
 */

import { PayloadError } from "./payload-error.js";

/** Levels of arrays and objects in a payload. MongoDB refuses documents not far above this. */
export const MAX_DEPTH = 100;

/**
 * Values and elements in one payload. Only a bound for structures that repeat one object many times over, which grow
 * exponentially when written out; real payloads meet the size limits of their targets long before.
 */
export const MAX_VALUES = 4_000_000;

let valuesLeft = 0;

/**
 * True when `JSON.stringify` keeps all that we would keep. Undefined passes: JSON drops it from objects and writes
 * null for it in arrays, and so do we.
 * @throws {PayloadError} "too-large" above MAX_VALUES
 */
export function isPlain(payload: unknown): boolean {
  switch (typeof payload) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return isPlainNumber(payload);
    case "object":
      if (payload === null) return true;
      valuesLeft = MAX_VALUES;
      return isPlainObject(payload, MAX_DEPTH);
    default:
      return false;
  }
}

function isPlainObject(object: object, depthLeft: number): boolean {
  // Inherited too: whatever has a toJSON becomes something else. A plain own value of that name is data.
  if (depthLeft === 0 || (object as { toJSON?: unknown }).toJSON !== undefined) return false;
  if (Array.isArray(object)) {
    if ((valuesLeft -= object.length) < 0) throw tooManyValues();
    for (let i = 0; i < object.length; i++) {
      const value: unknown = object[i];
      // Scalars are judged here and not by a call: half the cost of the walk.
      if (typeof value === "string" || value === null || typeof value === "boolean" || value === undefined) continue;
      if (typeof value === "number") {
        if (value - value !== 0 || (value === 0 && 1 / value < 0)) return false;
      } else if (typeof value !== "object" || !isPlainObject(value, depthLeft - 1)) return false;
    }
    return true;
  }
  if (!isPlainPrototype(object)) return false;
  // Inherited keys come up too, which at worst sends the payload to the slower way.
  for (const key in object) {
    if (--valuesLeft < 0) throw tooManyValues();
    const value = (object as Record<string, unknown>)[key];
    if (typeof value === "string" || value === null || typeof value === "boolean" || value === undefined) continue;
    if (typeof value === "number") {
      if (value - value !== 0 || (value === 0 && 1 / value < 0)) return false;
    } else if (typeof value !== "object" || !isPlainObject(value, depthLeft - 1)) return false;
  }
  return true;
}

/** Finite, and not the negative zero that JSON writes as 0. */
export function isPlainNumber(value: number): boolean {
  return value - value === 0 && (value !== 0 || 1 / value > 0);
}

/** No class instance: prototype-less, or made by `{}`, also in another realm (a function node's sandbox). */
export function isPlainPrototype(object: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(object);
  return prototype === Object.prototype || prototype === null || Object.getPrototypeOf(prototype) === null;
}

export function tooManyValues(): PayloadError {
  return new PayloadError("too-large", `The payload has more than ${MAX_VALUES} values`);
}
