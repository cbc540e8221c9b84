/**
 * Names of destinations that come from messages come from anyone. So that a flow that runs away, or whoever sends the
 * messages, cannot fill a server with thousands of collections or indices, only so many different ones are written to;
 * what is for others waits, and is not lost.
 */
import type { LogRecord } from "../record.js";
import type { Answer, Outcome } from "./target.js";

/** Above what a site has of rooms, machines and kinds of message, and far below what hurts a server. */
export const DEFAULT_MAX_DESTINATIONS = 100;
/** Elasticsearch's own limit is 1,000 shards on a node; a collection of MongoDB costs files and memory. */
export const MOST_MAX_DESTINATIONS = 10_000;

export class DestinationLimit {
  readonly #most: number;
  /** Those that were let through, in this life of the target. */
  readonly #names = new Set<string>();

  /** @param most 0 for no limit */
  constructor(most: number) {
    this.#most = most;
  }

  /** Whether records may be sent to the destination of this name, which counts from now on. */
  admits(name: string): boolean {
    if (this.#most === 0 || this.#names.has(name)) return true;
    if (this.#names.size >= this.#most) return false;
    this.#names.add(name);
    return true;
  }

  /** The answer to a batch that was not let through: it waits, and its neighbours go on. */
  holding(batch: readonly LogRecord[], name: string): Answer {
    const cause = Object.assign(
      new Error(
        `Messages have named ${this.#most} different destinations, as many as the settings allow: what is for ${JSON.stringify(name)} and other new ones waits.`,
      ),
      { code: "too-many-destinations" },
    );
    const outcome: Outcome = { kind: "retry", cause };
    return { outcomes: batch.map(() => outcome), consequence: { kind: "hold", cause } };
  }
}
