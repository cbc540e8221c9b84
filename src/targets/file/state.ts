/**
 * The state that the file target keeps beside its cursor: for each file lately written, which file it is and how far
 * the confirmed lines reach in it. With it, a new life compares the bytes behind that position with the lines that
 * should follow, and knows which of them got there.
 *
 * Bytes (big endian): version 1, number of entries, then per entry: hash of the path (8), device (8), inode (8), birth
 * in ns or 0 (8), position (8), CRC-32 of the up to 64 bytes before the position (4), length of the name (1), name.
 * The one file of a target without names in its records has the empty name: 47 bytes in all.
 */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";

const VERSION = 1;
const HEAD_BYTES = 2;
const ENTRY_BYTES = 45;

/** Of the files of one target, so many bytes of positions are kept, the latest used: some 50 to 90 files. */
export const MAX_STATE_BYTES = 4_096;
/** A file with a longer name has no position: after a crash its last lines are written again. In bytes. */
const MAX_NAME_BYTES = 255;

/** So many bytes before a position are checked: enough for any line to differ, few enough to keep in memory. */
export const TAIL_BYTES = 64;

/** Which file stands behind a path. An inode number alone is used again at once after a deletion (ext4). */
export interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
  /** Time of creation, 0 where it is unknown. */
  readonly birthNs: bigint;
}

export interface FilePosition extends FileIdentity {
  /** The name below the root folder; empty for the one file of a target without names in its records. */
  readonly name: string;
  /** Hash of the whole path: of another path (the user moved the file or the root) nothing is known. */
  readonly pathKey: bigint;
  /** End of the last confirmed line. */
  readonly position: number;
  readonly tailCrc: number;
}

export function pathKey(path: string): bigint {
  return createHash("sha256").update(path).digest().readBigUInt64BE(0);
}

/** The CRC over the last bytes before a position; `tail` is at most `TAIL_BYTES` long. */
export function crcOfTail(tail: Uint8Array): number {
  return crc32(tail);
}

interface BigStats {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly birthtimeNs: bigint;
  readonly ctimeNs: bigint;
}

/**
 * Where statx(2) is missing or blocked, libuv fills the time of birth with that of the last change, which moves: a
 * birth equal to it is therefore taken as unknown.
 */
export function identityOf(stats: BigStats): FileIdentity {
  const birthNs = stats.birthtimeNs > 0n && stats.birthtimeNs < stats.ctimeNs ? stats.birthtimeNs : 0n;
  return { dev: stats.dev, ino: stats.ino, birthNs };
}

/**
 * Device numbers change over a reboot (USB disks, btrfs, overlayfs), so the time of birth, where both know it, decides
 * instead.
 */
export function isSameFile(a: FileIdentity, b: FileIdentity): boolean {
  if (a.ino !== b.ino) return false;
  return a.birthNs !== 0n && b.birthNs !== 0n ? a.birthNs === b.birthNs : a.dev === b.dev;
}

/** The positions of the files of one target, by name, the latest used last; never more than the state can hold. */
export class Positions {
  readonly #byName = new Map<string, FilePosition>();
  #bytes = HEAD_BYTES;

  /** Of a state that is missing, damaged or of another version nothing is presumed: lines are written again. */
  static from(state: Uint8Array | undefined): Positions {
    const positions = new Positions();
    for (const entry of decodeState(state)) positions.set(entry);
    return positions;
  }

  get(name: string): FilePosition | undefined {
    return this.#byName.get(name);
  }

  all(): FilePosition[] {
    return [...this.#byName.values()];
  }

  set(entry: FilePosition): void {
    this.delete(entry.name);
    const bytes = entryBytes(entry);
    if (bytes === undefined) return;
    for (const [oldest] of this.#byName) {
      if (this.#bytes + bytes <= MAX_STATE_BYTES && this.#byName.size < 255) break;
      this.delete(oldest);
    }
    this.#byName.set(entry.name, entry);
    this.#bytes += bytes;
  }

  delete(name: string): void {
    const old = this.#byName.get(name);
    if (old === undefined) return;
    this.#bytes -= entryBytes(old) ?? 0;
    this.#byName.delete(name);
  }

  encode(): Buffer {
    const bytes = Buffer.alloc(this.#bytes);
    bytes.writeUInt8(VERSION, 0);
    bytes.writeUInt8(this.#byName.size, 1);
    let at = HEAD_BYTES;
    for (const entry of this.#byName.values()) {
      bytes.writeBigUInt64BE(entry.pathKey, at);
      bytes.writeBigUInt64BE(BigInt.asUintN(64, entry.dev), at + 8);
      bytes.writeBigUInt64BE(BigInt.asUintN(64, entry.ino), at + 16);
      bytes.writeBigUInt64BE(BigInt.asUintN(64, entry.birthNs), at + 24);
      bytes.writeBigUInt64BE(BigInt(entry.position), at + 32);
      bytes.writeUInt32BE(entry.tailCrc, at + 40);
      bytes.writeUInt8(Buffer.byteLength(entry.name), at + 44);
      at += ENTRY_BYTES + bytes.write(entry.name, at + ENTRY_BYTES);
    }
    return bytes;
  }
}

function entryBytes(entry: FilePosition): number | undefined {
  const nameBytes = Buffer.byteLength(entry.name);
  return nameBytes > MAX_NAME_BYTES ? undefined : ENTRY_BYTES + nameBytes;
}

function decodeState(state: Uint8Array | undefined): FilePosition[] {
  if (state === undefined || state.length < HEAD_BYTES || state[0] !== VERSION) return [];
  const bytes = Buffer.from(state.buffer, state.byteOffset, state.byteLength);
  const entries: FilePosition[] = [];
  let at = HEAD_BYTES;
  for (let left = bytes.readUInt8(1); left > 0; left--) {
    if (at + ENTRY_BYTES > bytes.length) return [];
    const nameEnd = at + ENTRY_BYTES + bytes.readUInt8(at + 44);
    entries.push({
      pathKey: bytes.readBigUInt64BE(at),
      dev: bytes.readBigUInt64BE(at + 8),
      ino: bytes.readBigUInt64BE(at + 16),
      birthNs: bytes.readBigUInt64BE(at + 24),
      position: Number(bytes.readBigUInt64BE(at + 32)),
      tailCrc: bytes.readUInt32BE(at + 40),
      name: bytes.toString("utf8", at + ENTRY_BYTES, nameEnd),
    });
    at = nameEnd;
  }
  return at === bytes.length ? entries : [];
}
