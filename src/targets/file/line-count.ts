/**
 * How many lines a file holds: counted once by streaming, then kept up to date by what is appended, so that a limit
 * includes the lines that were there before us. A header is not counted.
 */
import { countLineEnds } from "./lines.js";
import type { LineFormat } from "./lines.js";
import type { OutputFile } from "./output-file.js";
import { isSameFile } from "./state.js";
import type { FileIdentity } from "./state.js";

const CHUNK_BYTES = 256 * 1_024;
/** Files whose count is remembered while they are closed. */
const MAX_COUNTS = 1_000;

interface Count extends FileIdentity {
  readonly end: number;
  readonly lines: number;
}

export class LineCounts {
  readonly #format: LineFormat;
  readonly #counts = new Map<string, Count>();

  constructor(format: LineFormat) {
    this.#format = format;
  }

  /** The lines in the file now, whoever wrote them. Reads what it has not seen yet. */
  async linesOf(file: OutputFile, signal: AbortSignal): Promise<number> {
    const known = this.#counts.get(file.path);
    const goesOn = known !== undefined && isSameFile(known, file.identity) && known.end <= file.end;
    if (goesOn && known.end === file.end) return known.lines;
    const from = goesOn ? known.end : await headerBytesOf(file, this.#format);
    const lines = (goesOn ? known.lines : 0) + (await this.#countBetween(file, from, file.end, signal));
    this.#remember(file, lines);
    return lines;
  }

  /** The count without reading; undefined when it is not known. */
  known(path: string): number | undefined {
    return this.#counts.get(path)?.lines;
  }

  /** Right after the first `length` of these bytes were appended, if the file is counted; without the header of a new one. */
  appended(file: OutputFile, pieces: readonly Buffer[], length: number): void {
    const known = this.known(file.path);
    if (known === undefined) return; // Nobody counts this file.
    const { header, lineEnd } = this.#format;
    const bytes = Buffer.concat(pieces, length);
    const counted = file.end === bytes.length ? bytes.subarray(header.length) : bytes;
    this.#remember(file, known + countLineEnds(counted, lineEnd));
  }

  set(file: OutputFile, lines: number): void {
    this.#remember(file, lines);
  }

  /** The content changed otherwise than by appending. */
  forget(path: string): void {
    this.#counts.delete(path);
  }

  async #countBetween(file: OutputFile, from: number, to: number, signal: AbortSignal): Promise<number> {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, Math.max(0, to - from)));
    let lines = 0;
    for (let at = from; at < to;) {
      signal.throwIfAborted();
      const filled = await file.read(chunk.subarray(0, Math.min(chunk.length, to - at)), at);
      if (filled === 0) break; // Cut by someone meanwhile: the next look finds out.
      lines += countLineEnds(chunk.subarray(0, filled), this.#format.lineEnd);
      at += filled;
    }
    return lines;
  }

  #remember(file: OutputFile, lines: number): void {
    this.#counts.delete(file.path);
    this.#counts.set(file.path, { ...file.identity, end: file.end, lines });
    if (this.#counts.size > MAX_COUNTS) this.#counts.delete(this.#counts.keys().next().value!);
  }
}

/** Bytes of our header at the start of the file; 0 when it begins otherwise. */
export async function headerBytesOf(file: OutputFile, { header }: LineFormat): Promise<number> {
  if (header.length === 0 || file.end < header.length) return 0;
  const start = Buffer.alloc(header.length);
  await file.read(start, 0);
  return start.equals(header) ? header.length : 0;
}
