/**
 * Records that their target will never take, kept with the reason until the user decides about them. The same log as
 * everywhere, in a folder of its own: a record is synced here before it is confirmed there.
 */
import { randomBytes } from "node:crypto";
import { inspect } from "node:util";
import type { Clock } from "../clock.js";
import { encode, extendedJson } from "../codec.js";
import type { Flushed, Flusher, Synced } from "../log/flush.js";
import type { Log } from "../log/log.js";
import type { Encoded, LogRecord, Offset, Routing } from "../record.js";
import { uuidText } from "../record.js";
import type { Rejection } from "../targets/target.js";
import { newIdBase, parseUuid } from "../uuid.js";
import type { DeadLetterSink } from "./dead-letter-sink.js";

/** The one consumer of a dead-letter log: the user. */
export const KEEPER = "keeper";

export interface DeadLetter {
  /** Id of the record, as text. */
  readonly id: string;
  readonly acceptedAtMs: number;
  readonly rejectedAtMs: number;
  readonly rejection: Rejection;
  readonly routing: Routing;
  /** The payload as it was accepted; as it was sent, when it never was. */
  readonly record: LogRecord;
  /** False: its transform failed, or it could not be encoded. */
  readonly wasAccepted: boolean;
}

/** Which letters: all, or those with one of these ids, or of one code. */
export interface LetterFilter {
  readonly ids?: ReadonlySet<string>;
  readonly code?: string;
}

/** What the letters of one queue may take; beyond it the oldest go, counted. */
export interface LetterBudget {
  readonly diskBytes: number;
  readonly memoryBytes: number;
}

export class DeadLetters implements DeadLetterSink {
  readonly #log: Log;
  readonly #flusher: Flusher;
  readonly #flushed: Flushed;
  readonly #budget: LetterBudget;
  readonly #clock: Clock;
  #dropped = 0;
  #takingOut: Promise<unknown> = Promise.resolve();
  #isClosing = false;

  constructor(log: Log, flusher: Flusher, flushed: Flushed, budget: LetterBudget, clock: Clock) {
    this.#log = log;
    this.#flusher = flusher;
    this.#flushed = flushed;
    this.#budget = budget;
    this.#clock = clock;
  }

  /** How many are kept. */
  get count(): number {
    return this.#log.consumer(KEEPER).backlog().records;
  }

  /** How many had to go in this life because there were too many. */
  get dropped(): number {
    return this.#dropped;
  }

  async setAside(record: LogRecord, rejection: Rejection): Promise<void> {
    return this.#keep(record, rejection, true);
  }

  /** Keeps a payload that could not become a record; one that cannot even be encoded as a description of it. */
  async setAsidePayload(payload: unknown, routing: Routing, rejection: Rejection): Promise<void> {
    const nowMs = this.#clock.wallMs();
    const id = newIdBase(nowMs, randomBytes(10));
    const { codec, bytes } = encodeOrDescribe(payload);
    const content = Buffer.from(bytes);
    const parts = { id, codec, bytes: content, size: content.length, routing };
    return this.#keep({ ...parts, offset: 0 as Offset, acceptedAtMs: nowMs, replayed: false }, rejection, false);
  }

