/**
 * The transform of an exporter or pool, as its dialog holds it. JavaScript has what a function node has, as far as it
 * makes sense for one value at a time, and its time limit; whoever may edit flows may run code.
 */
import type { Node, NodeAPI } from "node-red";
import { type Transform, type TransformKind, compile } from "../../src/transform.js";
import { valueOf } from "./config.js";

const KINDS: readonly unknown[] = ["none", "jsonata", "javascript"] satisfies TransformKind[];

/** What the dialog has saved, not checked yet. */
interface Saved {
  readonly kind?: unknown;
  readonly source?: unknown;
  readonly timeoutS?: unknown;
}

/** @throws {TransformError} when it does not compile: the node cannot work then */
export function transformOf(RED: NodeAPI, node: Node, config: object): Transform | undefined {
  const saved = valueOf(config, "transform");
  const { kind, source, timeoutS } = (typeof saved === "object" && saved !== null ? saved : {}) as Saved;
  if (!KINDS.includes(kind) || kind === "none") return undefined;
  return compile(kind as TransformKind, typeof source === "string" ? source : "", {
    timeoutMs: timeoutMsOf(RED, timeoutS),
    globals: kind === "javascript" ? functionGlobals(RED, node) : jsonataGlobals(RED, node),
  });
}

/** As in the function node: its own, else `functionTimeout` of the settings, else none. */
function timeoutMsOf(RED: NodeAPI, own: unknown): number {
  for (const seconds of [own, (RED.settings as { functionTimeout?: unknown }).functionTimeout]) {
    const value = typeof seconds === "string" && seconds.trim() !== "" ? Number(seconds) : seconds;
    if (typeof value === "number" && value >= 0 && Number.isFinite(value)) return Math.round(value * 1_000);
  }
  return 0;
}

function functionGlobals(RED: NodeAPI, node: Node): Record<string, unknown> {
  const context = node.context();
  return {
    RED: { util: RED.util },
    env: { get: (name: string) => environment(RED, node, name) },
    context,
    flow: context.flow,
    global: context.global,
    node: {
      id: node.id,
      name: node.name,
      log: (said: unknown) => node.log(String(said)),
      warn: (said: unknown) => node.warn(said),
      error: (said: unknown) => node.error(said),
    },
  };
}

/** The functions that Node-RED adds to JSONata. */
function jsonataGlobals(RED: NodeAPI, node: Node): Record<string, unknown> {
  const { flow, global } = node.context();
  return {
    env: (name: string) => environment(RED, node, name),
    flowContext: (key: string, store?: string) => flow.get(key, store),
    globalContext: (key: string, store?: string) => global.get(key, store),
    clone: (value: object) => RED.util.cloneMessage(value as never) as unknown,
  };
}

function environment(RED: NodeAPI, node: Node, name: string): unknown {
  return RED.util.evaluateNodeProperty(name, "env", node, {});
}
