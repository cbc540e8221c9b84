/**
 * What exporter and pool nodes do alike when Node-RED has just created them.
 */
import type { Node, NodeAPI, NodeMessage, NodeStatus } from "node-red";
import type { SettingProblem } from "../../src/runtime/settings.js";
import type { RuntimeNode } from "../runtime/runtimes.js";
import { textOf } from "./config.js";
import { NodeError } from "./errors.js";
import { MAX_WAITING } from "./intake.js";
import type { Translate } from "./status.js";

/** One namespace for the texts that all nodes use: the editor plugin's, as package.json names it. */
const TEXTS = "node-red-contrib-resilient-exporters/resilient-shared:";

export function sharedTexts(RED: NodeAPI): Translate {
  return (key, values) => RED._(TEXTS + key, values);
}

/** The runtime that the dialog names. Undefined where there is none: then the node refuses all messages. */
export function runtimeOf(RED: NodeAPI, node: Node, config: object, text: Translate): RuntimeNode | undefined {
  const runtime = RED.nodes.getNode(textOf(config, "runtime")) as RuntimeNode | null | undefined;
  if (typeof runtime?.register === "function") return runtime;
  const error = new NodeError("no-runtime", text("error.noRuntime"));
  refuseAll(node, error, { fill: "red", shape: "ring", text: text("status.noRuntime") });
  return undefined;
}

/** A node that cannot work says so for every message, where Catch nodes hear it, instead of losing it in silence. */
export function refuseAll(node: Node, error: Error, status: NodeStatus): void {
  node.status(status);
  node.on("input", (_message, _send, done) => done(error));
}

/** Settings that cannot be used, from a flow file or a variable; what counts in their place is said as well. */
export function tellProblems(node: Node, problems: readonly SettingProblem[]): void {
  for (const { message } of problems) node.warn(`${message} It counts as not set.`);
}

/** Node-RED's own bound for nodes that hold messages, where the user has set it. */
export function maxWaiting(RED: NodeAPI): number {
  const configured: unknown = RED.settings.nodeMessageBufferMaxLength;
  return typeof configured === "number" && configured > 0 ? configured : MAX_WAITING;
}

export function cloner(RED: NodeAPI): <T extends object>(value: T) => T {
  return <T extends object>(value: T): T => RED.util.cloneMessage(value as NodeMessage) as T;
}

/**
 * Resolves when the flows have started next, or the node is closed before: pools know their members then.
 * @param onStarted called each time that they start, until the node is closed
 */
export function whenFlowsStart(RED: NodeAPI, node: Node, onStarted: () => void = () => undefined): Promise<void> {
  return new Promise((resolve) => {
    const onEvent = (): void => {
      onStarted();
      resolve();
    };
    RED.events.on("flows:started", onEvent);
    node.on("close", () => {
      RED.events.removeListener("flows:started", onEvent);
      resolve();
    });
  });
}
