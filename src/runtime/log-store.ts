/**
 * The logs of a runtime's folder: opening them, flushing them together, and keeping them within the budgets they share.
 * What a log is for (an exporter, a pool, dead letters) is its owner's business.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { Clock, Timer } from "../clock.js";
import { ReadShare } from "../delivery/read-share.js";
import type { Connectivity } from "../delivery/connectivity.js";
import type { DeliveryEvent } from "../delivery/events.js";
import { DeadLetters, KEEPER, type LetterBudget } from "../delivery/dead-letters.js";
import type { Files } from "../files.js";
import type { Compression } from "../log/format/compression.js";
import { type Flushed, Flusher } from "../log/flush.js";
import { Log } from "../log/log.js";
import { oneSyncAtATime } from "../log/segments/one-sync.js";
import { quarantine } from "../log/segments/quarantine.js";
import type { Loss } from "../log/segments/recovery.js";
import { DEAD, folderNameOf, logIdOf, LOGS, QUARANTINE } from "./folder.js";
import { type Dropped, type HeldMessages, Limits, type SharedBudget } from "./limits.js";
import type { Budgets, FlushSettings } from "./settings.js";

export type StoreEvent =
  /** Something that had been safe cannot be read any more. */
  | { readonly kind: "loss"; readonly log: string; readonly loss: Loss }
  /** Bytes that were never promised: cut off by a crash. */
  | { readonly kind: "torn"; readonly log: string; readonly bytes: number }
  /** A queue file that belongs to another queue, or is a copy of one of this queue, was found and left alone. */
  | { readonly kind: "foreign"; readonly log: string; readonly path: string }
  /** Files of another time of the queue had been brought back: what they have left to deliver is delivered behind the rest. */
  | { readonly kind: "restored"; readonly log: string; readonly files: number; readonly records: number }
  /** The queue could not be read while looking for what is too old; it is tried again. */
  | { readonly kind: "unreadable"; readonly log: string; readonly message: string }
  /** Rejected records cannot be kept at the moment; they wait in their queue. */
  | { readonly kind: "deadLetterTrouble"; readonly log: string; readonly message: string }
  /** The folder cannot be written, so records are kept in memory; undefined: it can be again. */
  | { readonly kind: "storage"; readonly log: string; readonly trouble: Error | undefined }
  /** Records were given up because of a limit: how many since the last such event, at most one of them a second. */
  | ({ readonly kind: "overflow"; readonly log: string } & Dropped)
  /** What the delivery of one member tells, save the answers to its batches. */
  | {
      readonly kind: "delivery";
      readonly log: string;
      readonly member: string;
      readonly event: Exclude<DeliveryEvent, { readonly kind: "answered" }>;
    };

export interface StoreOptions extends Budgets {
  readonly folder: string;
  /** 16 bytes that tell this folder from others. */
  readonly identity: Buffer;
  readonly clock: Clock;
  readonly files: Files;
  readonly compression: Compression;
  /** What deliveries over the network tell of it, and hear. */
  readonly monitor: Connectivity;
  readonly onEvent: (event: StoreEvent) => void;
}

/** A sealed file this large costs 0.8 % for its making; smaller budgets get smaller files. */
const SEGMENT_BYTES = 8 * 1024 * 1024;
const MIN_SEGMENT_BYTES = 256 * 1024;
/** A queue with a small limit of its own gives up an eighth of it at a time, in files no smaller than this. */
const MIN_PIECE_BYTES = 16 * 1024;
/** The dead letters of one exporter may take this part of the disk budget, beside it; those of all a quarter. */
const DEAD_LETTER_SHARE = 16;
const ALL_DEAD_LETTERS_SHARE = 4;
/** Of the memory budget, while the folder takes nothing. */
const DEAD_LETTER_MEMORY_SHARE = 16;
/** Beside the memory budget, for what deliveries read back from disk: a quarter of it. */
const READ_SHARE = 4;
/** How often ages are looked at. */
const CHECK_MS = 10_000;
/** Drops within this are told together: a full queue may drop with every message. */
const OVERFLOW_MS = 1_000;
/** Unwritten bytes of one log at which it is written before its time. */
const MEMORY_SHARE_BYTES = 2 * 1024 * 1024;

