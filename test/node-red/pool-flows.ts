/**
 * Flows with pools: a source that counts and acknowledges, a pool, and what is wired to it. What was accepted is kept in
 * a global, as for the flows of one exporter.
 */
import assert from "node:assert/strict";
import type { FlowNode, NodeRed } from "../support/node-red.js";
import { exporterNode, runtimeNode } from "./flows.js";

export const TAB: FlowNode = { id: "tab", type: "tab", label: "test" };
export const TAB2: FlowNode = { id: "tab2", type: "tab", label: "second" };

/** A file exporter named like its file: `a` writes a.jsonl. */
export function member(id: string, more: object = {}): FlowNode {
  return exporterNode({ id, file: `${id}.jsonl`, ...more });
}

export function poolNode(to: readonly string[], more: object = {}): FlowNode {
  return {
    id: "pool",
    type: "resilient-pool",
    z: "tab",
    name: "",
    runtime: "rt",
    data: "payload",
    dataType: "msg",
    control: true,
    transform: {},
    flush: {},
    wires: [to],
    ...more,
  };
}

/** Sends 1, 2, 3 ... to a node, a number of them each time; goes on after a deploy where it was. Its id: source. */
export function source(to: string, everyMs = 5, count = 1): FlowNode {
  return fn("source", "observers", "", [[`link-${to}`]], {
    initialize: `context.timer = setInterval(() => {
      for (let i = 0; i < ${count}; i++) {
        const n = (global.get("n") ?? 0) + 1;
        global.set("n", n);
        node.send({ payload: n, topic: "count" });
      }
    }, ${everyMs});`,
    finalize: "clearInterval(context.timer);",
  });
}

/** The runtime, and on a tab of its own what feeds `to` and answers for what was heard of it and the others. */
export function around(to: string, heard: readonly string[] = [to], runtime: object = {}): FlowNode[] {
  const z = "observers";
  const note = (key: string, value: string): string =>
    `const heard = global.get("${key}") ?? []; heard.push(${value}); global.set("${key}", heard);`;
  return [
    runtimeNode(runtime),
    { id: z, type: "tab", label: "observers" },
    { id: `link-${to}`, type: "link out", z, mode: "link", links: ["link-in"], wires: [] },
    { id: "link-in", type: "link in", z: "tab", links: [`link-${to}`], wires: [[to]] },
    { id: "in-heard", type: "http in", z, url: "/heard", method: "get", upload: false, wires: [["fn-heard"]] },
    fn(
      "fn-heard",
      z,
      `msg.payload = { sent: global.get("n") ?? 0 };
       for (const key of ["completed", "caught", "statuses", "passed"]) msg.payload[key] = global.get(key) ?? [];
       return msg;`,
      [["out-heard"]],
    ),
    { id: "out-heard", type: "http response", z, wires: [] },
    { id: "in-send", type: "http in", z, url: "/send", method: "post", upload: false, wires: [["fn-send"]] },
    fn(
      "fn-send",
      z,
      "for (const message of msg.payload) node.send([message, null]); msg.payload = {}; return [null, msg];",
      [[`link-${to}`], ["out-heard"]],
      { outputs: 2 },
    ),
    { id: "complete", type: "complete", z: "tab", scope: [to], wires: [["note-completed"]] },
    fn("note-completed", "tab", note("completed", "msg.payload")),
    { id: "catch", type: "catch", z: "tab", scope: null, wires: [["note-caught"]] },
    fn(
      "note-caught",
      "tab",
      note(
        "caught",
        "{ payload: msg.payload, id: msg.error.source.id, message: msg.error.message, code: msg.error.code }",
      ),
    ),
    { id: "status", type: "status", z: "tab", scope: heard, wires: [["note-status"]] },
    fn("note-status", "tab", note("statuses", "msg.status.source.id + ': ' + msg.status.fill + ' ' + msg.status.text")),
    // Wired where a test wants to know what a pool sends on.
    fn("passed", "tab", note("passed", "msg.payload")),
  ];
}

export interface PoolHeard {
  readonly sent: number;
  readonly completed: readonly number[];
  readonly caught: readonly { payload: unknown; id: string; message: string; code?: string }[];
  readonly statuses: readonly string[];
  readonly passed: readonly unknown[];
}

export async function poolHeard(nodeRed: NodeRed): Promise<PoolHeard> {
  return (await nodeRed.request("/heard")) as PoolHeard;
}

/**
 * All that a Complete node heard of is there, each once and in order. There may be more, but only of what was sent: what is
 * stored while flows are being stopped is not heard of by a Complete node that has been stopped already, nor by one whose
 * way on has. Node-RED's own nodes fare no better. What comes while a node is being closed is refused: its sender is told,
 * and it is not there.
 */
export function assertStored(stored: readonly number[], { completed, caught, sent }: PoolHeard): void {
  const isStored = new Set(stored);
  assert.deepEqual(
    caught.filter(({ code, payload }) => code !== "closed" || isStored.has(payload as number)),
    [],
    "refused for another reason than a close, or refused and there all the same",
  );
  assert.deepEqual(
    completed.filter((n) => !isStored.has(n)),
    [],
    "completed, and not there",
  );
  const bounded = [0, ...stored, sent + 1];
  assert.ok(
    bounded.every((n, i) => i === 0 || n > bounded[i - 1]!),
    `not in order, doubled, or never sent: ${stored.join()}`,
  );
}

export function fn(id: string, z: string, func: string, wires: string[][] = [], more: object = {}): FlowNode {
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
