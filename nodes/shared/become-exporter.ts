/**
 * Makes a node that Node-RED has just created an exporter, from what its dialog holds.
 */
import type { Node, NodeAPI, NodeDef, NodeMessage, NodeStatus } from "node-red";
import { systemClock } from "../../src/clock.js";
import { checkFlushSettings } from "../../src/runtime/settings.js";
import type { RuntimeNode } from "../runtime/runtime.js";
import { switchOf, textOf, valueOf } from "./config.js";
import { NodeError, asError } from "./errors.js";
import { type ExporterKind, ExporterNode } from "./exporter-node.js";
import { MAX_WAITING } from "./intake.js";
import type { Translate } from "./status.js";
import { type TypedValue, typedValue } from "./typed-value.js";

/** One namespace for the texts that every exporter uses: the editor plugin's, as package.json names it. */
const TEXTS = "node-red-contrib-resilient-exporters/resilient-shared:";

/**
 * @param make called once, at once; what it throws (an expression that cannot be read) is shown as the node's error
 */
export function becomeExporter(RED: NodeAPI, node: Node, config: NodeDef, make: () => ExporterKind): void {
  const text: Translate = (key, values) => RED._(TEXTS + key, values);
  let kind: ExporterKind;
  let data: TypedValue;
  try {
    kind = make();
    data = typedValue(RED, node, textOf(config, "data", "payload"), textOf(config, "dataType", "msg"));
  } catch (thrown) {
    const error = asError(thrown);
    node.error(error);
    return refuseAll(node, error, { fill: "red", shape: "ring", text: text("status.config") });
  }

  const runtime = RED.nodes.getNode(textOf(config, "runtime")) as RuntimeNode | null | undefined;
  if (typeof runtime?.register !== "function") {
    const error = new NodeError("no-runtime", text("error.noRuntime"));
    return refuseAll(node, error, { fill: "red", shape: "ring", text: text("status.noRuntime") });
  }

  const { settings: flush, problems } = checkFlushSettings(valueOf(config, "flush"), runtime.flush);
  for (const { message } of problems) node.warn(message);
  const exporter = new ExporterNode({
    node,
    kind,
    data,
    flush,
    takesCommands: switchOf(config, "control", false),
    maxWaiting: maxWaiting(RED),
    text,
    clone: <T extends object>(value: T): T => RED.util.cloneMessage(value as NodeMessage) as T,
    clock: systemClock,
  });
  exporter.start((user) => runtime.register(node, user));
  // Three parameters tell Node-RED that the node calls done itself.
  node.on("input", (message, _send, done) => exporter.accept(message, done));
  // Not looked at: whether the node was removed. One that is only disabled counts as removed too; its queue waits.
  node.on("close", (done: () => void) => {
    exporter.close().then(done, (error: unknown) => {
      node.error(error);
      done();
    });
  });
}

/** A node that cannot work says so for every message, where Catch nodes hear it, instead of losing it in silence. */
function refuseAll(node: Node, error: Error, status: NodeStatus): void {
  node.status(status);
  node.on("input", (_message, _send, done) => done(error));
}

/** Node-RED's own bound for nodes that hold messages, where the user has set it. */
function maxWaiting(RED: NodeAPI): number {
  const configured: unknown = RED.settings.nodeMessageBufferMaxLength;
  return typeof configured === "number" && configured > 0 ? configured : MAX_WAITING;
}
