/**
 * Records that their target will never take, kept with the reason until the user decides about them. The same log as
 * everywhere, in a folder of its own: a record is synced here before it is confirmed there.
 */
import type { LogRecord, Routing } from "../record.js";
import { uuidText } from "../record.js";
import type { Rejection } from "../targets/target.js";
import type { Flushed, Flusher } from "../log/flush.js";
import type { Log } from "../log/log.js";
import type { DeadLetterSink } from "./dead-letter-sink.js";

/** The one consumer of a dead-letter log: the user. */
export const KEEPER = "keeper";

export class DeadLetters implements DeadLetterSink {
  readonly #log: Log;
  readonly #flusher: Flusher;
  readonly #flushed: Flushed;

  constructor(log: Log, flusher: Flusher, flushed: Flushed) {
    this.#log = log;
    this.#flusher = flusher;
    this.#flushed = flushed;
  }

  /** How many are kept. */
  get count(): number {
    return this.#log.consumer(KEEPER).backlog().records;
  }

  setAside(record: LogRecord, rejection: Rejection): Promise<void> {
    const offset = this.#log.append(letterText(record, rejection), NO_ROUTING);
    return new Promise((resolve) => {
      this.#flushed.whenSynced(offset, resolve);
      this.#flusher.poke(this.#flushed);
    });
  }

  async close(): Promise<void> {
    await this.#flusher.remove(this.#flushed);
    await this.#log.close();
    this.#flushed.release();
  }
}

const NO_ROUTING: Routing = {};

/** A letter is JSON: the payload as it is where it is JSON itself, else its bytes in base64. */
function letterText(record: LogRecord, rejection: Rejection): string {
  const head = JSON.stringify({
    id: uuidText(record.id),
    acceptedAtMs: record.acceptedAtMs,
    code: rejection.code,
    message: rejection.message,
    statusCode: rejection.statusCode,
    routing: record.routing,
    codec: record.codec,
  });
  const payload = record.codec === 0 ? record.bytes.toString("utf8") : JSON.stringify(record.bytes.toString("base64"));
  return `${head.slice(0, -1)},"payload":${payload}}`;
}
