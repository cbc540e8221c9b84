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

/** What a member sees: its own part, or that of the one whose place it took over; and what was given for all. */
export function viewOf(member: string, predecessor?: string): (routing: Routing) => Routing {
  const prefixes = [member, ...(predecessor === undefined ? [] : [predecessor])].map((id) => id + SEPARATOR);
  // A block has one object for each routing, however many records have it.
  const known = new WeakMap<Routing, Routing>();
  return (routing) => {
    let own = known.get(routing);
    if (own === undefined) known.set(routing, (own = partOf(routing, prefixes)));
    return own;
  };
}

function partOf(routing: Routing, prefixes: readonly string[]): Routing {
  const part = Object.create(null) as Record<string, string>; // without a prototype no name can reach one
  const names = Object.keys(routing);
  for (const name of names) if (!name.includes(SEPARATOR)) part[name] = routing[name]!;
  const prefix = prefixes.find((candidate) => names.some((name) => name.startsWith(candidate)));
  if (prefix !== undefined) {
    for (const name of names) if (name.startsWith(prefix)) part[name.slice(prefix.length)] = routing[name]!;
  }
  return Object.freeze(part);
}
