/**
 * What a log may take: records, bytes and age of its own, and its share of the memory and the disk that all logs of a
 * runtime have together. What is over goes by the user's choice: the oldest, the newest, or the sender hears of it.
 * Sizes come from the files themselves; no counter is stored that could be wrong.
 */
import { type Clock, isPlausibleWall } from "../clock.js";
import type { BlockOrigin } from "../log/format/block-record.js";
import type { Log } from "../log/log.js";
import type { FlushSettings } from "./settings.js";

/** The record was not taken; the sender still has it. */
export class NotAcceptedError extends Error {
  override readonly name = "NotAcceptedError";
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Records that were given up, by the limit that spoke. */
export interface Dropped {
  /** The newest, because there was no room for them. */
  readonly newest: number;
  /** The oldest, to make room: counted for each member that still needed them. */
  readonly oldest: number;
  /** Those that had waited too long. */
  readonly aged: number;
  /** Those that were in memory only, as the user wanted it, when their queue was closed. */
  readonly forgotten: number;
}

/** What all logs of a runtime have together. */
export interface SharedBudget {
  readonly memoryBytes: number;
  readonly memoryUsed: number;
  readonly diskBytes: number;
  readonly diskUsed: number;
  /** The log with the most on disk that may drop its oldest: it gives way when the disk is full for all. */
  readonly largest: Limits | undefined;
  /** The same for memory. */
  readonly heaviest: Limits | undefined;
}

/** Messages whose senders have not been told yet: they are in memory though their records may not be. */
export interface HeldMessages {
  /** What each of them costs beside its data; 0 when none is held. */
  readonly costBytes: number;
  readonly bytes: number;
  /** Gives up the oldest of them; false when there is none. */
  giveUpOldest(): boolean;
}

/** The shared budget is looked at again after so many bytes: summing it up for each record would cost more. */
const LOOK_BYTES = 64 * 1024;
/** What stands beside a payload in memory, roughly. */
const RECORD_COST_BYTES = 8;
/** Pieces given up for one look; the next look goes on. */
const MOST_PIECES = 100;
/** A block on disk holds a record of this size; a larger one could not be read back. */
const MOST_RECORD_BYTES = 64 * 1024 * 1024;

type Over = { readonly limit: "records" | "bytes" | "memory" | "disk"; readonly words: string };

export class Limits {
  readonly log: Log;
  readonly #flush: FlushSettings;
  readonly #budget: SharedBudget;
  readonly #clock: Clock;
  readonly #held: HeldMessages;
  readonly #onDropped: () => void;
  /** Bytes taken since the shared budget was looked at. */
  #unlooked = Number.POSITIVE_INFINITY;
  #newest = 0;
  #oldest = 0;
  #aged = 0;
  #forgotten = 0;
  #known: Dropped = { newest: 0, oldest: 0, aged: 0, forgotten: 0 };

  /** @param onDropped called when something was dropped, so that what it took can be freed and the user told */
  constructor(
    log: Log,
    flush: FlushSettings,
    budget: SharedBudget,
    clock: Clock,
    held: HeldMessages,
    onDropped: () => void,
  ) {
    this.log = log;
    this.#flush = flush;
    this.#budget = budget;
    this.#clock = clock;
    this.#held = held;
    this.#onDropped = onDropped;
  }

  get dropped(): Dropped {
    return { newest: this.#newest, oldest: this.#oldest, aged: this.#aged, forgotten: this.#forgotten };
  }

  /** What was dropped since this was asked last. */
  takeNews(): Dropped {
    const { newest, oldest, aged, forgotten } = this.dropped;
    const known = this.#known;
    this.#known = this.dropped;
    return {
      newest: newest - known.newest,
      oldest: oldest - known.oldest,
      aged: aged - known.aged,
      forgotten: forgotten - known.forgotten,
    };
  }

  get dropsOldest(): boolean {
    return this.#flush.overflow === "dropOldest";
  }

  /** Somebody has to look now and then: time passes by itself. */
  get hasAge(): boolean {
    return this.#flush.backlogAgeMs > 0;
  }

  /** Bytes in memory: records, and messages whose senders wait. */
  get memoryBytes(): number {
    return this.log.memoryBytes + this.#held.bytes;
  }

  /**
   * Asks for room for so many records. False: they are dropped, and counted.
   * @throws {NotAcceptedError} when the user wants to hear of it, or when there can never be room
   */
  admit(records: number, bytes: number): boolean {
    const { log } = this;
    const { backlogRecords, overflow } = this.#flush;
    this.#unlooked += bytes + records * RECORD_COST_BYTES + this.#held.costBytes;
    const mustLook =
      this.#unlooked >= LOOK_BYTES || (backlogRecords > 0 && log.backlogRecords + records > backlogRecords);
    if (!mustLook) return true;
    this.#refuseTooLarge(bytes);
    if (this.#makeRoom(records, bytes)) {
      this.#unlooked = 0;
      return true;
    }
    if (overflow === "refuse") {
      const { words } = this.#over(records, bytes) ?? { words: "its limit" };
      throw new NotAcceptedError("queue-full", `The queue is full (${words}); the message was not taken.`);
    }
    this.#newest += records;
    this.#onDropped();
    return false;
  }

  /** Has the next message look: a round has closed a block, which costs memory beside its records. */
  lookAgain(): void {
    this.#unlooked = Number.POSITIVE_INFINITY;
  }

  /** Nothing is given up for what would not fit into an empty queue either. */
  #refuseTooLarge(bytes: number): void {
    const { backlogBytes } = this.#flush;
    const mostBytes = Math.min(MOST_RECORD_BYTES, this.#budget.memoryBytes, backlogBytes > 0 ? backlogBytes : Infinity);
    if (bytes <= mostBytes) return;
    const message = `The message has ${bytes} bytes; at most ${mostBytes} can be queued. It was not taken.`;
    throw new NotAcceptedError("too-large", message);
  }

  /** Which limit so many more would break. */
  #over(records: number, bytes: number): Over | undefined {
    const { backlogRecords, backlogBytes } = this.#flush;
    if (backlogRecords > 0 && this.log.backlogRecords + records > backlogRecords) {
      return { limit: "records", words: `${backlogRecords} records` };
    }
    if (backlogBytes > 0 && this.log.backlogBytes + bytes > backlogBytes) {
      return { limit: "bytes", words: `${backlogBytes} bytes` };
    }
    const { memoryUsed, memoryBytes, diskUsed, diskBytes } = this.#budget;
    if (memoryUsed + bytes > memoryBytes) {
      return { limit: "memory", words: "the runtime's memory: its folder takes no more at the moment" };
    }
    if (diskUsed > diskBytes) return { limit: "disk", words: "the runtime's disk budget" };
    return undefined;
  }