  #keep(record: LogRecord, rejection: Rejection, wasAccepted: boolean): Promise<void> {
    const offset = this.#log.append(letterText(record, rejection, this.#clock.wallMs(), wasAccepted), NO_ROUTING);
    this.#keepWithinMemory(offset);
    while (this.#log.neededDiskBytes > this.#budget.diskBytes) {
      const end = this.#log.oldestEnd;
      const dropped = end === undefined || end > offset ? 0 : this.#log.dropBelow(end);
      if (dropped === 0) break;
      this.#dropped += dropped;
    }
    return this.#synced(offset);
  }

  /** While the folder takes nothing, the oldest letters go before they use up everyone's memory. */
  #keepWithinMemory(newest: number): void {
    while (this.#log.memoryBytes > this.#budget.memoryBytes) {
      const dropped = this.#log.dropOldestInMemory(newest);
      if (dropped === undefined) break;
      this.#dropped += dropped;
      const error = new Error("The rejected record was given up: the folder of the dead letters takes nothing.");
      this.#flushed.giveUp((offset) => this.#log.isDone(offset), error);
    }
  }

  #synced(offset: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const synced: Synced = (error) => (error === undefined ? resolve() : reject(error));
      this.#flusher.whenSynced(this.#flushed, offset, synced);
    });
  }

  /** The letters, oldest first. One that cannot be read is passed over: it stays in the folder. */
  async *letters(filter: LetterFilter = {}): AsyncGenerator<DeadLetter> {
    for await (const kept of this.#log.consumer(KEEPER).unconfirmed()) {
      const letter = readLetter(kept);
      if (letter !== undefined && matches(letter, filter)) yield letter;
    }
  }

  /** Letters as lines of JSON, the payload as canonical MongoDB Extended JSON, which names every type. */
  async *exported(filter: LetterFilter = {}): AsyncGenerator<string> {
    for await (const letter of this.letters(filter)) yield `${exportedLetter(letter)}\n`;
  }

  /**
   * Gives letters back to the queue they came from. Each is taken out here only when it is safe there.
   * @param accept gives the letter back to its queue, and resolves when it is synced there
   * @returns how many
   */
  requeue(filter: LetterFilter, accept: (letter: DeadLetter) => Promise<void>): Promise<number> {
    return this.#takeOut(filter, (letters) => Promise.all(letters.map(accept)));
  }

  /** Throws letters away. Returns how many. */
  discard(filter: LetterFilter): Promise<number> {
    return this.#takeOut(filter, () => Promise.resolve());
  }

  /** One after the other: who clicks twice must not have a letter delivered twice. */
  #takeOut(filter: LetterFilter, before: (letters: DeadLetter[]) => Promise<unknown>): Promise<number> {
    const result = this.#takingOut.then(() => this.#takeOutNow(filter, before));
    this.#takingOut = result.catch(() => {
      /* whoever asked for it hears of it */
    });
    return result;
  }

  async #takeOutNow(filter: LetterFilter, before: (letters: DeadLetter[]) => Promise<unknown>): Promise<number> {
    // What is rejected again meanwhile waits for the next time: on a slow disk this would never end.
    const end = this.#log.nextOffset;
    const keeper = this.#log.consumer(KEEPER);
    let count = 0;
    let letters: (DeadLetter & { readonly offset: number })[] = [];
    const takeOut = async (): Promise<void> => {
      await before(letters);
      for (const { offset } of letters) keeper.skip(offset, offset + 1);
      count += letters.length;
      letters = [];
    };
    for await (const kept of keeper.unconfirmed()) {
      if (kept.offset >= end) break;
      if (this.#isClosing) throw new Error(`The queue was closed when ${count} were done; the others are still there.`);
      const letter = readLetter(kept);
      if (letter === undefined || !matches(letter, filter)) continue;
      letters.push({ ...letter, offset: kept.offset });
      if (letters.length >= REQUEUED_AT_ONCE) await takeOut();
    }
    if (letters.length > 0) await takeOut();
    this.#flusher.poke(this.#flushed);
    return count;
  }

  /**
   * Waits a while for those that are just being given back, which end with their queue at the latest: what is safe there
   * must not stay here too.
   */
  async close(): Promise<void> {
    this.#isClosing = true;
    await this.#untilTakenOut();
    let failure: Error | undefined;
    try {
      await this.#flusher.remove(this.#flushed);
      await this.#log.close();
    } catch (error) {
      failure = error as Error;
      throw error;
    } finally {
      this.#flushed.release(failure);
    }
  }

  #untilTakenOut(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(CLOSE_WAITS_MS, resolve);
      void this.#takingOut.then(() => {
        timer.cancel();
        resolve();
      });
    });
  }
}

