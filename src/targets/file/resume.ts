/**
 * What a new life does about the bytes behind a stored position: they are compared with the lines that should follow.
 * Lines that are there count as delivered. An unfinished end is cut only when all of it is ours: the beginning of the
 * next lines, or NULs where a power cut kept the length and lost the bytes. Anything else belongs to others and stays.
 */
import type { OutputFile } from "./output-file.js";

const CHUNK_BYTES = 64 * 1_024;

type Phase =
  /** Every line so far is there. */
  | { readonly kind: "matching" }
  /** From here on only a torn end of ours explains the bytes, if it goes on like this to the end of the file. */
  | { readonly kind: "torn"; readonly from: number }
  | { readonly kind: "done" };

/** The bytes of one file behind a position. */
export class Remainder {
  readonly #file: OutputFile;
  readonly #size: number;
  readonly #unitBytes: number;
  #position: number;
  #phase: Phase = { kind: "matching" };
  #chunk = Buffer.alloc(0);
  #chunkStart = 0;

  /** @param unitBytes of a character at least, by the encoding: nothing is cut within one */
  constructor(file: OutputFile, position: number, unitBytes = 1) {
    this.#file = file;
    this.#unitBytes = unitBytes;
    this.#size = file.end;
    this.#position = position;
    if (position >= this.#size) this.#phase = { kind: "done" };
  }

  /** True when no further line can change the verdict. */
  get isDecided(): boolean {
    return this.#phase.kind === "done";
  }

  /** Behind the last line that was found. */
  get position(): number {
    return this.#phase.kind === "torn" ? this.#phase.from : this.#position;
  }

  /** Steps over bytes that are no record's line, when they are there: a header, the end of someone's last line. */
  async skip(bytes: Buffer): Promise<void> {
    if (bytes.length > 0) await this.next(bytes);
  }

  /** Compares the next expected line; true when it is in the file, whole. */
  async next(line: Buffer): Promise<boolean> {
    if (this.#phase.kind === "done") return false;
    const present = await this.#peek(Math.min(line.length, this.#size - this.#position));
    if (this.#phase.kind === "matching") {
      if (present.length === line.length && present.equals(line)) {
        this.#position += line.length;
        if (this.#position === this.#size) this.#phase = { kind: "done" };
        return true;
      }
      this.#phase = { kind: "torn", from: this.#position };
    }
    if (!isTorn(present, line)) {
      // Someone else's bytes: they stay, and our lines go behind them.
      this.#position = this.position;
      this.#phase = { kind: "done" };
      return false;
    }
    this.#position += present.length;
    if (this.#position === this.#size) await this.#cutTorn();
    return false;
  }

  /** To be called once no more lines are compared: cuts characters at the very end that are NUL, or half there. */
  async finish(): Promise<void> {
    const kept = this.#wholeCharacters(await this.#endWithoutNuls(this.#position));
    if (this.#phase.kind === "torn" && kept === this.#position) await this.#cutTorn();
    else if (kept < this.#size && this.#file.end === this.#size) await this.#file.cut(kept);
    this.#position = this.position;
    this.#phase = { kind: "done" };
  }

  async #cutTorn(): Promise<void> {
    const from = this.position;
    await this.#file.cut(from);
    this.#position = from;
    this.#phase = { kind: "done" };
  }

  async #peek(length: number): Promise<Buffer> {
    const offset = this.#position - this.#chunkStart;
    if (offset < 0 || offset + length > this.#chunk.length) {
      const chunk = Buffer.alloc(Math.min(Math.max(CHUNK_BYTES, length), this.#size - this.#position));
      this.#chunk = chunk.subarray(0, await this.#file.read(chunk, this.#position));
      this.#chunkStart = this.#position;
      return this.#chunk.subarray(0, length);
    }
    return this.#chunk.subarray(offset, offset + length);
  }

  /** With more than one byte for each, the NULs of the last character belong to it: a line feed may be 0A 00. */
  #wholeCharacters(end: number): number {
    const unit = this.#unitBytes;
    const whole = Math.min(Math.ceil(end / unit), Math.floor(this.#size / unit)) * unit;
    return Math.max(this.#position, whole);
  }

  /** Where the NULs begin that reach to the end of the file; its size when there are none. Never before `start`. */
  async #endWithoutNuls(start: number): Promise<number> {
    let end = this.#file.end;
    while (end > start) {
      const from = Math.max(start, end - CHUNK_BYTES);
      const chunk = Buffer.alloc(end - from);
      await this.#file.read(chunk, from);
      let kept = chunk.length;
      while (kept > 0 && chunk[kept - 1] === 0) kept--;
      if (kept > 0) return from + kept;
      end = from;
    }
    return end;
  }
}

/** True when `present` is the beginning of `line`, save for bytes that are NUL. */
function isTorn(present: Buffer, line: Buffer): boolean {
  for (let i = 0; i < present.length; i++) if (present[i] !== 0 && present[i] !== line[i]) return false;
  return true;
}
