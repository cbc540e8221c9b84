/**
 * A record as the bytes of its line. What JSON text is and how payload bytes are read back is the codec's.
 */
import { decode, jsonText, plainText } from "../../codec.js";
import { runsOf, type CodecTag, type LogRecord } from "../../record.js";
import { csvHeader, csvRow } from "./csv.js";
import type { CsvOptions } from "./csv.js";
import { textEncoding } from "./text-encoding.js";
import type { TextEncoding } from "./text-encoding.js";

/** Turns records into lines; the same record gives the same bytes in every life, or lines would be doubled. */
export interface LineFormat {
  readonly lineEnd: Buffer;
  /** The first line of each new file, with its end; empty when there is none. */
  readonly header: Buffer;
  /** A line break between two of these does not end a line. Undefined: every one does. */
  readonly quote: Buffer | undefined;
  /** The line without its end. @throws {PayloadError} when the payload cannot be read */
  body(record: LogRecord): Buffer;
  /** The payload at that place, with the line feed behind it, is the line as it lies. */
  isLine(codec: CodecTag, page: Buffer, start: number): boolean;
}

export interface LineOptions {
  readonly format: "text" | "json" | "csv";
  readonly encoding: string;
  readonly buffers: "raw" | "base64" | "hex";
  readonly csv: CsvOptions;
}

const NOTHING = Buffer.alloc(0);
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** @throws {TargetConfigError} for an unknown encoding */
export function lineFormat(options: LineOptions): LineFormat {
  const encoding = textEncoding(options.encoding);
  switch (options.format) {
    case "text":
      return new TextLines(encoding, options.buffers);
    case "json":
      return new JsonLines(encoding);
    case "csv":
      return new CsvLines(encoding, options.csv);
    default:
      return options.format satisfies never;
  }
}

/** Text as it is, bytes as the user chose, everything else as JSON. */
class TextLines implements LineFormat {
  readonly lineEnd: Buffer;
  readonly header = NOTHING;
  readonly quote = undefined;
  readonly #encoding: TextEncoding;
  readonly #buffers: LineOptions["buffers"];

  constructor(encoding: TextEncoding, buffers: LineOptions["buffers"]) {
    this.#encoding = encoding;
    this.#buffers = buffers;
    this.lineEnd = encoding.encode("\n");
  }

  body(record: LogRecord): Buffer {
    const { bytes } = record;
    if (record.codec === 0 && this.#encoding.isUtf8) {
      if (bytes[0] !== QUOTE) return bytes;
      // Text without escapes is its own line: nothing to parse.
      if (!bytes.includes(BACKSLASH)) return bytes.subarray(1, -1);
    }
    if (record.codec === 1) {
      const payload = decode(record);
      // Raw: whatever the device sent is taken to be in the encoding of the file already.
      if (Buffer.isBuffer(payload)) {
        return this.#buffers === "raw" ? payload : this.#encoding.encode(payload.toString(this.#buffers));
      }
    }
    const text = plainText(record);
    return text === undefined ? json(record, this.#encoding) : this.#encoding.encode(text);
  }

  isLine(codec: CodecTag, page: Buffer, start: number): boolean {
    return codec === 0 && this.#encoding.isUtf8 && page[start] !== QUOTE;
  }
}

/** Every payload as JSON, text in quotes: a line break in it never ends the line. */
class JsonLines implements LineFormat {
  readonly lineEnd: Buffer;
  readonly header = NOTHING;
  readonly quote = undefined;
  readonly #encoding: TextEncoding;

  constructor(encoding: TextEncoding) {
    this.#encoding = encoding;
    this.lineEnd = encoding.encode("\n");
  }

  body(record: LogRecord): Buffer {
    return json(record, this.#encoding);
  }

  isLine(codec: CodecTag): boolean {
    return codec === 0 && this.#encoding.isUtf8;
  }
}

/** Chosen columns; see `csv.ts`. */
class CsvLines implements LineFormat {
  readonly lineEnd: Buffer;
  readonly header: Buffer;
  readonly quote: Buffer;
  readonly #encoding: TextEncoding;
  readonly #csv: CsvOptions;

  constructor(encoding: TextEncoding, csv: CsvOptions) {
    this.#encoding = encoding;
    this.#csv = csv;
    this.lineEnd = encoding.encode("\n");
    this.quote = encoding.encode('"');
    this.header = csv.header ? encoding.encode(`${csvHeader(csv)}\n`) : NOTHING;
  }

  body(record: LogRecord): Buffer {
    return this.#encoding.encode(csvRow(record, this.#csv));
  }

  isLine(): boolean {
    return false;
  }
}

function json(record: LogRecord, encoding: TextEncoding): Buffer {
  const text = jsonText(record);
  return encoding.isUtf8 ? text : encoding.encode(text.toString());
}

/** Lines of a batch, to be written one piece after the other. */
export interface Lines {
  readonly pieces: readonly Buffer[];
  /** Per record, where its line ends in all these bytes. */
  ends(): readonly number[];
}

/**
 * Lines in one buffer. `before` is what has to precede the first one: a header, the missing end of someone's last line.
 */
export function joinLines(before: Buffer, bodies: readonly Buffer[], lineEnd: Buffer): Lines {
  let total = before.length;
  for (const body of bodies) total += body.length + lineEnd.length;
  const bytes = Buffer.allocUnsafe(total);
  bytes.set(before);
  let at = before.length;
  const ends: number[] = [];
  for (const body of bodies) {
    bytes.set(body, at);
    at += body.length;
    bytes.set(lineEnd, at);
    at += lineEnd.length;
    ends.push(at);
  }
  return { pieces: [bytes], ends: () => ends };
}

/**
 * The lines of records that are lines as they lie: what takes time then is the number of pieces, not that of records.
 * Undefined when one of them is no such.
 */
export function linesAsTheyLie(
  records: readonly LogRecord[],
  format: LineFormat,
): ((before: Buffer) => Lines) | undefined {
  const areLines = records.every(
    ({ codec, page, start }) => page !== undefined && start !== undefined && format.isLine(codec, page, start),
  );
  const runs = areLines ? runsOf(records) : undefined;
  if (runs === undefined) return undefined;
  return (before) => {
    const ends = (): number[] => {
      let end = before.length;
      return records.map(({ size }) => (end += size + 1));
    };
    const pieces = runs.map(({ page, from, to }) => page.subarray(from, to));
    return { pieces: before.length === 0 ? pieces : [before, ...pieces], ends };
  };
}

/** Line ends in bytes that start at a character: with two bytes a character, a match across two of them is none. */
export function countLineEnds(bytes: Buffer, lineEnd: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(lineEnd); at >= 0;) {
    const isAligned = at % lineEnd.length === 0;
    if (isAligned) count++;
    at = bytes.indexOf(lineEnd, at + (isAligned ? lineEnd.length : 1));
  }
  return count;
}