/** How long a close waits for a disk that is to sync what is given back; Node-RED gives a node 15 s for everything. */
const CLOSE_WAITS_MS = 3_000;
/** Held in memory together while they are given back. */
const REQUEUED_AT_ONCE = 100;
const NO_ROUTING: Routing = {};

/** Longest description of what cannot be encoded. */
const DESCRIBED_CHARACTERS = 64 * 1024;

function encodeOrDescribe(payload: unknown): Encoded {
  try {
    return encode(payload);
  } catch {
    // It contains itself, or the like: what a person would see of it is better than nothing.
    return encode(inspect(payload, { depth: 5 }).slice(0, DESCRIBED_CHARACTERS));
  }
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

function matches({ id, rejection }: DeadLetter, { ids, code }: LetterFilter): boolean {
  return (ids === undefined || ids.has(id)) && (code === undefined || rejection.code === code);
}

/** A letter is JSON: the payload as it is where it is JSON itself, else its bytes in base64. */
function letterText(record: LogRecord, rejection: Rejection, rejectedAtMs: number, wasAccepted: boolean): string {
  const { code, message, statusCode } = rejection;
  const { acceptedAtMs, routing, codec } = record;
  const head = {
    id: uuidText(record.id),
    acceptedAtMs,
    rejectedAtMs,
    code,
    message,
    statusCode,
    routing,
    codec,
    wasAccepted,
    ...(record.isTimeDoubtful === true ? { isTimeDoubtful: true } : {}),
  };
  const payload = codec === 0 ? record.bytes.toString("utf8") : JSON.stringify(record.bytes.toString("base64"));
  return `${JSON.stringify(head).slice(0, -1)},"payload":${payload}}`;
}

/** A letter for people and other programs, as one line of JSON. */
export function exportedLetter(letter: DeadLetter): string {
  const { id, acceptedAtMs, rejectedAtMs, rejection, routing, record } = letter;
  const head = { id, acceptedAt: isoTime(acceptedAtMs), rejectedAt: isoTime(rejectedAtMs), ...rejection, routing };
  return `${JSON.stringify(head).slice(0, -1)},"payload":${extendedJson(record)}}`;
}

/** Undefined when it is none: written by another version, or by somebody else. */
export function readLetter({ bytes, offset }: LogRecord): DeadLetter | undefined {
  let letter: unknown;
  try {
    letter = JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined; // told apart from a letter by this alone
  }
  if (typeof letter !== "object" || letter === null) return undefined;
  const fields = letter as Record<string, unknown>;
  const { acceptedAtMs, rejectedAtMs, code, message, statusCode, codec, payload } = fields;
  const id = typeof fields["id"] === "string" ? parseUuid(fields["id"]) : undefined;
  if (id === undefined || typeof code !== "string" || typeof message !== "string") return undefined;
  if (typeof acceptedAtMs !== "number" || typeof rejectedAtMs !== "number") return undefined;
  if ((codec !== 0 && codec !== 1) || (codec === 1 && typeof payload !== "string")) return undefined;
  const rejection = { code, message, ...(typeof statusCode === "number" ? { statusCode } : {}) };
  const routing = readRouting(fields["routing"]);
  const content = codec === 0 ? Buffer.from(JSON.stringify(payload)) : Buffer.from(payload as string, "base64");
  const record: LogRecord = {
    offset,
    id,
    bytes: content,
    size: content.length,
    codec,
    routing,
    acceptedAtMs,
    replayed: true,
    isTimeDoubtful: fields["isTimeDoubtful"] === true,
  };
  const wasAccepted = fields["wasAccepted"] !== false;
  return { id: uuidText(id), acceptedAtMs, rejectedAtMs, rejection, routing, record, wasAccepted };
}

function readRouting(value: unknown): Routing {
  const routing = Object.create(null) as Record<string, string>;
  if (typeof value !== "object" || value === null) return routing;
  for (const [name, text] of Object.entries(value)) if (typeof text === "string") routing[name] = text;
  return routing;
}
