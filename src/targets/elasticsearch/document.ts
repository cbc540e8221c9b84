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

const OPEN_OBJECT = Buffer.from("{");
const WRAP_OPEN = Buffer.from('{"payload":');
const WRAP_CLOSE = Buffer.from("}");

/** The name of a field, with its quoted text made once instead of for each record. */
export interface FieldKey {
  readonly name: string;
  readonly quoted: Buffer;
}

export function fieldKey(name: string): FieldKey {
  return { name, quoted: Buffer.from(JSON.stringify(name)) };
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

/**
 * The pieces of the document's text, to be written one after the other. An object takes the fields in; anything else
 * (a number, a text, an array, null) becomes `{"payload": ...}`, since a document is always an object.
 *
 * @param json JSON text as `JSON.stringify` makes it: no blanks, keys escaped only where they must be
 */
export function documentPieces(json: Buffer, fields: readonly AddedField[]): (Buffer | string)[] {
  if (json[0] !== OPEN_BRACE) {
    const added = fields.filter((field) => field.key.name !== "payload");
    return added.length === 0
      ? [WRAP_OPEN, json, WRAP_CLOSE]
      : [`{${added.map(fieldText).join(",")},"payload":`, json, WRAP_CLOSE];
  }
  const missing = fields.filter((field) => topLevelValue(json, field.key) === undefined);
  if (missing.length === 0) return [json];
  const isEmpty = json[1] === CLOSE_BRACE;
  return [OPEN_OBJECT, missing.map(fieldText).join(",") + (isEmpty ? "" : ","), json.subarray(1)];
}

/** The value of a key of the outermost object; undefined when it has no such key, or is no object. */
export function topLevelValue(json: Buffer, { quoted }: FieldKey): Span | undefined {
  if (json[0] !== OPEN_BRACE) return undefined;
  // Most payloads do not hold the text of the key at all: one fast search spares the walk.
  if (json.indexOf(quoted) === -1) return undefined;
  let at = 1;
  while (at < json.length && json[at] === QUOTE) {
    const keyEnd = endOfString(json, at);
    if (json[keyEnd] !== COLON) return undefined;
    const start = keyEnd + 1;
    const end = endOfValue(json, start);
    if (quoted.equals(json.subarray(at, keyEnd))) return { start, end };
    if (json[end] !== COMMA) return undefined;
    at = end + 1;
  }
  return undefined;
}

function fieldText(field: AddedField): string {
  return `${JSON.stringify(field.key.name)}:${field.json}`;
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
