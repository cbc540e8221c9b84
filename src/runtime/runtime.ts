/**
 * The engine put together: one folder, its lock, the logs in it, and the exporters that read them. Everything that
 * shares a folder shares a runtime.
 */
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { type Clock, systemClock, type Timer } from "../clock.js";
import { DeadLetters, KEEPER } from "../delivery/dead-letters.js";
import { type Files, systemFiles } from "../files.js";
import { Monitor, type NetworkState } from "../connectivity/monitor.js";
import type { Probe } from "../connectivity/probe.js";
import { type Compression, deflateCompression } from "../log/compression.js";
import { type Flushed, Flusher } from "../log/flush.js";
import { parseSegmentName } from "../log/frame.js";
import { type FolderLock, lockFolder } from "../log/lock.js";
import { Log } from "../log/log.js";
import type { Loss } from "../log/recovery.js";
import { Exporter, type ExporterOptions } from "./exporter.js";
import { DEAD, folderNameOf, identityOf, idOf, LOGS } from "./folder.js";
import { Limits } from "./limits.js";
import { Pool, type PoolOptions } from "./pool.js";
import { adoptOrphan, bytesIn, exportOrphan, inspectOrphan, type OrphanQueue } from "./orphans.js";
import type { Queue } from "./queue.js";
import { DEFAULT_BUDGETS, DEFAULT_FLUSH, type FlushSettings } from "./settings.js";

export type RuntimeEvent =
  /** Something that had been safe cannot be read any more. */
  | { readonly kind: "loss"; readonly log: string; readonly loss: Loss }
  /** Bytes that were never promised: cut off by a crash. */
  | { readonly kind: "torn"; readonly log: string; readonly bytes: number }
  /** A queue file that belongs to another queue was found, and left alone. */
  | { readonly kind: "foreign"; readonly log: string; readonly path: string }
  /** The queue could not be read while looking for what is too old; it is tried again. */
  | { readonly kind: "unreadable"; readonly log: string; readonly message: string }
  /** Rejected records cannot be kept at the moment; they wait in their queue. */
  | { readonly kind: "deadLetterTrouble"; readonly log: string; readonly message: string }
  /** The network, or every target, came or went. */
  | { readonly kind: "network"; readonly state: NetworkState };

export interface RuntimeOptions {
  /** Where the queues are kept. Made when missing, private to the user. */
  readonly folder: string;
  /** What exporters inherit. */
  readonly flush: FlushSettings;
  /** Memory for all logs together, in bytes. Default 32 MiB. */
  readonly memoryBytes?: number;
  /** Disk for all logs together, in bytes. Default 1 GiB. */
  readonly diskBytes?: number;
  /** Tells "no network" from "the target is down". Default: none, the targets alone are the signal. */
  readonly probe?: Probe;
  readonly onEvent?: (event: RuntimeEvent) => void;
  readonly clock?: Clock;
  readonly files?: Files;
  readonly compression?: Compression;
}

