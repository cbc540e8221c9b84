/** What became of one batch: what a program, or the report output of a node, hears of it. */
import type { DeliveryEvent } from "../delivery/events.js";
import { type Routing, uuidText } from "../record.js";
import type { Rejection } from "../targets/target.js";

export interface DeliveryReport {
  /** Where the batch went: the target's own name of the place. */
  readonly destination: string;
  /** Ids of the records that are there now, those that were there already included. */
  readonly delivered: readonly string[];
  /** How many of these an earlier attempt had delivered. */
  readonly duplicates: number;
  /** They are sent again later, with the same ids. */
  readonly retried: readonly string[];
  /** Never to be delivered. */
  readonly rejected: readonly { readonly id: string; readonly rejection: Rejection; readonly routing: Routing }[];
}

/** What an answer to a batch says of its records. */
export function reportOf(event: Extract<DeliveryEvent, { kind: "answered" }>): DeliveryReport {
  const delivered: string[] = [];
  const retried: string[] = [];
  const rejected: DeliveryReport["rejected"][number][] = [];
  let duplicates = 0;
  event.records.forEach((record, i) => {
    const outcome = event.outcomes[i]!;
    const id = uuidText(record.id);
    if (outcome.kind === "rejected") rejected.push({ id, rejection: outcome.cause, routing: record.routing });
    else if (outcome.kind === "retry") retried.push(id);
    else delivered.push(id);
    if (outcome.kind === "duplicate") duplicates++;
  });
  return { destination: event.destination, delivered, duplicates, retried, rejected };
}
