/**
 * A copy of a payload that a transform may change at will: arrays, plain objects, Map, Set, Date, binary data.
 * Functions and instances of other classes (sockets, ObjectIds, requests) are shared, not copied: no copy of them would
 * work. Cheaper than `structuredClone`, which also refuses functions.
 */
import { types } from "node:util";
import { isPlainPrototype, MAX_DEPTH, MAX_VALUES, tooManyValues } from "./codec/plain.js";

/** Objects copied before it looks as if the same ones came again and again. */
const MAX_OBJECTS = 500_000;

let objectsLeft = 0;

/** @throws {PayloadError} "too-large" for an array longer than any payload may be; RangeError when the stack is full */
export function deepCopy(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  objectsLeft = MAX_OBJECTS;
  try {
    return copyObject(value, undefined, MAX_DEPTH);
  } catch (error) {
    if (error !== NEEDS_MEMORY) throw error;
    // It may contain itself. Remembering every object costs more, so only now.
    return copyObject(value, new Map(), Number.POSITIVE_INFINITY);
  }
}

/** Never seen by a caller. */
const NEEDS_MEMORY = new Error("too deep or too many objects for a copy without memory");

type Copies = Map<object, object> | undefined;

function copyAny(value: unknown, copies: Copies, depthLeft: number): unknown {
  return typeof value === "object" && value !== null ? copyObject(value, copies, depthLeft) : value;
}

function copyObject(source: object, copies: Copies, depthLeft: number): unknown {
  const known = copies?.get(source);
  if (known !== undefined) return known;
  if (depthLeft === 0 || (copies === undefined && --objectsLeft < 0)) throw NEEDS_MEMORY;
  if (Array.isArray(source)) {
    if (source.length > MAX_VALUES) throw tooManyValues();
    const copy: unknown[] = [];
    copies?.set(source, copy);
    for (let i = 0; i < source.length; i++) copy.push(copyAny(source[i], copies, depthLeft - 1));
    return copy;
  }
  if (isPlainPrototype(source)) {
    const copy = (Object.getPrototypeOf(source) === null ? Object.create(null) : {}) as Record<string, unknown>;
    copies?.set(source, copy);
    for (const key of Object.keys(source)) {
      const value = copyAny((source as Record<string, unknown>)[key], copies, depthLeft - 1);
      // Assigned, this key of somebody's JSON would become the prototype of the copy.
      if (key === "__proto__") {
        Object.defineProperty(copy, key, { value, enumerable: true, writable: true, configurable: true });
      } else copy[key] = value;
    }
    return copy;
  }
  if (types.isDate(source)) return new Date(Date.prototype.getTime.call(source));
  if (ArrayBuffer.isView(source)) return copyView(source);
  if (types.isAnyArrayBuffer(source)) return source.slice(0);
  if (types.isMap(source)) {
    const copy = new Map<unknown, unknown>();
    copies?.set(source, copy);
    for (const [key, value] of source) {
      copy.set(copyAny(key, copies, depthLeft - 1), copyAny(value, copies, depthLeft - 1));
    }
    return copy;
  }
  if (types.isSet(source)) {
    const copy = new Set<unknown>();
    copies?.set(source, copy);
    for (const value of source) copy.add(copyAny(value, copies, depthLeft - 1));
    return copy;
  }
  return source;
}

function copyView(source: ArrayBufferView): ArrayBufferView {
  if (Buffer.isBuffer(source)) return Buffer.from(source);
  const bytes = source.buffer.slice(source.byteOffset, source.byteOffset + source.byteLength);
  const View = source.constructor as new (buffer: ArrayBufferLike) => ArrayBufferView;
  return new View(bytes);
}
