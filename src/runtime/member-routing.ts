/**
 * Where a record of a pool goes, for each member: members of one kind use the same names (two files, two collections),
 * so each has its part of the routing under its own id, and sees only that.
 */
import type { Routing } from "../record.js";

/** What all members share: it belongs to the record, not to a destination. */
const SHARED = "topic";
const SEPARATOR = "/";

/** One routing for all members, from the routing that each of them would use. */
export function mergeRoutings(parts: Iterable<readonly [member: string, routing: Routing]>): Routing {
  const merged: Record<string, string> = {};
  for (const [member, routing] of parts) {
    for (const [name, value] of Object.entries(routing)) {
      merged[name === SHARED ? SHARED : member + SEPARATOR + name] = value;
    }
  }
  return merged;
}

/** What a member sees: its own part, and what was given for all. */
export function viewOf(member: string): (routing: Routing) => Routing {
  const prefix = member + SEPARATOR;
  // A block has one object for each routing, however many records have it.
  const known = new WeakMap<Routing, Routing>();
  return (routing) => {
    let own = known.get(routing);
    if (own === undefined) known.set(routing, (own = ownPart(routing, prefix)));
    return own;
  };
}

function ownPart(routing: Routing, prefix: string): Routing {
  const own = Object.create(null) as Record<string, string>; // without a prototype no name can reach one
  for (const [name, value] of Object.entries(routing)) {
    if (name.startsWith(prefix)) own[name.slice(prefix.length)] = value;
    else if (!name.includes(SEPARATOR)) own[name] ??= value;
  }
  return Object.freeze(own);
}
