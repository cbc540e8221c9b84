/**
 * Ids of records: UUIDv7 (RFC 9562), so that they sort by time of acceptance. A block of records stores one base; the
 * id of each is the base plus its index.
 */

const MAX_TIMESTAMP_MS = 2 ** 48 - 1;

/**
 * @param wallMs ms since 1970; what a UUID cannot hold is moved to the nearest that it can
 * @param random at least 10 random bytes
 * @returns 16 bytes, the id of index 0
 */
export function newIdBase(wallMs: number, random: Uint8Array): Buffer {
  if (random.length < 10) throw new RangeError("a UUID needs 10 random bytes");
  const base = Buffer.allocUnsafe(16);
  const timestampMs = Math.min(MAX_TIMESTAMP_MS, Math.max(0, Math.floor(wallMs) || 0));
  base.writeUIntBE(timestampMs, 0, 6);
  base.set(random.subarray(0, 10), 6);
  base[6] = 0x70 | (base[6]! & 0x0f);
  // Variant 10, then a zero: room for the carry of 2^32 indices, so that ids under one base only grow.
  base[8] = 0x80 | (base[8]! & 0x1f);
  return base;
}

/** The id of the record at `index`, [0, 2^32), under a base. */
export function idAt(base: Uint8Array, index: number): Buffer {
  const id = Buffer.allocUnsafe(16);
  id.set(base, 0);
  if (index === 0) return id;
  const low = id.readUInt32BE(12) + index;
  id.writeUInt32BE(low % 2 ** 32, 12);
  if (low >= 2 ** 32) id.writeUInt32BE(id.readUInt32BE(8) + 1, 8);
  return id;
}

/** The 16 bytes of a UUID in its canonical text; undefined when it is none. */
export function parseUuid(text: string): Buffer | undefined {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) return undefined;
  return Buffer.from(text.replaceAll("-", ""), "hex");
}
