/**
 * The engine put together: one folder, its lock, the logs in it, and the exporters that read them. Everything that
 * shares a folder shares a runtime.
 */
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { type Clock, systemClock, type Timer } from "../clock.js";
import { DeadLetters, KEEPER } from "../delivery/dead-letters.js";
import { type Files, isErrno, systemFiles } from "../files.js";
import { type Compression, deflateCompression } from "../log/compression.js";
import { type Flushed, Flusher } from "../log/flush.js";
import { type FolderLock, lockFolder } from "../log/lock.js";
import { Log } from "../log/log.js";
import type { Loss } from "../log/recovery.js";
import { Exporter, type ExporterOptions } from "./exporter.js";
import { Limits } from "./limits.js";
import { Pool, type PoolOptions } from "./pool.js";
import { DEFAULT_BUDGETS, type FlushSettings } from "./settings.js";

export type RuntimeEvent =
  /** Something that had been safe cannot be read any more. */
  | { readonly kind: "loss"; readonly log: string; readonly loss: Loss }
  /** Bytes that were never promised: cut off by a crash. */
  | { readonly kind: "torn"; readonly log: string; readonly bytes: number }
  /** A queue file that belongs to another queue was found, and left alone. */
  | { readonly kind: "foreign"; readonly log: string; readonly path: string }
  /** The queue could not be read while looking for what is too old; it is tried again. */
  | { readonly kind: "unreadable"; readonly log: string; readonly message: string };

export interface RuntimeOptions {
  /** Where the queues are kept. Made when missing, private to the user. */
  readonly folder: string;
  /** What exporters inherit. */
  readonly flush: FlushSettings;
  /** Memory for all logs together, in bytes. Default 32 MiB. */
  readonly memoryBytes?: number;
  /** Disk for all logs together, in bytes. Default 1 GiB. */
  readonly diskBytes?: number;
  readonly onEvent?: (event: RuntimeEvent) => void;
  readonly clock?: Clock;
  readonly files?: Files;
  readonly compression?: Compression;
}

/** A sealed file this large costs 0.8 % for its making; smaller budgets get smaller files. */
const SEGMENT_BYTES = 8 * 1024 * 1024;
const MIN_SEGMENT_BYTES = 256 * 1024;
/** How often ages are looked at. */
const CHECK_MS = 10_000;
/** Unwritten bytes of one log at which it is written before its time. */
const MEMORY_SHARE_BYTES = 2 * 1024 * 1024;

/** Runtimes of this process by folder, until they have let go of it: the next one of the same folder waits. */
const inThisProcess = new Map<string, Promise<void>>();

export class Runtime {
  readonly folder: string;
  readonly clock: Clock;
  readonly flusher: Flusher;
  readonly #options: RuntimeOptions;
  readonly #files: Files;
  readonly #identity: Buffer;
  readonly #lock: FolderLock;
  readonly #released: () => void;
  readonly #open = new Set<{ close(): Promise<void> }>();
  readonly #limits = new Map<Limits, string>();
  #checking: Timer | undefined;
  #closed: Promise<void> | undefined;

  private constructor(options: RuntimeOptions, identity: Buffer, lock: FolderLock, released: () => void) {
    this.#options = options;
    this.folder = options.folder;
    this.clock = options.clock ?? systemClock;
    this.#files = options.files ?? systemFiles;
    this.flusher = new Flusher(this.clock);
    this.#identity = identity;
    this.#lock = lock;
    this.#released = released;
  }

  /**
   * Takes the folder. Waits for a runtime of this process that is just letting go of it.
   * @throws {FolderInUseError} when another process has it, and errors of the disk
   */
  static async open(options: RuntimeOptions): Promise<Runtime> {
    const files = options.files ?? systemFiles;
    const before = inThisProcess.get(options.folder);
    let released = (): void => undefined;
    const mine = new Promise<void>((resolve) => (released = resolve));
    inThisProcess.set(options.folder, mine);
    const letGo = (): void => {
      if (inThisProcess.get(options.folder) === mine) inThisProcess.delete(options.folder);
      released();
    };
    try {
      await before;
      await files.makeFolder(options.folder);
      const lock = await lockFolder(options.folder);
      try {
        return new Runtime(options, await identityOf(options.folder, files), lock, letGo);
      } catch (error) {
        await lock.release();
        throw error;
      }
    } catch (error) {
      letGo();
      throw error;
    }
  }

  get memoryBytes(): number {
    return this.#options.memoryBytes ?? DEFAULT_BUDGETS.memoryBytes;
  }

  get diskBytes(): number {
    return this.#options.diskBytes ?? DEFAULT_BUDGETS.diskBytes;
  }