/** Stores of this process: one listener serves them all, however many there are. */
const openStores = new Set<LogStore>();

/** An exception elsewhere ends the process without closing anything: what is in memory is written all the same. */
function writeAllNow(): void {
  for (const store of openStores) store.writeNow();
}

type Kind = typeof LOGS | typeof DEAD;

export class LogStore implements SharedBudget {
  readonly folder: string;
  readonly clock: Clock;
  readonly flusher: Flusher;
  readonly monitor: Connectivity;
  readonly readShare: ReadShare;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly #options: StoreOptions;
  readonly #files: Files;
  /** Folders in use, until they are free again: two logs over one folder would write over each other. */
  readonly #folders = new Map<string, Promise<void>>();
  /** Names of the queues that have an owner, or are about to. */
  readonly #owned = new Map<string, number>();
  readonly #letterLogs = new Set<Log>();
  readonly #limits = new Map<Limits, string>();
  readonly #owners = new Set<{ close(): Promise<void> }>();
  /** Those that have dropped something nobody has been told of yet. */
  readonly #overflowed = new Set<Limits>();
  readonly #watched = new Map<{ check(): Promise<void> }, string>();
  #checking: Timer | undefined;
  #isChecking = false;
  #telling: Timer | undefined;
  #isClosed = false;
  /** Bytes of queues that nobody has open. */
  orphanBytes = 0;

  constructor(options: StoreOptions) {
    this.#options = options;
    this.folder = options.folder;
    this.clock = options.clock;
    this.monitor = options.monitor;
    this.memoryBytes = options.memoryBytes;
    this.readShare = new ReadShare(options.memoryBytes / READ_SHARE);
    this.diskBytes = options.diskBytes;
    this.#files = oneSyncAtATime(options.files);
    this.flusher = new Flusher(options.clock);
    if (openStores.size === 0) process.on("exit", writeAllNow);
    openStores.add(this);
  }

  /** Writes what is in memory, blocking: the process is ending. */
  writeNow(): void {
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
  }