  /** Gives up the oldest, as far as the user allows it, until so many fit; false when that was not enough. */
  #makeRoom(records: number, bytes: number): boolean {
    for (let piece = 0; piece < MOST_PIECES; piece++) {
      const over = this.#over(records, bytes);
      if (over === undefined) return true;
      if (!this.#giveUp(over, records)) return false;
    }
    return this.#over(records, bytes) === undefined;
  }

  /** Gives up one piece; false when there is none that may go. */
  #giveUp({ limit }: Over, records: number): boolean {
    const below = this.#mayGiveUpBelow;
    switch (limit) {
      case "records": {
        const end = this.log.nextOffset + records - this.#flush.backlogRecords;
        return end <= below && this.giveUpBelow(end);
      }
      case "bytes":
        return this.giveUpOldest(below);
      case "memory": {
        const { heaviest } = this.#budget;
        if (heaviest === undefined || heaviest.memoryBytes <= this.memoryBytes) return this.#giveUpMemory(below);
        return heaviest.#giveUpMemory(Infinity);
      }
      case "disk": {
        const { largest } = this.#budget;
        if (largest === undefined || largest.log.neededDiskBytes <= this.log.neededDiskBytes) {
          return this.giveUpOldest(below);
        }
        return largest.giveUpOldest(Infinity);
      }
      default:
        return limit satisfies never;
    }
  }

  /**
   * What lies below may be given up. In a pool that is, whatever the user chose, what one member at least has had: a
   * member that is away must not bar the entry to the others.
   */
  get #mayGiveUpBelow(): number {
    if (this.dropsOldest) return Infinity;
    return this.log.isShared ? this.log.bestOffset : 0;
  }

  #giveUpMemory(below: number): boolean {
    const dropped = this.log.dropOldestInMemory(below);
    // On disk already, but the senders still wait for the targets.
    if (dropped === undefined) return below === Infinity && this.#held.giveUpOldest();
    this.#count(dropped);
    return true;
  }

  /** Gives up the oldest file, or block in memory, when that lies below `below`; false when there is none. */
  giveUpOldest(below: number): boolean {
    const end = this.log.oldestEnd;
    return end !== undefined && end <= below && this.giveUpBelow(end);
  }

  /** Gives up what lies below `end`; false when nobody needs it any more. */
  giveUpBelow(end: number): boolean {
    if (end <= this.log.lowestOffset) return false;
    this.#count(this.log.dropBelow(end));
    return true;
  }

  #count(dropped: number): void {
    this.#oldest += dropped;
    this.#onDropped();
  }

  /** The queue is closed: what is in memory only ends with it. */
  forget(): void {
    const records = this.log.fleetingRecords;
    if (records === 0) return;
    this.#forgotten += records;
    this.#onDropped();
  }

  /** Drops what has waited too long, and makes room that is lacking. Called now and then. */
  async check(): Promise<void> {
    const { backlogAgeMs } = this.#flush;
    if (backlogAgeMs > 0) {
      const aged = await this.log.dropOld((block, elapsedMs) => ageMs(this.#clock, block, elapsedMs) > backlogAgeMs);
      this.#aged += aged;
      if (aged > 0) this.#onDropped();
    }
    this.#makeRoom(0, 0);
  }
}

/**
 * Age of a record: by the monotonic clock within a boot; else by the wall clock, once that can be trusted, and when what
 * it had said at acceptance can be meant: a board without a battery begins each boot in 1970.
 */
export function ageMs(clock: Clock, block: BlockOrigin, elapsedMs: number): number {
  if (block.bootId.equals(clock.bootId)) return clock.elapsedMs() - elapsedMs;
  const acceptedAtMs = block.baseTimeMs + (elapsedMs - block.baseElapsedMs);
  if (!clock.isWallTrusted || !isPlausibleWall(acceptedAtMs)) return 0;
  return clock.wallMs() - acceptedAtMs;
}
