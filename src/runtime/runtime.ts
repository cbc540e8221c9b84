/**
 * The engine put together: one folder, its lock, the logs in it, and the exporters that read them. Everything that
 * shares a folder shares a runtime.
 */
import { join } from "node:path";
import { type Clock, systemClock } from "../clock.js";
import { Monitor, type NetworkState } from "../connectivity/monitor.js";
import type { Probe } from "../connectivity/probe.js";
import { type Files, systemFiles } from "../files.js";
import { type Compression, deflateCompression } from "../log/format/compression.js";
import { parseSegmentName } from "../log/format/frame.js";
import { type FolderLock, lockFolder } from "../log/lock.js";
import type { Log } from "../log/log.js";
import { Exporter, type ExporterOptions } from "./exporter.js";
import { DEAD, folderNameOf, identityOf, idOf, LOGS } from "./folder.js";
import { LogStore, type StoreEvent } from "./log-store.js";
import { adoptOrphan, bytesIn, exportOrphan, inspectOrphan, type OrphanQueue } from "./orphans.js";
import { overviewOf, type QueueOverview } from "./overview.js";
import { Pool, type PoolOptions } from "./pool.js";
import type { Queue } from "./queue.js";
import { BUDGETS, type Budgets, DEFAULT_BUDGETS, DEFAULT_FLUSH, type FlushSettings } from "./settings.js";

export type RuntimeEvent =
  | StoreEvent
  /** The network, or every target, came or went. */
  | { readonly kind: "network"; readonly state: NetworkState };

export interface RuntimeOptions {
  /** Where the queues are kept. Made when missing, private to the user. */
  readonly folder: string;
  /** What exporters inherit. */
  readonly flush: FlushSettings;
  /** Memory for all logs together, in bytes. Default 32 MiB. */
  readonly memoryBytes?: number;
  /** Disk for all logs together, in bytes. Default 1 GiB; never more than the disk has for it when it is opened. */
  readonly diskBytes?: number;
  /** Tells "no network" from "the target is down". Default: none, the targets alone are the signal. */
  readonly probe?: Probe;
  /** While the network is away, it is asked this often, in ms. Default 5_000. */
  readonly probeIntervalMs?: number;
  readonly onEvent?: (event: RuntimeEvent) => void;
  readonly clock?: Clock;
  readonly files?: Files;
  readonly compression?: Compression;
}

/** Runtimes of this process by folder, until they have let go of it: the next one of the same folder waits. */
const inThisProcess = new Map<string, Promise<void>>();

