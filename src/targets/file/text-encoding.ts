/** Text in the encoding that the user chose for the file. */
import * as iconv from "iconv-lite";
import { TargetConfigError } from "../target.js";

export interface TextEncoding {
  encode(text: string): Buffer;
  /** True when the UTF-8 bytes of a text are its bytes in the file. */
  readonly isUtf8: boolean;
}

/** What every encoding of text can hold. */
const SAMPLE = "a\n";

const UTF8: TextEncoding = { encode: (text) => Buffer.from(text), isUtf8: true };

/** @throws {TargetConfigError} for an encoding that nobody here knows, or that is none of text */
export function textEncoding(name: string): TextEncoding {
  if (/^utf-?8$/i.test(name)) return UTF8;
  // Those that only write bytes as letters, `hex` for one, would make nothing of ordinary text.
  if (!iconv.encodingExists(name) || iconv.decode(iconv.encode(SAMPLE, name), name) !== SAMPLE) {
    throw new TargetConfigError(`There is no encoding ${JSON.stringify(name)}.`, { code: "file-encoding" });
  }
  // A byte order mark belongs at the start of a file, not of every line.
  return { encode: (text) => iconv.encode(text, name, { addBOM: false }), isUtf8: false };
}
