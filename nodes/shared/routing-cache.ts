/**
 * Routings that repeat are made once: nearly every message of a flow goes to the same place with the same topic, and
 * the log recognises a routing faster when it is the same object.
 */
import type { NodeMessage } from "node-red";
import type { Routing } from "../../src/record.js";

/** A topic longer than this is no name any more; it would cost its bytes in every block. */
const MAX_TOPIC_LENGTH = 256;
/** Different routings kept; beyond it they are made anew, which costs a little time only. */
const MAX_ROUTINGS = 200;

export class RoutingCache {
  readonly #routings = new Map<string, Routing>();

  /** The routing of a message: its topic, and what the exporter itself looked up (`file` for a file exporter). */
  of(field: string, where: string | undefined, message: NodeMessage): Routing {
    return this.with(where === undefined ? {} : { [field]: where }, message);
  }

  /** The same for several fields; a cache is for one set of them, always in the same order. */
  with(fields: Routing, message: NodeMessage): Routing {
    const { topic } = message;
    const hasTopic = typeof topic === "string" && topic !== "" && topic.length <= MAX_TOPIC_LENGTH;
    let key = hasTopic ? topic : "";
    for (const name in fields) key += `\0${name}\0${fields[name]}`;
    let routing = this.#routings.get(key);
    if (routing === undefined) {
      routing = { ...fields, ...(hasTopic ? { topic } : {}) };
      if (this.#routings.size >= MAX_ROUTINGS) this.#routings.clear();
      this.#routings.set(key, routing);
    }
    return routing;
  }
}
