/**
 * A disk in memory that forgets like a real one. Writes live in a page cache until they are synced; a power cut keeps,
 * of each 512-byte sector, any version since the last sync, and of the names any subset (posix) or any prefix (ext4) of
 * what was done; a kill keeps the page cache. A failed fdatasync marks pages clean: a later one proves nothing of them.
 * Everything completes at once, so thousands of crashes a second can be tried.
 */
import type { Files, OpenFile } from "../../src/files.js";

const SECTOR = 512;

export type Random = () => number;

/** mulberry32: small, seeded, good enough to choose crashes with. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface PendingWrite {
  readonly at: number;
  readonly bytes: Buffer;
  /** Its fdatasync failed: it may be on the disk or not, and no later sync will put it there. */
  doomed: boolean;
}

export class Inode {
  cache: Buffer = Buffer.alloc(0);
  durable: Buffer = Buffer.alloc(0);
  pending: PendingWrite[] = [];

  copy(): Inode {
    const copy = new Inode();
    copy.cache = Buffer.from(this.cache);
    copy.durable = this.durable;
    copy.pending = this.pending.map((write) => ({ ...write }));
    return copy;
  }
}

type NameChange = { readonly kind: "create" | "remove"; readonly path: string; readonly inode: Inode };

function overlay(base: Buffer, at: number, bytes: Buffer): Buffer {
  const result = Buffer.alloc(Math.max(base.length, at + bytes.length));
  base.copy(result);
  bytes.copy(result, at);
  return result;
}

/** Thrown out of every call once the process is dead. */
export class Killed extends Error {}

export type Call = "create" | "write" | "sync" | "syncFolder" | "remove" | "makeFolder" | "read";

/** A write that is about to happen. */
export interface Writing {
  readonly inode: Inode;
  readonly at: number;
  readonly bytes: Buffer;
}

export class SimDisk implements Files {
  names = new Map<string, Inode>();
  durableNames = new Map<string, Inode>();
  nameChanges: NameChange[] = [];
  /** Calls that change something, counted. */
  changes = 0;
  /** Bytes that all files together may have; writes beyond are short, then ENOSPC. */
  capacity = Number.POSITIVE_INFINITY;
  /** Files that were removed since the disk was last empty: a backup may bring one back. */
  removed: { readonly path: string; readonly inode: Inode }[] = [];
  /** Those that were removed before that. */
  ancient: { readonly path: string; readonly inode: Inode }[] = [];
  /** Called before a call takes effect; may throw an errno error, or Killed. */
  before: (call: Call, disk: SimDisk, writing?: Writing) => void = () => {};
  readonly #open = new Set<SimFile>();

  get openFiles(): number {
    return this.#open.size;
  }

  // ---- Files

  makeFolder(): Promise<void> {
    return this.#call("makeFolder", () => undefined);
  }

  list(folder: string): Promise<string[]> {
    const prefix = `${folder}/`;
    return Promise.resolve(
      [...this.names.keys()].filter((p) => p.startsWith(prefix)).map((p) => p.slice(prefix.length)),
    );
  }

  size(path: string): Promise<number> {
    const inode = this.names.get(path);
    return inode === undefined ? Promise.reject(errno("ENOENT")) : Promise.resolve(inode.cache.length);
  }

  create(path: string): Promise<OpenFile> {
    return this.#call("create", () => this.#created(path));
  }

  createNow(path: string): OpenFile {
    this.before("create", this);
    this.changes++;
    return this.#created(path);
  }

  makeFolderNow(): void {
    this.before("makeFolder", this);
    this.changes++;
  }

