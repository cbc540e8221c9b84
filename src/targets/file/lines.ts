/**
 * A record as the bytes of its line. What JSON text is and how payload bytes are read back is the codec's.
 */
import { decode, jsonText, plainText } from "../../codec.js";
import type { LogRecord } from "../../record.js";

/** Turns records into lines; the same record gives the same bytes in every life, or lines would be doubled. */
export interface LineFormat {
  readonly lineEnd: Buffer;
  /** The first line of each new file, with its end. */
  readonly header?: Buffer;
  /** The line without its end. @throws {PayloadError} when the payload cannot be a line of this format */
  body(record: LogRecord): Buffer;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Text as it is, bytes as they are, everything else as JSON. */
export class TextLines implements LineFormat {
  readonly lineEnd = Buffer.from("\n");

  body(record: LogRecord): Buffer {
    const { bytes } = record;
    if (record.codec === 0) {
      if (bytes[0] !== QUOTE) return bytes;
      // Text without escapes is its own line: nothing to parse.
      if (!bytes.includes(BACKSLASH)) return bytes.subarray(1, -1);
    } else {
      const payload = decode(record);
      if (Buffer.isBuffer(payload)) return payload;
    }
    const text = plainText(record);
    return text === undefined ? jsonText(record) : Buffer.from(text);
  }
}

/** Lines of a batch in one buffer. */
export interface Lines {
  readonly bytes: Buffer;
  /** Per record, where its line ends in `bytes`. */
  readonly ends: readonly number[];
}

/** `before` is what has to precede the first line: a header, the missing end of someone's last line. */
export function joinLines(before: Buffer, bodies: readonly Buffer[], lineEnd: Buffer): Lines {
  let total = before.length;
  for (const body of bodies) total += body.length + lineEnd.length;
  const bytes = Buffer.allocUnsafe(total);
  bytes.set(before);
  let at = before.length;
  const ends: number[] = [];
  for (const body of bodies) {
    bytes.set(body, at);
    bytes.set(lineEnd, at + body.length);
    at += body.length + lineEnd.length;
    ends.push(at);
  }
  return { bytes, ends };
}