  /** Bytes of records that all logs hold in memory, and of messages whose senders wait. */
  get memoryUsed(): number {
    let bytes = 0;
    for (const { memoryBytes } of this.#limits.keys()) bytes += memoryBytes;
    return bytes;
  }

  /** Bytes of files that somebody still needs. */
  get diskUsed(): number {
    let bytes = 0;
    for (const { log } of this.#limits.keys()) bytes += log.neededDiskBytes;
    return bytes + this.orphanBytes;
  }

  get largest(): Limits | undefined {
    let largest: Limits | undefined;
    for (const limits of this.#limits.keys()) {
      if (!limits.dropsOldest) continue;
      if (largest === undefined || limits.log.neededDiskBytes > largest.log.neededDiskBytes) largest = limits;
    }
    return largest;
  }

  get heaviest(): Limits | undefined {
    let heaviest: Limits | undefined;
    for (const limits of this.#limits.keys()) {
      if (!limits.dropsOldest) continue;
      if (heaviest === undefined || limits.memoryBytes > heaviest.memoryBytes) heaviest = limits;
    }
    return heaviest;
  }

  tell(event: StoreEvent): void {
    this.#options.onEvent(event);
  }

  /** Has the limits of a log kept; `unlimit` ends it. */
  limit(name: string, log: Log, flush: FlushSettings, held: HeldMessages, onDropped: () => void): Limits {
    const limits: Limits = new Limits(log, flush, this, this.clock, held, () => {
      this.#overflowed.add(limits);
      this.#telling ??= this.clock.after(OVERFLOW_MS, () => this.#tellOverflows());
      onDropped();
    });
    this.#limits.set(limits, name);
    this.#checkLater();
    return limits;
  }

  /** Has something looked after now and then, such as ages; returns the way to stop that. */
  watch(name: string, watched: { check(): Promise<void> }): () => void {
    this.#watched.set(watched, name);
    this.#checkLater();
    return () => {
      this.#watched.delete(watched);
      this.#endChecks();
    };
  }

  unlimit(limits: Limits): void {
    if (this.#overflowed.delete(limits)) this.#tellOverflow(limits);
    this.#endChecks();
    // Until somebody counts anew: what it leaves behind has not gone.
    if (this.#limits.delete(limits)) this.orphanBytes += limits.log.neededDiskBytes;
  }

  #tellOverflows(): void {
    this.#telling = undefined;
    for (const limits of this.#overflowed) this.#tellOverflow(limits);
    this.#overflowed.clear();
  }

  #tellOverflow(limits: Limits): void {
    const dropped = limits.takeNews();
    const log = this.#limits.get(limits);
    if (log !== undefined) this.tell({ kind: "overflow", log, ...dropped });
  }

  get #hasToCheck(): boolean {
    if (this.#watched.size > 0) return true;
    for (const limits of this.#limits.keys()) if (limits.hasAge) return true;
    return false;
  }

  #endChecks(): void {
    if (this.#hasToCheck) return;
    this.#checking?.cancel();
    this.#checking = undefined;
  }

  #checkLater(): void {
    if (this.#isClosed || this.#isChecking || !this.#hasToCheck) return;
    this.#checking ??= this.clock.after(CHECK_MS, () => void this.#check());
  }

  async #check(): Promise<void> {
    this.#checking = undefined;
    this.#isChecking = true;
    for (const [watched, log] of [...this.#limits, ...this.#watched]) {
      try {
        await watched.check();
      } catch (error) {
        this.#options.onEvent({ kind: "unreadable", log, message: (error as Error).message });
      }
    }
    this.#isChecking = false;
    this.#checkLater();
  }

  async openDeadLetters(name: string, flush: FlushSettings): Promise<DeadLetters> {
    const policy: FlushSettings = { ...flush, durability: "everyMessage" };
    const log = await this.openLog(DEAD, name, [KEEPER], policy);
    const flushed = this.flushed(log, policy, (trouble) => {
      if (trouble !== undefined)
        this.#options.onEvent({ kind: "deadLetterTrouble", log: name, message: trouble.message });
    });
    this.#letterLogs.add(log);
    const store = this;
    const budget: LetterBudget = {
      get diskBytes() {
        let others = 0;
        for (const other of store.#letterLogs) if (other !== log) others += other.neededDiskBytes;
        const left = store.diskBytes / ALL_DEAD_LETTERS_SHARE - others;
        return Math.max(MIN_SEGMENT_BYTES, Math.min(store.diskBytes / DEAD_LETTER_SHARE, left));
      },
      memoryBytes: this.memoryBytes / DEAD_LETTER_MEMORY_SHARE,
    };
    return new DeadLetters(log, this.flusher, flushed, budget, this.clock);
  }

  /** Opens one log below the folder; waits until an earlier owner has let go of it. */
  async openLog(kind: Kind, name: string, consumers: readonly string[], flush: FlushSettings): Promise<Log> {
    if (kind === LOGS) this.#owned.set(name, (this.#owned.get(name) ?? 0) + 1);
    const disown = (): void => {
      if (kind !== LOGS) return;
      const owners = this.#owned.get(name)! - 1;
      if (owners > 0) this.#owned.set(name, owners);
      else this.#owned.delete(name);
    };
    const free = await this.#occupy(kind, name);
    const onEnd = (): void => {
      disown();
      free();
    };
    try {
      return await this.#open(kind, name, consumers, flush, onEnd);
    } catch (error) {
      onEnd();
      throw error;
    }
  }

  /** Opens the log of a queue that has no owner, to look into it. @throws when it has one */
  async inspectLog(name: string, flush: FlushSettings): Promise<Log> {
    if (this.#owned.has(name)) throw new Error(`the queue ${name} has its node`);
    const free = await this.#occupy(LOGS, name);
    try {
      return await this.#open(LOGS, name, [], flush, free);
    } catch (error) {
      free();
      throw error;
    }
  }

  /** Does something to the folder of a queue while nobody has it. @throws when it has an owner */
  async whileFree<T>(name: string, work: () => Promise<T>): Promise<T> {
    if (this.#owned.has(name)) throw new Error(`the queue ${name} has its node`);
    const free = await this.#occupy(LOGS, name);
    try {
      return await work();
    } finally {
      free();
    }
  }

  /** Waits for the folder of a log, and returns the way to let go of it. */
  async #occupy(kind: Kind, name: string): Promise<() => void> {
    const key = join(kind, folderNameOf(name));
    const before = this.#folders.get(key);
    let free = (): void => undefined;
    const occupied = new Promise<void>((resolve) => (free = resolve));
    this.#folders.set(key, occupied);
    await before;
    return () => {
      if (this.#folders.get(key) === occupied) this.#folders.delete(key);
      free();
    };
  }

  async #open(
    kind: Kind,
    name: string,
    consumers: readonly string[],
    flush: FlushSettings,
    onEnd: () => void,
  ): Promise<Log> {
    const { identity, compression, onEvent: tell } = this.#options;
    const files = this.#files;
    const log: Log = await Log.open({
      folder: join(this.folder, kind, folderNameOf(name)),
      logId: logIdOf(identity, kind, name),
      files,
      clock: this.clock,
      random: randomBytes,
      compression,
      consumers,
      segmentBytes: this.#segmentBytes(flush),
      persistent: flush.durability !== "memory",
      packsAhead: flush.durability === "everyMessage",
      onLoss: (loss) => this.#lost(`${kind}/${name}`, name, loss),
      onEnd: () => {
        this.#letterLogs.delete(log);
        onEnd();
      },
    });
    for (const loss of log.found.losses) await this.#lost(`${kind}/${name}`, name, loss);
    for (const path of log.found.foreign) tell({ kind: "foreign", log: name, path });
    const { restored } = log.found;
    if (restored.files.length > 0) {
      tell({ kind: "restored", log: name, files: restored.files.length, records: restored.records });
    }
    if (log.found.tornBytes > 0) tell({ kind: "torn", log: name, bytes: log.found.tornBytes });
    return log;
  }

  /** Files are given up as a whole: small enough that an eighth of what may wait goes at a time. */
  #segmentBytes({ backlogBytes }: FlushSettings): number {
    const bytes = Math.max(MIN_SEGMENT_BYTES, Math.min(SEGMENT_BYTES, Math.floor(this.diskBytes / 8)));
    return backlogBytes === 0 ? bytes : Math.min(bytes, Math.max(MIN_PIECE_BYTES, Math.floor(backlogBytes / 8)));
  }

  /** Tells of a loss, and keeps a copy of what is there instead. */
  async #lost(place: string, log: string, loss: Loss): Promise<void> {
    const { onEvent: tell } = this.#options;
    tell({ kind: "loss", log, loss });
    try {
      await quarantine(loss, join(this.folder, QUARANTINE, folderNameOf(place)), this.#files);
    } catch (error) {
      tell({ kind: "unreadable", log, message: `${loss.path} could not be copied: ${(error as Error).message}` });
    }
  }

  /** Has the flusher look after a log. */
  flushed(log: Log, flush: FlushSettings, onTrouble: (trouble: Error | undefined) => void): Flushed {
    const { writeIntervalMs, syncIntervalMs, backlogBytes } = flush;
    let memoryShareBytes = Math.min(MEMORY_SHARE_BYTES, this.memoryBytes / 4);
    if (backlogBytes > 0) memoryShareBytes = Math.min(memoryShareBytes, backlogBytes / 4);
    return this.flusher.add(log, { writeIntervalMs, syncIntervalMs, memoryShareBytes }, onTrouble);
  }

  /** Names of the queues that have their owner, or are just given one. */
  get openNames(): ReadonlySet<string> {
    return new Set(this.#owned.keys());
  }

  /** Whoever opens logs here is closed with the store, unless it has left before. */
  enter(owner: { close(): Promise<void> }): void {
    this.#owners.add(owner);
  }

  get owners(): ReadonlySet<{ close(): Promise<void> }> {
    return this.#owners;
  }

  leave(owner: { close(): Promise<void> }): void {
    this.#owners.delete(owner);
  }

  /** Closes what is still open. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#checking?.cancel();
    this.#telling?.cancel();
    const results = await Promise.allSettled([...this.#owners].map((owner) => owner.close()));
    await this.flusher.close();
    openStores.delete(this);
    if (openStores.size === 0) process.removeListener("exit", writeAllNow);
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }
}
