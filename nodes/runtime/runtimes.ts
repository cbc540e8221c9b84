/** The runtimes of this Node-RED as other nodes see them, and what happens in them. */
import type { Node } from "node-red";
import type { Runtime, RuntimeEvent } from "../../src/runtime/runtime.js";
import type { FlushSettings } from "../../src/runtime/settings.js";
import type { RuntimeUser } from "./shared-runtime.js";

export interface RuntimeNode extends Node {
  /** What exporters inherit value by value. */
  flush: FlushSettings;
  /** Node-RED shows this node's status and errors on the flows of these nodes, by id. */
  users: Record<string, Node>;
  /** The engine, while it is open. */
  engine: Runtime | undefined;
  /** Why it is not open, when that has been tried. */
  failure: string | undefined;
  /** As `SharedRuntime.register`. */
  register(node: Node, user: RuntimeUser): () => void;
}

/** Hears what happens in every runtime; must not throw. */
export type RuntimeListener = (runtime: RuntimeNode, event: RuntimeEvent) => void;

const runtimes = new Set<RuntimeNode>();
const listeners = new Set<RuntimeListener>();

/** Returns the way to leave. */
export function enter(runtime: RuntimeNode): () => void {
  runtimes.add(runtime);
  return () => runtimes.delete(runtime);
}

export function openRuntimes(): readonly RuntimeNode[] {
  return [...runtimes];
}

export function tellListeners(runtime: RuntimeNode, event: RuntimeEvent): void {
  for (const listener of listeners) listener(runtime, event);
}

/** Returns the way to stop listening. */
export function onRuntimeEvent(listener: RuntimeListener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
