/**
 * How the queues of a runtime stand, for people: what waits, how fast it goes, what went wrong. Nothing here is asked
 * for by the engine itself.
 */
import type { DeliveryCounters, DeliveryStatus } from "../delivery/events.js";
import type { Rates } from "../delivery/throughput.js";
import { Exporter } from "./exporter.js";
import type { Dropped } from "./limits.js";
import type { ExporterStatus, Member } from "./member.js";
import type { Pool } from "./pool.js";

export interface MemberOverview {
  readonly id: string;
  readonly status: ExporterStatus;
  readonly counters: DeliveryCounters;
  readonly rates: Rates;
  readonly lastError: DeliveryStatus["lastError"];
  /** Destinations that wait while others go on, with the reason. */
  readonly held: readonly { readonly destination: string; readonly message: string }[];
}

export interface QueueOverview {
  /** Id of the node it belongs to. */
  readonly id: string;
  readonly kind: "exporter" | "pool";
  readonly members: readonly MemberOverview[];
  /** Of a pool: members that have left their place behind, with the records that wait for each. */
  readonly departed: readonly { readonly id: string; readonly waiting: number }[];
  readonly diskBytes: number;
  readonly memoryBytes: number;
  /** By the limit that spoke, in this life. */
  readonly dropped: Dropped;
  /** Messages for which the transform gave nothing. */
  readonly filtered: number;
  /** Of a pool: what could not be accepted at all. Those of an exporter are among its member's. */
  readonly deadLetters: number;
}

/** Destinations shown; there may be one for each day, or device. */
const MOST_HELD = 20;

export function overviewOf(opened: Exporter | Pool): QueueOverview {
  const { id, queue, members } = opened;
  const isPool = !(opened instanceof Exporter);
  return {
    id,
    kind: isPool ? "pool" : "exporter",
    members: Array.from(members.values(), memberOverview),
    departed: isPool ? Array.from(queue.orphans, ([member, waiting]) => ({ id: member, waiting })) : [],
    diskBytes: queue.log.neededDiskBytes,
    memoryBytes: queue.memoryBytes,
    dropped: queue.dropped,
    filtered: queue.filtered,
    deadLetters: isPool ? opened.deadLetters.count : 0,
  };
}

function memberOverview(member: Member): MemberOverview {
  const { held, lastError, rates } = member.delivery;
  return {
    id: member.id,
    status: member.status(),
    counters: member.counters,
    rates,
    lastError,
    held: held.slice(0, MOST_HELD).map(({ destination, cause }) => ({ destination, message: cause.message })),
  };
}
