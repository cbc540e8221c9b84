/**
 * Who belongs to a pool: the exporters and pools wired to its output, directly or through junctions and link nodes.
 * Read from the wires each time, since nothing tells a node that its wires have changed.
 */
import type { Node } from "node-red";
import { type PoolMember, isPool, memberOf } from "../shared/membership.js";

/** What of a node is looked at; more than its type declares. */
interface Wired extends Node {
  readonly wires?: readonly (readonly string[])[];
  /** Of a link out node: "link", or "return" for the way back from a call. */
  readonly mode?: string;
}

export interface Followed {
  /** The exporters, those of inner pools included, each once, by id. */
  readonly members: ReadonlyMap<string, PoolMember>;
  /** All that the pool stores for when it stores for the members: they, and the inner pools between. */
  readonly storedFor: readonly string[];
  /** Wired, and not there: disabled, or of a type that is not installed. Whatever it is, it keeps its place. */
  readonly absent: ReadonlySet<string>;
  /** Something else is wired, too: the message has to be sent on. */
  readonly hasOthers: boolean;
}

/**
 * @param hasTransform of the pool: else whoever has a transform of its own makes other records, and has to keep them
 * itself
 */
export function followWires(
  pool: Node,
  hasTransform: boolean,
  getNode: (id: string) => Node | null | undefined,
): Followed {
  const members = new Map<string, PoolMember>();
  const storedFor: string[] = [];
  const absent = new Set<string>();
  let hasOthers = false;
  const seen = new Set([pool.id]);
  const waiting: Wired[] = [pool];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    for (const id of (node.wires ?? []).flat()) {
      if (seen.has(id)) continue;
      seen.add(id);
      const next: Wired | null | undefined = getNode(id);
      if (next === null || next === undefined) absent.add(id);
      else if (isPassage(next)) waiting.push(next);
      else {
        const member = memberOf(next);
        if (member === undefined || (member.hasTransform && !hasTransform)) hasOthers = true;
        else {
          storedFor.push(id);
          if (isPool(next)) waiting.push(next);
          else members.set(id, member);
        }
      }
    }
  }
  return { members, storedFor, absent, hasOthers };
}

/** A node that hands every message on as it is. A link call, or a return to one, is more than a wire. */
function isPassage({ type, mode }: Wired): boolean {
  return type === "junction" || type === "link in" || (type === "link out" && mode !== "return");
}
