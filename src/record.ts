/**
 * A record: one accepted item on its way to the targets. How it is laid out on disk is `log/`; what its payload
 * bytes mean is `codec.ts`.
 */

/** The place of a record in its log: ascending, without meaning outside the log, possibly used again after a crash. */
export type Offset = number & { readonly __brand: "Offset" };

/**
 * Where a record goes and what it carries beside its payload, resolved at acceptance: flat, text only.
 * Reserved names: `topic`; each target documents its own (`file`, `database`, `collection`, `index`, `id`, `routing`,
 * `pipeline`).
 */
export type Routing = Readonly<Record<string, string>>;

/** How the payload bytes are to be read. 0: JSON text in UTF-8. 1: BSON of `{ v: payload }`. */
export type CodecTag = 0 | 1;

/** A payload after encoding. `bytes` of tag 0 is JSON text without raw line breaks. */
export interface Encoded {
  readonly codec: CodecTag;
  readonly bytes: Uint8Array;
}

export interface LogRecord extends Encoded {
  readonly offset: Offset;
  /** A record of the log makes this view anew at each look. */
  readonly bytes: Buffer;
  /** Bytes of the payload, without a look at them. */
  readonly size: number;
  /**
   * Where the payload lies, if it lies among others: from `start` of the page, with a line feed behind it. So the
   * payloads of neighbours are lines as they are, and can be copied in one piece.
   */
  readonly page?: Buffer;
  readonly start?: number;
  readonly routing: Routing;
  /** Wall time of acceptance, ms since 1970, corrected when the clock has been. */
  readonly acceptedAtMs: number;
  /** True when it was read back from disk: it is delivered late, or once more. */
  readonly replayed: boolean;
  /** True when the clock could not be trusted at acceptance, and nothing could correct or confirm the time since. */
  readonly isTimeDoubtful?: boolean;
  /** UUIDv7, 16 bytes. The same for every delivery of this record, in every life of the process. */
  readonly id: Buffer;
}

/** Part of a page: the payloads of neighbours, the line feed behind the last one included. */
export interface Run {
  readonly page: Buffer;
  readonly from: number;
  readonly to: number;
}

/** Where these records lie, neighbours in one piece; undefined when one of them lies alone. */
export function runsOf(records: readonly LogRecord[]): Run[] | undefined {
  const runs: Run[] = [];
  let page: Buffer | undefined;
  let from = 0;
  let to = 0;
  for (const { page: on, start, size } of records) {
    if (on === undefined || start === undefined) return undefined;
    if (on !== page || start !== to) {
      if (page !== undefined) runs.push({ page, from, to });
      page = on;
      from = start;
    }
    to = start + size + 1;
  }
  if (page !== undefined) runs.push({ page, from, to });
  return runs;
}

/** Payload bytes of them all. */
export function bytesOf(records: readonly LogRecord[]): number {
  let bytes = 0;
  for (const { size } of records) bytes += size;
  return bytes;
}

/** Payload bytes of those that were read back from disk. */
export function replayedBytesOf(records: readonly LogRecord[]): number {
  let bytes = 0;
  for (const { replayed, size } of records) if (replayed) bytes += size;
  return bytes;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** The canonical text of a UUID. */
export function uuidText(id: Uint8Array): string {
  let text = "";
  for (let i = 0; i < 16; i++) {
    if (i === 4 || i === 6 || i === 8 || i === 10) text += "-";
    text += HEX[id[i]!];
  }
  return text;
}

export const UUID_TEXT_BYTES = 36;

const HEX_DIGITS = Buffer.from("0123456789abcdef");
const DASH = 0x2d;

/** Writes that text, in ASCII, and returns where it ends. */
export function writeUuidText(into: Uint8Array, at: number, id: Uint8Array): number {
  for (let i = 0; i < 16; i++) {
    if (i === 4 || i === 6 || i === 8 || i === 10) into[at++] = DASH;
    const byte = id[i]!;
    into[at++] = HEX_DIGITS[byte >> 4]!;
    into[at++] = HEX_DIGITS[byte & 15]!;
  }
  return at;
}