  #created(path: string): OpenFile {
    if (this.names.has(path)) throw errno("EEXIST");
    const inode = new Inode();
    this.names.set(path, inode);
    this.nameChanges.push({ kind: "create", path, inode });
    return this.#opened(inode);
  }

  open(path: string): Promise<OpenFile> {
    const inode = this.names.get(path);
    return inode === undefined ? Promise.reject(errno("ENOENT")) : Promise.resolve(this.#opened(inode));
  }

  readFrom(inode: Inode, into: Uint8Array, position: number): number {
    this.before("read", this);
    const found = inode.cache.subarray(position, position + into.length);
    into.set(found);
    return found.length;
  }

  /** Bytes of all files. */
  get usedBytes(): number {
    let used = 0;
    for (const { cache } of this.names.values()) used += cache.length;
    return used;
  }

  remove(path: string): Promise<void> {
    return this.#call("remove", () => {
      const inode = this.names.get(path);
      if (inode === undefined) throw errno("ENOENT");
      this.names.delete(path);
      this.nameChanges.push({ kind: "remove", path, inode });
      this.removed = [...this.removed, { path, inode }];
      if (this.names.size > 0) return;
      this.ancient = [...this.ancient, ...this.removed].slice(-20);
      this.removed = [];
    });
  }

  removeFolder(): Promise<void> {
    return Promise.resolve();
  }

  syncFolder(): Promise<void> {
    return this.#call("syncFolder", () => this.#syncNames());
  }

  syncFolderNow(): void {
    this.before("syncFolder", this);
    this.changes++;
    this.#syncNames();
  }

  #syncNames(): void {
    for (const change of this.nameChanges) this.#apply(this.durableNames, change);
    this.nameChanges = [];
  }

  #apply(names: Map<string, Inode>, { kind, path, inode }: NameChange): void {
    if (kind === "create") names.set(path, inode);
    else names.delete(path);
  }

  #opened(inode: Inode): OpenFile {
    const file = new SimFile(this, inode, () => this.#open.delete(file));
    this.#open.add(file);
    return file;
  }

  #call<T>(call: Call, effect: () => T): Promise<T> {
    try {
      this.before(call, this);
      this.changes++;
      return Promise.resolve(effect());
    } catch (error) {
      return Promise.reject(error);
    }
  }

  // ---- of an open file

  writeTo(inode: Inode, bytes: Buffer, at: number): number {
    this.before("write", this, { inode, at, bytes });
    this.changes++;
    const grows = Math.max(0, at + bytes.length - inode.cache.length);
    const room = Math.max(0, Math.min(grows, this.capacity - this.usedBytes));
    const taken = bytes.length - grows + room;
    if (taken <= 0) throw errno("ENOSPC");
    this.put(inode, bytes.subarray(0, taken), at);
    return taken;
  }

  put(inode: Inode, bytes: Buffer, at: number): void {
    inode.cache = overlay(inode.cache, at, bytes);
    inode.pending.push({ at, bytes: Buffer.from(bytes), doomed: false });
  }

  syncOf(inode: Inode): void {
    this.changes++;
    try {
      this.before("sync", this);
    } catch (error) {
      for (const write of inode.pending) write.doomed = true;
      throw error;
    }
    for (const { at, bytes, doomed } of inode.pending) {
      if (!doomed) inode.durable = overlay(inode.durable, at, bytes);
    }
    inode.pending = inode.pending.filter(({ doomed }) => doomed);
  }

  // ---- crashes

  /** What a new process finds after `kill -9`: the page cache, with what is still unsynced. */
  afterKill(): SimDisk {
    const copies = new Map<Inode, Inode>();
    const copyOf = (inode: Inode): Inode => {
      const known = copies.get(inode);
      if (known !== undefined) return known;
      const copy = inode.copy();
      copies.set(inode, copy);
      return copy;
    };
    const disk = new SimDisk();
    disk.capacity = this.capacity;
    for (const [path, inode] of this.names) disk.names.set(path, copyOf(inode));
    for (const [path, inode] of this.durableNames) disk.durableNames.set(path, copyOf(inode));
    disk.nameChanges = this.nameChanges.map((change) => ({ ...change, inode: copyOf(change.inode) }));
    disk.removed = [...this.removed];
    disk.ancient = [...this.ancient];
    return disk;
  }

  /** One of the many things that may be found after the plug was pulled. */
  afterPowerCut(random: Random, profile: "posix" | "ext4"): SimDisk {
    const names = new Map(this.durableNames);
    const kept = profile === "ext4" ? Math.floor(random() * (this.nameChanges.length + 1)) : 0;
    this.nameChanges.forEach((change, i) => {
      if (profile === "ext4" ? i < kept : random() < 0.5) this.#apply(names, change);
    });
    const disk = new SimDisk();
    disk.capacity = this.capacity;
    for (const [path, inode] of names) {
      const found = new Inode();
      found.cache = found.durable = tear(inode, random);
      disk.names.set(path, found);
      disk.durableNames.set(path, found);
    }
    disk.removed = [...this.removed];
    disk.ancient = [...this.ancient];
    return disk;
  }
}

/** Each sector as it was after some of the writes to it; the file as long as its furthest surviving sector. */
function tear(inode: Inode, random: Random): Buffer {
  if (inode.pending.length === 0) return inode.durable;
  const bias = random(); // mostly kept, mostly lost, or mixed
  let content: Buffer = Buffer.from(inode.durable);
  const end = Math.max(...inode.pending.map(({ at, bytes }) => at + bytes.length));
  const first = Math.min(...inode.pending.map(({ at }) => at));
  for (let sector = Math.floor(first / SECTOR); sector * SECTOR < end; sector++) {
    const [from, to] = [sector * SECTOR, (sector + 1) * SECTOR];
    const touching = inode.pending.filter(({ at, bytes }) => at < to && at + bytes.length > from);
    const versions = touching.length;
    if (versions === 0) continue;
    const chosen = random() < bias ? versions : Math.floor(random() * (versions + 1));
    for (const { at, bytes } of touching.slice(0, chosen)) {
      const start = Math.max(at, from);
      content = overlay(content, start, bytes.subarray(start - at, Math.min(to, at + bytes.length) - at));
    }
  }
  if (random() < 0.1 && content.length < end) content = overlay(content, end, Buffer.alloc(0)); // length without data
  return content;
}

class SimFile implements OpenFile {
  readonly #disk: SimDisk;
  readonly #inode: Inode;
  readonly #onClose: () => void;

  constructor(disk: SimDisk, inode: Inode, onClose: () => void) {
    this.#disk = disk;
    this.#inode = inode;
    this.#onClose = onClose;
  }

  write(bytes: Uint8Array, position: number): Promise<number> {
    try {
      return Promise.resolve(this.writeNow(bytes, position));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  writeNow(bytes: Uint8Array, position: number): number {
    return this.#disk.writeTo(this.#inode, Buffer.from(bytes), position);
  }

  read(into: Uint8Array, position: number): Promise<number> {
    try {
      return Promise.resolve(this.#disk.readFrom(this.#inode, into, position));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  sync(): Promise<void> {
    try {
      this.#disk.syncOf(this.#inode);
      return Promise.resolve();
    } catch (error) {
      return Promise.reject(error);
    }
  }

  close(): Promise<void> {
    this.#onClose();
    return Promise.resolve();
  }
}

export function errno(code: string): Error {
  return Object.assign(new Error(`${code} (simulated)`), { code });
}
