/**
 * Who belongs to a pool: the exporters and pools wired to its output, directly or through junctions and link nodes.
 * Read from the wires each time, since nothing tells a node that its wires have changed.
 */
import type { Node } from "node-red";
import { type PoolMember, isPool, memberOf } from "../shared/membership.js";
import type { Described } from "./described.js";

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
  /** Of these, and of what is wired behind them, those that would be members: the pool stores for them meanwhile. */
  readonly disabled: ReadonlySet<string>;
  /** Something else is wired, too: the message has to be sent on. */
  readonly hasOthers: boolean;
  /** Pools and wires alone lead back to the pool: what it sends on comes back to it. */
  readonly isLoop: boolean;
}

/**
 * @param hasTransform of the pool: else whoever has a transform of its own makes other records, and has to keep them
 * itself
 * @param describe a node as the flow has it, also when it is disabled
 */
export function followWires(
  pool: Node,
  hasTransform: boolean,
  getNode: (id: string) => Node | null | undefined,
  describe: (id: string) => Described | undefined,
): Followed {
  const members = new Map<string, PoolMember>();
  const storedFor: string[] = [];
  const absent = new Set<string>();
  let hasOthers = false;
  let isLoop = false;
  const seen = new Set([pool.id]);
  const waiting: Wired[] = [pool];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    for (const id of (node.wires ?? []).flat()) {
      if (id === pool.id) isLoop = true;
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
          else {
            members.set(id, member);
            exporterTypes.add(next.type);
          }
        }
      }
    }
  }
  const disabled = new Set<string>();
  const cut = [...absent];
  for (let id = cut.pop(); id !== undefined; id = cut.pop()) {
    const next = describe(id);
    if (next === undefined || (next.hasTransform && !hasTransform)) continue;
    if (exporterTypes.has(next.type)) disabled.add(id);
    if (!isPassage(next) && next.type !== POOL_TYPE) continue;
    for (const behind of next.onward) {
      if (seen.has(behind)) continue;
      seen.add(behind);
      cut.push(behind);
    }
  }
  return { members, storedFor, absent: new Set([...absent, ...disabled]), disabled, hasOthers, isLoop };
}

/** What does not run has no mark: it is known by its type. Those of other packages once one of them has run. */
const exporterTypes = new Set(["resilient-file", "resilient-mongodb", "resilient-elasticsearch"]);
const POOL_TYPE = "resilient-pool";

/** A node that hands every message on as it is. A link call, or a return to one, is more than a wire. */
function isPassage({ type, mode }: Pick<Wired, "type" | "mode">): boolean {
  return type === "junction" || type === "link in" || (type === "link out" && mode !== "return");
}
