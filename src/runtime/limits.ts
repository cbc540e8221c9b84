/**
 * What a log may take: records, bytes and age of its own, and its share of the memory and the disk that all logs of a
 * runtime have together. What is over goes by the user's choice: the oldest, the newest, or the sender hears of it.
 * Sizes come from the files themselves; no counter is stored that could be wrong.
 */
import type { Clock } from "../clock.js";
import type { BlockOrigin } from "../log/block.js";
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
}

/** What all logs of a runtime have together. */
export interface SharedBudget {
  readonly memoryBytes: number;
  readonly memoryUsed: number;
  readonly diskBytes: number;
  readonly diskUsed: number;
  /** The log with the most on disk that may drop its oldest: it gives way when the disk is full for all. */
  readonly largest: Limits | undefined;
}

/** The shared budget is looked at again after so many bytes: summing it up for each record would cost more. */
const LOOK_BYTES = 16 * 1024;
/** Pieces given up for one look; the next look goes on. */
const MOST_PIECES = 100;

export class Limits {
  readonly log: Log;
  readonly #flush: FlushSettings;
  readonly #budget: SharedBudget;
  readonly #clock: Clock;
  readonly #onDropped: () => void;
  #lookAt = 0;
  #newest = 0;
  #oldest = 0;
  #aged = 0;
  #known: Dropped = { newest: 0, oldest: 0, aged: 0 };

  /** @param onDropped called when something was dropped, so that what it took can be freed and the user told */
  constructor(log: Log, flush: FlushSettings, budget: SharedBudget, clock: Clock, onDropped: () => void) {
    this.log = log;
    this.#flush = flush;
    this.#budget = budget;
    this.#clock = clock;
    this.#onDropped = onDropped;
  }

  get dropped(): Dropped {
    return { newest: this.#newest, oldest: this.#oldest, aged: this.#aged };
  }

  /** What was dropped since this was asked last. */
  takeNews(): Dropped {
    const { newest, oldest, aged } = this.dropped;
    const known = this.#known;
    this.#known = this.dropped;
    return { newest: newest - known.newest, oldest: oldest - known.oldest, aged: aged - known.aged };
  }

  get dropsOldest(): boolean {
    return this.#flush.overflow === "dropOldest";
  }

  /**
   * Asks for room for so many records. False: they are dropped, and counted.
   * @throws {NotAcceptedError} when the user wants to hear of it
   */
  admit(records: number): boolean {
    const { log } = this;
    const { backlogRecords } = this.#flush;
    const mustLook = log.acceptedBytes >= this.#lookAt || (backlogRecords > 0 && log.backlogRecords >= backlogRecords);
    if (!mustLook || !this.#isOver(records)) {
      if (mustLook) this.#lookAt = log.acceptedBytes + LOOK_BYTES;
      return true;
    }
    if (this.dropsOldest && this.#makeRoom(records)) return true;
    if (this.#flush.overflow === "refuse") {
      const reason = this.#reason(records) ?? "its limit";
      throw new NotAcceptedError("queue-full", `The queue is full (${reason}); the message was not taken.`);
    }
    this.#newest += records;
    this.#onDropped();
    return false;
  }

  #isOver(records: number): boolean {
    return this.#reason(records) !== undefined;
  }

  /** Which limit so many records more would break. */
  #reason(records: number): string | undefined {
    const { backlogRecords, backlogBytes } = this.#flush;
    if (backlogRecords > 0 && this.log.backlogRecords + records > backlogRecords) return `${backlogRecords} records`;
    if (backlogBytes > 0 && this.log.backlogBytes > backlogBytes) return `${backlogBytes} bytes`;
    const { memoryUsed, memoryBytes, diskUsed, diskBytes } = this.#budget;
    if (memoryUsed > memoryBytes) return "the runtime's memory: its folder takes no more at the moment";
    if (diskUsed > diskBytes) return "the runtime's disk budget";
    return undefined;
  }

  /** Gives up the oldest until so many records fit; false when that was not enough. */
  #makeRoom(records: number): boolean {
    const { backlogRecords } = this.#flush;
    if (backlogRecords > 0) this.#count(this.log.dropBelow(this.log.nextOffset + records - backlogRecords));
    for (let piece = 0; piece < MOST_PIECES && this.#isOver(records); piece++) {
      const { memoryUsed, memoryBytes, diskUsed, diskBytes } = this.#budget;
      const isShared = memoryUsed <= memoryBytes && diskUsed > diskBytes;
      const who = isShared ? (this.#budget.largest ?? this) : this;
      if (memoryUsed > memoryBytes ? !this.#giveUpMemory() : !who.giveUpOldest()) break;
    }
    return !this.#isOver(records);
  }

  #giveUpMemory(): boolean {
    return this.#count(this.log.dropOldestInMemory());
  }

  /** Gives up the oldest file, or block in memory; false when there is none. */
  giveUpOldest(): boolean {
    const end = this.log.oldestEnd;
    return end !== undefined && this.#count(this.log.dropBelow(end));
  }

  #count(dropped: number): boolean {
    if (dropped === 0) return false;
    this.#oldest += dropped;
    this.#onDropped();
    return true;
  }

  /** Drops what has waited too long, and makes room that is lacking. Called now and then. */
  async check(): Promise<void> {
    const { backlogAgeMs } = this.#flush;
    if (backlogAgeMs > 0) {
      const aged = await this.log.dropOld((block, elapsedMs) => ageMs(this.#clock, block, elapsedMs) > backlogAgeMs);
      this.#aged += aged;
      if (aged > 0) this.#onDropped();
    }
    if (this.dropsOldest && this.#isOver(0)) this.#makeRoom(0);
  }
}

/** Age of a record: by the monotonic clock within a boot; else by the wall clock, once that can be trusted. */
export function ageMs(clock: Clock, block: BlockOrigin, elapsedMs: number): number {
  if (block.bootId.equals(clock.bootId)) return clock.elapsedMs() - elapsedMs;
  if (!clock.isWallTrusted) return 0;
  return clock.wallMs() - (block.baseTimeMs + (elapsedMs - block.baseElapsedMs));
}