/** A sealed file this large costs 0.8 % for its making; smaller budgets get smaller files. */
const SEGMENT_BYTES = 8 * 1024 * 1024;
const MIN_SEGMENT_BYTES = 256 * 1024;
/** The dead letters of one exporter may take this part of the disk budget, beside it. */
const DEAD_LETTER_SHARE = 16;
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
  /** Whether the network is there, for all exporters together. */
  readonly monitor: Monitor;
  readonly #options: RuntimeOptions;
  readonly #files: Files;
  readonly #identity: Buffer;
  readonly #lock: FolderLock;
  readonly #released: () => void;
  readonly #open = new Set<{ close(): Promise<void> }>();
  readonly #limits = new Map<Limits, string>();
  #checking: Timer | undefined;
  #orphanBytes = 0;
  #closed: Promise<void> | undefined;

  private constructor(options: RuntimeOptions, identity: Buffer, lock: FolderLock, released: () => void) {
    this.#options = options;
    this.folder = options.folder;
    this.clock = options.clock ?? systemClock;
    this.#files = options.files ?? systemFiles;
    this.flusher = new Flusher(this.clock);
    this.monitor = new Monitor({
      clock: this.clock,
      ...(options.probe === undefined ? {} : { probe: options.probe }),
      onChange: (state) => options.onEvent?.({ kind: "network", state }),
    });
    this.#identity = identity;
    process.on("exit", this.#onExit);
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

  /** An exception elsewhere ends the process without closing anything: what is in memory is written all the same. */
  readonly #onExit = (): void => {
    for (const { log } of this.#limits.keys()) {
      try {
        log.writeNow();
      } catch (error) {
        // The process is going; all that is left is to say so where its last words go.
        process.stderr.write(
          `resilient-exporters: the queue could not be written at exit: ${(error as Error).message}\n`,
        );
      }
    }
  };

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
    return bytes + this.#orphanBytes;
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
    await this.#countOrphans();
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

  /** Queues whose node is not there (any more, or not yet), with what waits in them. */
  async orphans(): Promise<OrphanQueue[]> {
    const found: OrphanQueue[] = [];
    for (const id of await this.#orphanIds()) found.push(await inspectOrphan(id, (name) => this.#openOrphan(name)));
    return found;
  }

  async #orphanIds(): Promise<string[]> {
    const open = new Set([...this.#limits.values()].map(folderNameOf));
    const names = await this.#files.list(join(this.folder, LOGS));
    const orphans: string[] = [];
    for (const name of names) {
      if (open.has(name) || (await bytesIn(join(this.folder, LOGS, name), this.#files)) === 0) continue;
      orphans.push(idOf(name));
    }
    return orphans;
  }

  #openOrphan(id: string): Promise<Log> {
    if ([...this.#limits.values()].includes(id)) throw new Error(`the queue ${id} has its node`);
    return this.openLog(LOGS, id, [], DEFAULT_FLUSH);
  }

  /** What waits in an orphan, as lines of JSON. */
  exportOrphan(id: string): AsyncGenerator<string> {
    return exportOrphan(id, (name) => this.#openOrphan(name));
  }

  /** Moves what waits in an orphan to the queue of an exporter or pool that is open. Resolves to how many records. */
  async adoptOrphan(id: string, into: { readonly queue: Queue }): Promise<number> {
    const count = await adoptOrphan(
      id,
      (name) => this.#openOrphan(name),
      (record) => into.queue.take(record),
    );
    await this.discardOrphan(id);
    return count;
  }

  /** Deletes the files of an orphan. */
  async discardOrphan(id: string): Promise<void> {
    if ([...this.#limits.values()].includes(id)) throw new Error(`the queue ${id} has its node`);
    const folder = join(this.folder, LOGS, folderNameOf(id));
    const names = (await this.#files.list(folder)).filter((name) => parseSegmentName(name) !== undefined);
    // The oldest first: what a crash in the middle leaves is a queue that has lost its front, not one with a hole.
    for (const name of names.sort()) await this.#files.remove(join(folder, name));
    await this.#files.syncFolder(folder);
    await this.#countOrphans();
  }

  /** Their bytes count in the disk budget. */
  async #countOrphans(): Promise<void> {
    const open = new Set([...this.#limits.values()].map(folderNameOf));
    let bytes = 0;
    for (const name of await this.#files.list(join(this.folder, LOGS))) {
      if (!open.has(name)) bytes += await bytesIn(join(this.folder, LOGS, name), this.#files);
    }
    this.#orphanBytes = bytes;
  }

  async openDeadLetters(name: string, flush: FlushSettings): Promise<DeadLetters> {
    const policy: FlushSettings = { ...flush, durability: "everyMessage" };
    const log = await this.openLog(DEAD, name, [KEEPER], policy);
    const flushed = this.flushed(log, policy, (trouble) => {
      if (trouble !== undefined)
        this.#options.onEvent?.({ kind: "deadLetterTrouble", log: name, message: trouble.message });
    });
    const budgetBytes = Math.max(MIN_SEGMENT_BYTES, this.diskBytes / DEAD_LETTER_SHARE);
    return new DeadLetters(log, this.flusher, flushed, budgetBytes, () => this.clock.wallMs());
  }

  /** Opens one log below the folder. */
  async openLog(
    kind: typeof LOGS | typeof DEAD,
    name: string,
    consumers: readonly string[],
    flush: FlushSettings,
  ): Promise<Log> {
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
    await this.monitor.close();
    process.removeListener("exit", this.#onExit);
    try {
      await this.#lock.release();
    } finally {
      this.#released();
    }
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }
}
