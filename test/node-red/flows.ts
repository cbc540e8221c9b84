/**
 * Flows that the tests deploy: a source that counts, an exporter, and what listens to it. All they saw is asked for
 * over HTTP, so that a test need not read logs.
 */
import { existsSync, readFileSync } from "node:fs";
import type { FlowNode, NodeRed } from "../support/node-red.js";

export const TAB: FlowNode = { id: "tab", type: "tab", label: "test" };

export function runtimeNode(more: object = {}): FlowNode {
  return { id: "rt", type: "resilient-runtime", name: "", folder: "", budgets: {}, flush: {}, ...more };
}

export function exporterNode(more: object = {}): FlowNode {
  return {
    id: "exporter",
    type: "resilient-file",
    z: "tab",
    name: "",
    runtime: "rt",
    file: "out.jsonl",
    fileType: "str",
    folder: "",
    createFolders: false,
    data: "payload",
    dataType: "msg",
    control: true,
    flush: {},
    wires: [],
    ...more,
  };
}

/** Sends 1, 2, 3 ... into the exporter, one every few ms, going on after a deploy where it was. */
export function countingSource(everyMs = 3, z = "tab"): FlowNode {
  return functionNode("source", z, "", [["exporter"]], {
    initialize: `context.timer = setInterval(() => {
      const n = (global.get("n") ?? 0) + 1;
      global.set("n", n);
      node.send({ payload: n, topic: "count" });
    }, ${everyMs});`,
    finalize: "clearInterval(context.timer);",
  });
}

/** Listens to the exporter's Complete, Catch and Status, and answers for what it heard; takes messages for it too. */
export function listeners(scope: readonly string[] | null = null): FlowNode[] {
  const z = "observers";
  const note = (key: string, value: string): string =>
    `const heard = global.get("${key}") ?? []; heard.push(${value}); global.set("${key}", heard);`;
  return [
    { id: z, type: "tab", label: "observers" },
    httpIn("in-heard", "get", "/heard", z, "fn-heard"),
    functionNode(
      "fn-heard",
      z,
      `msg.payload = { sent: global.get("n") ?? 0 };
       for (const key of ["completed", "caught", "statuses"]) msg.payload[key] = global.get(key) ?? [];
       return msg;`,
      [["out-heard"]],
    ),
    { id: "out-heard", type: "http response", z, wires: [] },
    httpIn("in-send", "post", "/send", z, "fn-send"),
    functionNode(
      "fn-send",
      z,
      "for (const message of msg.payload) node.send([message, null]); msg.payload = {}; return [null, msg];",
      [["to-exporter"], ["out-heard"]],
      { outputs: 2 },
    ),
    { id: "to-exporter", type: "link out", z, mode: "link", links: ["from-observers"], wires: [] },
    { id: "from-observers", type: "link in", z: "tab", links: ["to-exporter"], wires: [["exporter"]] },
    { id: "complete", type: "complete", z: "tab", scope: ["exporter"], wires: [["note-completed"]] },
    functionNode("note-completed", "tab", note("completed", "msg.payload")),
    { id: "catch", type: "catch", z: "tab", scope, wires: [["note-caught"]] },
    functionNode(
      "note-caught",
      "tab",
      note(
        "caught",
        "{ payload: msg.payload, topic: msg.topic, message: msg.error.message, code: msg.error.code, statusCode: msg.statusCode, rejection: msg.rejection }",
      ),
    ),
    { id: "status", type: "status", z: "tab", scope: ["exporter"], wires: [["note-status"]] },
    functionNode(
      "note-status",
      "tab",
      note("statuses", "[msg.status.fill, msg.status.shape, msg.status.text].join(' ')"),
    ),
  ];
}

export interface Heard {
  readonly sent: number;
  readonly completed: readonly unknown[];
  readonly caught: readonly {
    readonly payload: unknown;
    readonly topic?: string;
    readonly message: string;
    readonly code?: string;
    readonly statusCode?: number;
    readonly rejection?: Readonly<Record<string, string>>;
  }[];
  readonly statuses: readonly string[];
}

export async function heard(nodeRed: NodeRed): Promise<Heard> {
  return (await nodeRed.request("/heard")) as Heard;
}

/** Sends messages into the exporter. */
export async function send(nodeRed: NodeRed, ...messages: object[]): Promise<void> {
  await nodeRed.request("/send", { method: "POST", body: JSON.stringify(messages) });
}

/** Longer than a write takes that has begun. */
const WRITE_MS = 5_000;

/** The lines of a file, each parsed; none while it does not exist. */
export function linesOf(path: string): unknown[] {
  if (!existsSync(path)) return [];
  let text = readFileSync(path, "utf8");
  // Who reads while another process writes may see a part: as many pages as were filled by then.
  const endMs = performance.now() + WRITE_MS;
  while (text !== "" && !text.endsWith("\n") && performance.now() < endMs) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    text = readFileSync(path, "utf8");
  }
  const lines = text.split("\n");
  if (lines.pop() !== "") throw new Error(`${path} ends within a line: ${text.slice(-40)}`);
  return lines.map((line): unknown => JSON.parse(line));
}

export interface Noted {
  readonly reports: readonly {
    readonly delivered: number;
    readonly rejected: readonly { readonly code: string; readonly message: string; readonly routing: object }[];
    readonly ids: { readonly delivered: readonly string[] };
    readonly exporter: { readonly id: string; readonly type: string };
    readonly destination: string;
  }[];
  readonly events: readonly { readonly kind: string; readonly [property: string]: unknown }[];
}

/** What the report output and the events node have sent. */
export function notes(): FlowNode[] {
  const note = (key: string): FlowNode => ({
    id: `note-${key}`,
    type: "function",
    z: "tab",
    name: "",
    outputs: 0,
    func: `const noted = global.get("${key}") ?? []; noted.push(msg.payload); global.set("${key}", noted);`,
    wires: [],
  });
  return [
    { ...note("reports"), initialize: 'global.set("reports", []);' },
    { ...note("events"), initialize: 'global.set("events", []);' },
    { id: "in-noted", type: "http in", z: "tab", url: "/noted", method: "get", upload: false, wires: [["fn-noted"]] },
    {
      id: "fn-noted",
      type: "function",
      z: "tab",
      name: "",
      outputs: 1,
      func: 'msg.payload = { reports: global.get("reports"), events: global.get("events") }; return msg;',
      wires: [["out-noted"]],
    },
    { id: "out-noted", type: "http response", z: "tab", wires: [] },
  ];
}

export async function noted(nodeRed: NodeRed): Promise<Noted> {
  return (await nodeRed.request("/noted")) as Noted;
}

/** Tells what happens to `notes`. */
export function eventsNode(more: object = {}): FlowNode {
  const node = {
    id: "events",
    type: "resilient-events",
    z: "tab",
    name: "",
    runtime: "rt",
    groups: {},
    thresholds: {},
  };
  return { ...node, wires: [["note-events"]], ...more };
}

/** Asks again and again until it holds: another process cannot call back. @throws when it does not come in time */
export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const giveUpAt = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > giveUpAt) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function httpIn(id: string, method: string, url: string, z: string, to: string): FlowNode {
  return { id, type: "http in", z, url, method, upload: false, wires: [[to]] };
}

function functionNode(id: string, z: string, func: string, wires: string[][] = [], more: object = {}): FlowNode {
  return {
    id,
    type: "function",
    z,
    name: id,
    func,
    outputs: 1,
    initialize: "",
    finalize: "",
    libs: [],
    wires,
    ...more,
  };
}
