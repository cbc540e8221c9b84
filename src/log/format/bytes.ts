/**
 * Numbers and byte strings in and out of a buffer: the alphabet of the log's bodies. Varints are little-endian base
 * 128 and hold every safe integer. Reading past the end throws `BytesError`, so damaged bytes cannot be misread
 * silently.
 */
export class BytesError extends Error {
  override readonly name = "BytesError";
}

/** Writes `value` at `position`; returns the position behind it. The caller has made sure of 8 bytes of room. */
export function writeVarint(into: Uint8Array, position: number, value: number): number {
  let rest = value;
  while (rest >= 0x80) {
    if (rest > 0x7fffffff) {
      into[position++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    } else {
      into[position++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
  }
  into[position++] = rest;
  return position;
}

export class ByteWriter {
  #buffer: Buffer = Buffer.allocUnsafe(256);
  #length = 0;

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + bytes));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }

  varint(value: number): this {
    this.#reserve(8);
    this.#length = writeVarint(this.#buffer, this.#length, value);
    return this;
  }

  /** Length first, then the bytes. */
  bytes(value: Uint8Array): this {
    return this.varint(value.length).raw(value);
  }

  text(value: string): this {
    return this.bytes(Buffer.from(value));
  }

  raw(value: Uint8Array): this {
    this.#reserve(value.length);
    this.#buffer.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }
}

export class ByteReader {
  readonly #buffer: Buffer;
  position: number;

  constructor(buffer: Buffer, position = 0) {
    this.#buffer = buffer;
    this.position = position;
  }

  get atEnd(): boolean {
    return this.position >= this.#buffer.length;
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.#buffer[this.position++];
      if (byte === undefined) throw new BytesError("bytes end inside a number");
      value += (byte & 0x7f) * scale;
      // Also what is no number any more, of more zeros than there are digits.
      if (!(value <= Number.MAX_SAFE_INTEGER)) throw new BytesError("number too large");
      if (byte < 0x80) return value;
      scale *= 0x80;
    }
  }

  raw(length: number): Buffer {
    const end = this.position + length;
    if (end > this.#buffer.length) throw new BytesError("bytes end inside a field");
    const found = this.#buffer.subarray(this.position, end);
    this.position = end;
    return found;
  }

  bytes(): Buffer {
    return this.raw(this.varint());
  }

  text(): string {
    return this.bytes().toString("utf8");
  }
}
