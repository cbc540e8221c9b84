/**
 * What stands where in a runtime's folder: `logs/` and `dead/` with a folder for each queue, and the folder's identity.
 */
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { type Files, isErrno } from "../files.js";

/** The folders of the queues, and of what was rejected. */
export const LOGS = "logs";
export const DEAD = "dead";
/** Copies of what could not be read. */
export const QUARANTINE = "quarantine";

const IDENTITY_NAME = "queue.id";
/** Of an id in a folder's name: most file systems take names of 255 bytes. */
const MOST_HEX = 230;

/** The identity of a folder, where it has one; an empty buffer where making it was cut off. */
export async function readIdentity(folder: string, files: Files): Promise<Buffer | undefined> {
  try {
    const file = await files.open(join(folder, IDENTITY_NAME));
    try {
      const identity = Buffer.alloc(16);
      return (await file.read(identity, 0)) === identity.length ? identity : Buffer.alloc(0);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
    return undefined;
  }
}

/**
 * 16 bytes made once: files copied here from another queue are told apart by them. Losing the file does no harm: the
 * logs then keep the identity that their own segments have.
 */
export async function identityOf(folder: string, files: Files): Promise<Buffer> {
  const path = join(folder, IDENTITY_NAME);
  const known = await readIdentity(folder, files);
  if (known !== undefined && known.length > 0) return known;
  if (known !== undefined) await files.remove(path);
  const identity = randomBytes(16);
  const file = await files.create(path);
  try {
    await file.write(identity, 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await files.syncFolder(folder);
  return identity;
}

/** The id of one log in a folder: the same in every life. */
export function logIdOf(identity: Buffer, kind: typeof LOGS | typeof DEAD, name: string): Buffer {
  return createHash("sha256").update(identity).update(`${kind}/${name}`).digest().subarray(0, 16);
}

/** The id that a folder was named for. */
export function idOf(folderName: string): string {
  const hex = /^x-([0-9a-f]+)-[0-9a-f]{16}$/.exec(folderName)?.[1];
  // An id that was too long for a name is known by its folder alone.
  return hex === undefined || hex.length >= MOST_HEX ? folderName : Buffer.from(hex, "hex").toString("utf8");
}

/** A folder name for any id: ids of nodes as they are, others in hex. */
export function folderNameOf(name: string): string {
  if (/^[a-z0-9][a-z0-9._-]{0,99}$/.test(name) || /^x-[0-9a-f]+-[0-9a-f]{16}$/.test(name)) return name;
  return `x-${Buffer.from(name).toString("hex").slice(0, MOST_HEX)}-${createHash("sha256").update(name).digest("hex").slice(0, 16)}`;
}
