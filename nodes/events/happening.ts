/**
 * What the events node tells: the engine's events in a shape that flows can rely on, one word for each thing that can
 * happen. Looking up names and sending is `events.ts`.
 */
import type { DeliveryEvent } from "../../src/delivery/events.js";
import { codeOf } from "../../src/delivery/events.js";
import { uuidText } from "../../src/record.js";
import type { RuntimeEvent } from "../../src/runtime/runtime.js";

/** What a user can choose to hear of. */
export const GROUPS = ["network", "circuit", "held", "backlog", "drops", "rejected", "storage", "losses"] as const;
export type Group = (typeof GROUPS)[number];

export interface Happening {
  readonly group: Group;
  readonly kind: string;
  /** Id of the queue: of the exporter's node, or of the pool's. Undefined: it concerns the runtime. */
  readonly queue?: string;
  /** Id of the exporter's node. */
  readonly exporter?: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** Undefined for what nobody outside needs to know. */
export function happeningOf(event: RuntimeEvent): Happening | undefined {
  switch (event.kind) {
    case "network":
      if (event.state.kind === "unknown") return undefined;
      if (event.state.kind === "online") return { group: "network", kind: "online", details: {} };
      return {
        group: "network",
        kind: "offline",
        details: { proof: event.state.proof, message: event.state.cause.message },
      };
    case "storage":
      if (event.trouble === undefined)
        return { group: "storage", kind: "storageMended", queue: event.log, details: {} };
      return { group: "storage", kind: "storageTrouble", queue: event.log, details: told(event.trouble) };
    case "unreadable":
    case "deadLetterTrouble":
      return { group: "storage", kind: event.kind, queue: event.log, details: { message: event.message } };
    case "overflow": {
      const { newest, oldest, aged, forgotten } = event;
      return {
        group: "drops",
        kind: "overflow",
        queue: event.log,
        details: { records: newest + oldest + aged + forgotten, newest, oldest, aged, forgotten },
      };
    }
    case "loss": {
      const { kind, path, bytes } = event.loss;
      return { group: "losses", kind: "loss", queue: event.log, details: { cause: kind, path, bytes } };
    }
    case "torn":
      return { group: "losses", kind: "torn", queue: event.log, details: { bytes: event.bytes } };
    case "foreign":
      return { group: "losses", kind: "foreign", queue: event.log, details: { path: event.path } };
    case "restored": {
      const { files, records } = event;
      return { group: "losses", kind: "restored", queue: event.log, details: { files, records } };
    }
    case "delivery": {
      const found = deliveryHappening(event.event);
      return found === undefined ? undefined : { ...found, queue: event.log, exporter: event.member };
    }
    default:
      return event satisfies never;
  }
}

function deliveryHappening(event: Exclude<DeliveryEvent, { kind: "answered" }>): Happening | undefined {
  switch (event.kind) {
    case "opened":
      return { group: "circuit", kind: "targetUp", details: {} };
    case "circuitOpened":
      return { group: "circuit", kind: "targetDown", details: { ...told(event.cause), isConfig: event.isConfig } };
    case "circuitClosed":
      return { group: "circuit", kind: "targetUp", details: { downMs: Math.round(event.downMs) } };
    case "silent":
      if (event.cause === undefined) return { group: "circuit", kind: "targetAnswers", details: {} };
      return { group: "circuit", kind: "targetSilent", details: told(event.cause) };
    case "stopped":
      return { group: "circuit", kind: "stopped", details: told(event.cause) };
    case "held": {
      const { destination, cause, byGuard } = event;
      return { group: "held", kind: "held", details: { destination, ...told(cause), byGuard } };
    }
    case "letGo":
      return { group: "held", kind: "letGo", details: { destination: event.destination } };
    case "dropped": {
      const { records, bytes, cause } = event;
      return { group: "drops", kind: "dropped", details: { records, bytes, ...told(cause) } };
    }
    case "rejected": {
      const { code, message, statusCode } = event.rejection;
      const ids = [uuidText(event.record.id)];
      return { group: "rejected", kind: "rejected", details: { records: 1, code, message, statusCode, ids } };
    }
    case "setAsideFailed":
    case "sourceFailed":
      return { group: "storage", kind: event.kind, details: told(event.cause) };
    case "throttled":
      return undefined; // part of a target's ordinary day
    default:
      return event satisfies never;
  }
}

function told(error: Error): { message: string; code: string } {
  return { message: error.message, code: codeOf(error) };
}

/** Ids in one message about records that were rejected. */
const MOST_IDS = 100;

/** Rejections of one kind are told together: a wrong setting may cause thousands. */
export function together(a: Happening, b: Happening): Happening {
  const records = Number(a.details["records"]) + Number(b.details["records"]);
  const ids = [...(a.details["ids"] as string[]), ...(b.details["ids"] as string[])].slice(0, MOST_IDS);
  return { ...a, details: { ...a.details, records, ids } };
}

/** What is told together with others of the same; undefined: at once, by itself. */
export function gatheredBy({ kind, queue, exporter, details }: Happening): string | undefined {
  return kind === "rejected" ? `${queue} ${exporter} ${String(details["code"])}` : undefined;
}
