/**
 * The JSON text of a document: the stored bytes of a payload with fields put in at the front, without parsing them.
 * What the bytes mean is `codec.ts`; the lines around them are `bulk.ts`.
 *
 * A field that the payload has already is left as it is: the payload is the user's, and a second key of the same name
 * would make Elasticsearch refuse the document ("Duplicate field").
 */

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** The name of a field, with its quoted text made once instead of for each record. */
export interface FieldKey {
  readonly name: string;
  /** As it stands in JSON, with its quotes. */
  readonly text: string;
  readonly bytes: Buffer;
}

export function fieldKey(name: string): FieldKey {
  const text = JSON.stringify(name);
  return { name, text, bytes: Buffer.from(text) };
}

/** A field to put in, and its value as JSON text. */
export interface AddedField {
  readonly key: FieldKey;
  readonly json: string;
}

/** Where a value stands in JSON bytes. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** A document: `before`, then the stored bytes behind the first `from` of them, then `after`. */
export interface DocumentText {
  readonly before: string;
  readonly from: number;
  readonly after: string;
}

/**
 * How the document's text is made of the stored one. An object takes the fields in; anything else (a number, a text,
 * an array, null) becomes `{"payload": ...}`, since a document is always an object.
 *
 * @param json JSON text as `JSON.stringify` makes it: no blanks, keys escaped only where they must be
 */
export function documentText(json: Buffer, fields: readonly AddedField[]): DocumentText {
  const isObject = json[0] === OPEN_BRACE;
  let before = "{";
  for (const { key, json: value } of fields) {
    const isThere = isObject ? topLevelValue(json, key) !== undefined : key.name === "payload";
    if (!isThere) before += `${before === "{" ? "" : ","}${key.text}:${value}`;
  }
  const separator = before === "{" ? "" : ",";
  if (!isObject) return { before: `${before}${separator}"payload":`, from: 0, after: "}" };
  const isEmpty = json[1] === CLOSE_BRACE;
  return { before: isEmpty ? before : before + separator, from: 1, after: "" };
}

/** An object with something in it: fields can be put in front of what it has. `start`: where the JSON text begins. */
export function hasEntries(json: Buffer, start = 0): boolean {
  return json[start] === OPEN_BRACE && json[start + 1] !== CLOSE_BRACE;
}

/** The value of a key of the outermost object; undefined when it has no such key, or is no object. */
export function topLevelValue(json: Buffer, { bytes }: FieldKey): Span | undefined {
  if (json[0] !== OPEN_BRACE) return undefined;
  // Most payloads do not hold the text of the key at all: one fast search spares the walk.
  if (json.indexOf(bytes) === -1) return undefined;
  let at = 1;
  while (at < json.length && json[at] === QUOTE) {
    const keyEnd = endOfString(json, at);
    if (json[keyEnd] !== COLON) return undefined;
    const start = keyEnd + 1;
    const end = endOfValue(json, start);
    if (bytes.equals(json.subarray(at, keyEnd))) return { start, end };
    if (json[end] !== COMMA) return undefined;
    at = end + 1;
  }
  return undefined;
}

/** Behind the closing quote of the string that starts at `at`. */
function endOfString(json: Buffer, at: number): number {
  for (let i = at + 1; i < json.length; i++) {
    if (json[i] === BACKSLASH) i++;
    else if (json[i] === QUOTE) return i + 1;
  }
  return json.length;
}

function endOfValue(json: Buffer, start: number): number {
  let depth = 0;
  let i = start;
  while (i < json.length) {
    switch (json[i]) {
      case QUOTE:
        i = endOfString(json, i);
        continue;
      case OPEN_BRACE:
      case OPEN_BRACKET:
        depth++;
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        if (depth === 0) return i;
        depth--;
        break;
      case COMMA:
        if (depth === 0) return i;
        break;
      default:
        break;
    }
    i++;
  }
  return i;
}
