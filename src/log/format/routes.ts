/**
 * The routes of a block: each routing that its records have, once, under the number that the records name. Most blocks
 * have one, and where each record has its own they may be most of the block.
 */
import type { Routing } from "../../record.js";
import { type ByteReader, BytesError, type ByteWriter } from "./bytes.js";

/** Of a record that names nothing. */
export const NO_ROUTING: Routing = Object.freeze(Object.create(null) as Record<string, string>);

function isEmpty(routing: Routing): boolean {
  for (const _ in routing) return false;
  return true;
}

function encodeRouting(routing: Routing): string {
  return JSON.stringify(Object.entries(routing).flat());
}

function decodeRouting(text: string): Routing {
  let flat: unknown;
  try {
    flat = JSON.parse(text);
  } catch (error) {
    throw new BytesError("not a route", { cause: error });
  }
  if (!Array.isArray(flat) || flat.length % 2 !== 0) throw new BytesError("not a route");
  const routing = Object.create(null) as Record<string, string>; // without a prototype no name can reach one
  for (let i = 0; i < flat.length; i += 2) {
    const [name, value] = [flat[i] as unknown, flat[i + 1] as unknown];
    if (typeof name !== "string" || typeof value !== "string") throw new BytesError("not a route");
    routing[name] = value;
  }
  return Object.freeze(routing);
}

export class Routes {
  readonly #texts: string[] = [];
  readonly #routings: Routing[] = [];
  #index: Map<string, number> | undefined;
  #bytes = 0;
  #last: Routing | undefined;
  #lastNumber = 0;

  /** Of their texts. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @throws {BytesError} when there are no routes there */
  static decode(reader: ByteReader): Routes {
    const routes = new Routes();
    for (let i = reader.varint(); i > 0; i--) {
      const text = reader.text();
      routes.#add(text, decodeRouting(text));
    }
    return routes;
  }

  encode(into: ByteWriter): void {
    into.varint(this.#texts.length);
    for (const text of this.#texts) into.text(text);
  }

  #add(text: string, routing: Routing): number {
    this.#bytes += Buffer.byteLength(text);
    this.#routings.push(routing);
    return this.#texts.push(text) - 1;
  }

  /** The number of a routing, which is a new one when it was not there yet. */
  numberOf(given: Routing): number {
    // A sender that names no destination makes a new empty object each time.
    const routing = isEmpty(given) ? NO_ROUTING : given;
    if (routing === this.#last) return this.#lastNumber;
    const text = encodeRouting(routing);
    this.#index ??= new Map();
    let number = this.#index.get(text);
    if (number === undefined) {
      number = this.#add(text, routing === NO_ROUTING ? NO_ROUTING : Object.freeze({ ...routing }));
      this.#index.set(text, number);
    }
    this.#last = routing;
    return (this.#lastNumber = number);
  }

  /** The routing of that number; undefined when there is none. */
  at(number: number): Routing | undefined {
    return this.#routings[number];
  }
}