export class Runtime {
  readonly folder: string;
  readonly #monitor: Monitor;
  readonly #store: LogStore;
  readonly #files: Files;
  readonly #lock: FolderLock;
  readonly #released: () => void;
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #exports = new Set<AsyncGenerator<string>>();
  #orphanTurn: Promise<void> = Promise.resolve();
  #counting: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  private constructor(options: RuntimeOptions, identity: Buffer, lock: FolderLock, released: () => void) {
    const { folder, probe, probeIntervalMs, onEvent, clock = systemClock, files = systemFiles } = options;
    const { memoryBytes = DEFAULT_BUDGETS.memoryBytes, diskBytes = DEFAULT_BUDGETS.diskBytes } = options;
    this.folder = folder;
    this.#files = files;
    this.#lock = lock;
    this.#released = released;
    this.#monitor = new Monitor({
      clock,
      ...(probe === undefined ? {} : { probe }),
      ...(probeIntervalMs === undefined ? {} : { probeIntervalMs }),
      onChange: (state) => onEvent?.({ kind: "network", state }),
    });
    this.#store = new LogStore({
      folder,
      identity,
      clock,
      files,
      memoryBytes,
      diskBytes,
      compression: options.compression ?? deflateCompression,
      monitor: this.#monitor,
      onEvent: (event) => onEvent?.(event),
    });
  }

  /** Whether the network is there, as far as the targets and the probe can tell. */
  get network(): NetworkState {
    return this.#monitor.state;
  }

  /** What all logs together may use, in bytes. */
  get budgets(): Budgets {
    return { memoryBytes: this.#store.memoryBytes, diskBytes: this.#store.diskBytes };
  }

  /** Bytes of records in memory, and of files that somebody still needs. */
  get used(): Budgets {
    return { memoryBytes: this.#store.memoryUsed, diskBytes: this.#store.diskUsed };
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
        const identity = await identityOf(options.folder, files);
        const diskBytes = await usableDiskBytes(options.diskBytes ?? DEFAULT_BUDGETS.diskBytes, options.folder, files);
        return new Runtime({ ...options, diskBytes }, identity, lock, letGo);
      } catch (error) {
        await lock.release();
        throw error;
      }
    } catch (error) {
      letGo();
      throw error;
    }
  }

  /** Opens the log of an exporter and begins to deliver. @throws {NewerFormatError} and errors of the disk */
  openExporter(options: ExporterOptions): Promise<Exporter> {
    return this.#working(() => this.#opened(() => Exporter.open(this.#store, options)));
  }

  /** Opens the log of a pool, without members at first. @throws {NewerFormatError} and errors of the disk */
  openPool(options: PoolOptions): Promise<Pool> {
    return this.#working(() => this.#opened(() => Pool.open(this.#store, options)));
  }

  /** What is done in the folder beside the queues that are open: a close waits for it, and after that none begins. */
  async #working<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed !== undefined) throw closedError();
    const working = work();
    this.#underWay.add(working);
    try {
      return await working;
    } finally {
      this.#underWay.delete(working);
    }
  }

  async #opened<T extends { close(): Promise<void> }>(open: () => Promise<T>): Promise<T> {
    const opened = await open();
    if (this.#closed !== undefined) {
      await opened.close();
      throw closedError();
    }
    await this.#countOrphans();
    return opened;
  }

  /** Whether an earlier life has left something under this id: records that wait, or rejected ones. */
  async hasLeft(id: string): Promise<boolean> {
    const folders = [LOGS, DEAD].map((kind) => join(this.folder, kind, folderNameOf(id)));
    const sizes = await Promise.all(folders.map((folder) => bytesIn(folder, this.#files)));
    return sizes.some((bytes) => bytes > 0);
  }

  /** The exporters and pools that are open. */
  get opened(): (Exporter | Pool)[] {
    return [...this.#store.owners].filter((owner) => owner instanceof Exporter || owner instanceof Pool);
  }

  /** These, as people want to see them. */
  overview(): QueueOverview[] {
    return this.opened.map(overviewOf);
  }

  /** An exporter or pool that is open. */
  find(id: string): Exporter | Pool | undefined {
    return this.opened.find((opened) => opened.id === id);
  }

  /** Queues whose node is not there (any more, or not yet), with what waits in them. */
  orphans(): Promise<OrphanQueue[]> {
    return this.#inOrphanTurn(async () => {
      const found: OrphanQueue[] = [];
      for (const id of await this.#orphanIds()) {
        if (this.#store.openNames.has(id)) continue; // its node came meanwhile
        found.push(await inspectOrphan(id, this.#folderOf(id), this.#files, (name) => this.#openOrphan(name)));
      }
      return found;
    });
  }

  async #inOrphanTurn<T>(work: () => Promise<T>): Promise<T> {
    const end = await this.#takeOrphanTurn();
    try {
      return await this.#working(work);
    } finally {
      end();
    }
  }

  /** Orphans are opened one after the other. */
  async #takeOrphanTurn(): Promise<() => void> {
    const before = this.#orphanTurn;
    let end = (): void => undefined;
    this.#orphanTurn = new Promise((resolve) => (end = resolve));
    await before;
    return end;
  }

  async #orphanIds(): Promise<string[]> {
    const open = new Set([...this.#store.openNames].map(folderNameOf));
    const names = await this.#files.list(join(this.folder, LOGS));
    const orphans: string[] = [];
    for (const name of names) {
      if (open.has(name) || (await bytesIn(join(this.folder, LOGS, name), this.#files)) === 0) continue;
      orphans.push(idOf(name));
    }
    return orphans;
  }

  #openOrphan(id: string): Promise<Log> {
    return this.#store.inspectLog(id, DEFAULT_FLUSH);
  }

  #folderOf(id: string): string {
    return join(this.folder, LOGS, folderNameOf(id));
  }

  /** What waits in an orphan, as lines of JSON. */
  async *exportOrphan(id: string): AsyncGenerator<string> {
    const end = await this.#takeOrphanTurn();
    const lines = exportOrphan(id, (name) => this.#openOrphan(name));
    this.#exports.add(lines);
    try {
      if (this.#closed !== undefined) throw closedError();
      // A browser that stops reading holds up this queue alone, not the deploy of others.
      for await (const line of lines) yield line;
      if (this.#closed !== undefined) throw closedError(); // it may have been ended before its last line
    } finally {
      this.#exports.delete(lines);
      end();
    }
  }

  /** Moves what waits in an orphan to the queue of an exporter or pool that is open. Resolves to how many records. */
  adoptOrphan(id: string, into: { readonly queue: Queue }): Promise<number> {
    return this.#inOrphanTurn(async () => {
      const { count, isEmpty } = await adoptOrphan(
        id,
        (name) => this.#openOrphan(name),
        (record) => into.queue.take(record),
      );
      if (isEmpty) await this.#discardOrphan(id);
      return count;
    });
  }

  /** Deletes the files of an orphan. */
  discardOrphan(id: string): Promise<void> {
    return this.#inOrphanTurn(() => this.#discardOrphan(id));
  }

  async #discardOrphan(id: string): Promise<void> {
    await this.#store.whileFree(id, async () => {
      const folder = this.#folderOf(id);
      const names = (await this.#files.list(folder)).filter((name) => parseSegmentName(name) !== undefined);
      // The oldest first: what a crash in the middle leaves is a queue that has lost its front, not one with a hole.
      for (const name of names.sort()) await this.#files.remove(join(folder, name));
      if (names.length > 0) await this.#files.syncFolder(folder);
    });
    await this.#countOrphans();
  }

  /** Their bytes count in the disk budget. One count at a time: the one that began last knows best. */
  #countOrphans(): Promise<void> {
    const counting = this.#counting.then(async () => {
      const sizes = new Map<string, number>();
      for (const name of await this.#files.list(join(this.folder, LOGS))) {
        sizes.set(name, await bytesIn(join(this.folder, LOGS, name), this.#files));
      }
      for (const name of this.#store.openNames) sizes.delete(folderNameOf(name));
      this.#store.orphanBytes = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
    });
    this.#counting = counting.catch(() => undefined); // whoever asked hears of it
    return counting;
  }

  /** Closes the exporters that are still open, and lets go of the folder. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    try {
      await this.#store.close();
    } finally {
      await this.#monitor.close();
      // With the lock goes the folder: to the next runtime, which knows nothing of what this one has begun. An export is
      // ended, since its browser may have stopped reading, and the node of its queue wait for it to be opened.
      const exports = [...this.#exports].map((lines) => lines.return(undefined));
      await Promise.allSettled([...this.#underWay, ...exports]);
      try {
        await this.#lock.release();
      } finally {
        this.#released();
      }
    }
  }
}

function closedError(): Error {
  return new Error("the runtime was closed meanwhile");
}

/** Left to everybody else on the disk: a part of it, and no less than this. A card that is full to the brim wears faster. */
const RESERVE_SHARE = 0.05;
const MIN_RESERVE_BYTES = 64 * 1024 * 1024;

/**
 * The budget, or what the disk has for it: free bytes and those of the queues, without a reserve for others. Records
 * then go by the user's choice of overflow, and not because the whole system's disk is full.
 */
async function usableDiskBytes(budgetBytes: number, folder: string, files: Files): Promise<number> {
  const room = await files.room?.(folder);
  if (room === undefined) return budgetBytes;
  let ownBytes = 0;
  for (const name of await files.list(join(folder, LOGS))) ownBytes += await bytesIn(join(folder, LOGS, name), files);
  const reserveBytes = Math.max(MIN_RESERVE_BYTES, room.totalBytes * RESERVE_SHARE);
  return Math.min(budgetBytes, Math.max(BUDGETS.diskBytes.min, room.freeBytes + ownBytes - reserveBytes));
}