  /** Bytes of records that all logs hold in memory. */
  get memoryUsed(): number {
    let bytes = 0;
    for (const { log } of this.#limits.keys()) bytes += log.memoryBytes;
    return bytes;
  }

  /** Bytes of files that somebody still needs. */
  get diskUsed(): number {
    let bytes = 0;
    for (const { log } of this.#limits.keys()) bytes += log.neededDiskBytes;
    return bytes;
  }

  get largest(): Limits | undefined {
    let largest: Limits | undefined;
    for (const limits of this.#limits.keys()) {
      if (!limits.dropsOldest) continue;
      if (largest === undefined || limits.log.neededDiskBytes > largest.log.neededDiskBytes) largest = limits;
    }
    return largest;
  }

  /** Opens the log of an exporter and begins to deliver. @throws {NewerFormatError} and errors of the disk */
  openExporter(options: ExporterOptions): Promise<Exporter> {
    return this.#opened(Exporter.open(this, options));
  }

  /** Opens the log of a pool, without members at first. @throws {NewerFormatError} and errors of the disk */
  openPool(options: PoolOptions): Promise<Pool> {
    return this.#opened(Pool.open(this, options));
  }

  async #opened<T extends { close(): Promise<void> }>(opening: Promise<T>): Promise<T> {
    const opened = await opening;
    this.#open.add(opened);
    if (this.#closed !== undefined) {
      await opened.close();
      throw new Error("the runtime was closed meanwhile");
    }
    return opened;
  }

  /** Has the limits of a log kept; `unlimit` ends it. */
  limit(name: string, log: Log, flush: FlushSettings, onDropped: () => void): Limits {
    const limits = new Limits(log, flush, this, this.clock, onDropped);
    this.#limits.set(limits, name);
    if (flush.backlogAgeMs > 0) this.#checkLater();
    return limits;
  }

  unlimit(limits: Limits): void {
    this.#limits.delete(limits);
  }

  #checkLater(): void {
    this.#checking ??= this.clock.after(CHECK_MS, () => void this.#check());
  }

  async #check(): Promise<void> {
    for (const [limits, log] of this.#limits) {
      try {
        await limits.check();
      } catch (error) {
        this.#options.onEvent?.({ kind: "unreadable", log, message: (error as Error).message });
      }
    }
    this.#checking = undefined;
    if (this.#closed === undefined) this.#checkLater();
  }

  async openDeadLetters(name: string, flush: FlushSettings): Promise<DeadLetters> {
    const policy: FlushSettings = { ...flush, durability: "everyMessage" };
    const log = await this.openLog("dead", name, [KEEPER], policy);
    return new DeadLetters(
      log,
      this.flusher,
      this.flushed(log, policy, () => undefined),
    );
  }

  /** Opens one log below the folder. `kind`: `logs` or `dead`. */
  async openLog(kind: string, name: string, consumers: readonly string[], flush: FlushSettings): Promise<Log> {
    const { compression = deflateCompression } = this.#options;
    const log = await Log.open({
      folder: join(this.folder, kind, folderNameOf(name)),
      logId: createHash("sha256").update(this.#identity).update(`${kind}/${name}`).digest().subarray(0, 16),
      files: this.#files,
      clock: this.clock,
      random: randomBytes,
      compression,
      consumers,
      segmentBytes: Math.max(MIN_SEGMENT_BYTES, Math.min(SEGMENT_BYTES, Math.floor(this.diskBytes / 8))),
      persistent: flush.durability !== "memory",
      onLoss: (loss) => this.#options.onEvent?.({ kind: "loss", log: name, loss }),
    });
    const tell = this.#options.onEvent;
    for (const loss of log.found.losses) tell?.({ kind: "loss", log: name, loss });
    for (const path of log.found.foreign) tell?.({ kind: "foreign", log: name, path });
    if (log.found.tornBytes > 0) tell?.({ kind: "torn", log: name, bytes: log.found.tornBytes });
    return log;
  }

  /** Has the flusher look after a log. */
  flushed(log: Log, flush: FlushSettings, onTrouble: (trouble: Error | undefined) => void): Flushed {
    const { writeIntervalMs, syncIntervalMs } = flush;
    const memoryShareBytes = Math.min(MEMORY_SHARE_BYTES, this.memoryBytes / 4);
    return this.flusher.add(log, { writeIntervalMs, syncIntervalMs, memoryShareBytes }, onTrouble);
  }

  /** Closes the exporters that are still open, and lets go of the folder. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#checking?.cancel();
    const results = await Promise.allSettled([...this.#open].map((opened) => opened.close()));
    await this.flusher.close();
    try {
      await this.#lock.release();
    } finally {
      this.#released();
    }
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }
}

const IDENTITY_NAME = "queue.id";

/**
 * 16 bytes made once: files copied here from another queue are told apart by them. Losing the file does no harm: the
 * logs then keep the identity that their own segments have.
 */
async function identityOf(folder: string, files: Files): Promise<Buffer> {
  const path = join(folder, IDENTITY_NAME);
  const identity = Buffer.alloc(16);
  try {
    const file = await files.open(path);
    try {
      if ((await file.read(identity, 0)) === identity.length) return identity;
    } finally {
      await file.close();
    }
    await files.remove(path); // cut off by a crash while it was made
  } catch (error) {
    if (!isErrno(error, "ENOENT")) throw error;
  }
  randomBytes(16).copy(identity);
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

/** A folder name for any id: ids of nodes as they are, others in hex. */
function folderNameOf(name: string): string {
  if (/^[a-z0-9][a-z0-9._-]{0,99}$/.test(name)) return name;
  return `x-${Buffer.from(name).toString("hex").slice(0, 160)}-${createHash("sha256").update(name).digest("hex").slice(0, 16)}`;
}
