/**
 * The flow under chaos: a source that numbers its messages, an exporter, and a wire that tells the witness which of
 * them were accepted. The numbers grow over all lives of the process, without anything that has to be remembered.
 */
import type { Flow, FlowNode } from "../support/node-red.js";

export const SOURCE_ID = "source";
export const EXPORTER_ID = "exporter";
export const RUNTIME_ID = "rt";

export interface ChaosFlowOptions {
  /** The exporter's node without id, place and runtime: its type and what its dialog holds. */
  readonly exporter: Readonly<Record<string, unknown>>;
  readonly witnessPort: number;
  readonly messagesPerSecond: number;
  readonly runtime?: Readonly<Record<string, unknown>>;
  /** Wired behind the exporter. */
  readonly members?: Flow;
}

/** What the source sends, and what must arrive for it. */
export interface Reading {
  readonly n: number;
  readonly sensor: string;
  readonly celsius: number;
}

/** Whether a record is what the source had sent under this number. */
export function isIntact(value: unknown): value is Reading {
  if (typeof value !== "object" || value === null) return false;
  const { n, sensor, celsius } = value as Reading;
  return Number.isSafeInteger(n) && sensor === `boiler ${n % 7}` && celsius === (n % 1000) / 10;
}

export function chaosFlow({ exporter, witnessPort, messagesPerSecond, runtime, members = [] }: ChaosFlowOptions): Flow {
  const nodes: Flow = [
    { id: "tab", type: "tab", label: "chaos" },
    { id: RUNTIME_ID, type: "resilient-runtime", name: "", folder: "", budgets: {}, flush: {}, ...runtime },
    sourceNode(messagesPerSecond),
    {
      id: EXPORTER_ID,
      z: "tab",
      name: "",
      runtime: RUNTIME_ID,
      wires: [],
      ...exporter,
      type: String(exporter["type"]),
    },
    ...members,
    { id: "complete", type: "complete", z: "tab", scope: [EXPORTER_ID], wires: [["number"]] },
    functionNode("number", 'return { payload: msg.payload.n + "\\n" };', [["witness"]]),
    {
      id: "witness",
      type: "tcp out",
      z: "tab",
      name: "",
      host: "127.0.0.1",
      port: String(witnessPort),
      beserver: "client",
      base64: false,
      end: false,
      tls: "",
      wires: [],
    },
    { id: "status", type: "status", z: "tab", scope: [EXPORTER_ID], wires: [["note-status"]] },
    functionNode("note-status", 'node.warn("status: " + msg.status.text);'),
    { id: "catch", type: "catch", z: "tab", scope: null, wires: [["note-error"]] },
    functionNode("note-error", 'node.warn("caught: " + msg.error.message);'),
  ];
  // Without a place on the canvas Node-RED takes a node for a config node.
  return nodes.map((node, i) => (node["wires"] === undefined ? node : { x: 200, y: 60 * i, ...node }));
}

/** The same flow without its source: what waits is delivered, and nothing new comes. */
export function withoutSource(flow: Flow): Flow {
  return flow.filter(({ id }) => id !== SOURCE_ID);
}

/**
 * Numbers begin at the microseconds since 1970: with fewer than 1,000 messages a millisecond they grow over all lives,
 * and no number is given twice.
 */
function sourceNode(perSecond: number): FlowNode {
  return functionNode(SOURCE_ID, "", [[EXPORTER_ID]], {
    initialize: `const startedAt = Date.now();
let sent = 0;
context.timer = setInterval(() => {
  // No more at a time, however late: a turn of the event loop stays short, and less comes where the machine is busy.
  const due = Math.min(${perSecond / 20}, (Date.now() - startedAt) * ${perSecond / 1_000} - sent);
  for (let i = 0; i < due; i++) {
    const n = startedAt * 1000 + sent++;
    node.send({ topic: "boiler", payload: { n, sensor: "boiler " + (n % 7), celsius: (n % 1000) / 10 } });
  }
}, 5);`,
    finalize: "clearInterval(context.timer);",
  });
}

function functionNode(id: string, func: string, wires: string[][] = [], more: object = {}): FlowNode {
  const rest = { outputs: wires.length, initialize: "", finalize: "", libs: [], wires, ...more };
  return { id, type: "function", z: "tab", name: id, func, ...rest };
}
