/**
 * Tells a batch that breaks its connection from an outage. A firewall that resets on what a record holds, a proxy or a
 * server that takes no more than so much, just drops the connection: without this such a record would stay at the head
 * of the queue for ever, and everything behind it. Which errors mean that, and what follows, each target knows.
 */
import { uuidText, type LogRecord } from "../record.js";

/** So often in a row has a batch ended so when it is suspected itself: once is how any outage begins. */
const SUSPECT_DEATHS = 2;
/** More batches than are ever in flight at once. */
const MAX_BATCHES = 64;

/**
 * So many batches are blamed with none answered in between. When there are more, nothing gets through but probes: then
 * records wait, as in any outage, and do not go to the dead letters one by one.
 */
const MOST_BLAMED = 20;

/** What to tell the user of records that are to blame; the words of the failure follow. */
export const DROPPED_EACH_TIME = {
  code: "connection-dropped",
  what: "the connection was dropped each time this was sent, although the server answers: too large, or refused by a firewall or proxy?",
} as const;

export class Suspects {
  /** How often in a row batches ended so, by their first record: it stays the first while the batch is made anew. */
  readonly #deaths = new Map<string, number>();
  /** First records of the batches that were blamed since one was answered. */
  readonly #blamed = new Set<string>();

  /**
   * Call when the connection had been made and was dropped while this batch was under way (or what came back made no
   * sense). Resolves to true when that has happened to it before and the other end is there: the batch is to be halved,
   * a single record to be sent alone.
   * @param first of the records that were sent
   * @param probe asks the other end, and rejects when it does not answer
   */
  async isToBlame(first: LogRecord, probe: () => Promise<unknown>): Promise<boolean> {
    const id = uuidText(first.id);
    const deaths = (this.#deaths.get(id) ?? 0) + 1;
    // Anew, so that the first entry is the one that was not heard of for longest.
    this.#deaths.delete(id);
    this.#deaths.set(id, deaths);
    const [oldest] = this.#deaths.keys();
    if (this.#deaths.size > MAX_BATCHES && oldest !== undefined) this.#deaths.delete(oldest);
    if (deaths < SUSPECT_DEATHS) return false;
    if (this.#blamed.size >= MOST_BLAMED && !this.#blamed.has(id)) return false;
    try {
      await probe();
      this.#blamed.add(id);
      return true;
    } catch {
      // The other end is not there, so the batch is not to blame; the error at hand tells enough.
      return false;
    }
  }

  /** The batch that begins with this record was answered: something gets through. */
  forget(first: LogRecord): void {
    this.#blamed.clear();
    if (this.#deaths.size > 0) this.#deaths.delete(uuidText(first.id));
  }
}
