/**
 * Makes a node that Node-RED has just created an exporter, from what its dialog holds.
 */
import type { Node, NodeAPI, NodeDef } from "node-red";
import { systemClock } from "../../src/clock.js";
import { checkFlushSettings } from "../../src/runtime/settings.js";
import type { Transform } from "../../src/transform.js";
import { switchOf, textOf, valueOf } from "./config.js";
import { asError } from "./errors.js";
import { type ExporterKind, ExporterNode } from "./exporter-node.js";
import { MEMBER } from "./membership.js";
import { hasReportOutput, reportMessage } from "./report-message.js";
import { cloner, maxWaiting, refuseAll, runtimeOf, sharedTexts, tellProblems, whenFlowsStart } from "./setup.js";
import { transformOf } from "./transform-setting.js";
import { type TypedValue, typedValue } from "./typed-value.js";

/**
 * @param make called once, at once; what it throws (an expression that cannot be read) is shown as the node's error
 */
export function becomeExporter(RED: NodeAPI, node: Node, config: NodeDef, make: () => ExporterKind): void {
  const text = sharedTexts(RED);
  let kind: ExporterKind;
  let data: TypedValue;
  let transform: Transform | undefined;
  try {
    kind = make();
    data = typedValue(RED, node, textOf(config, "data", "payload"), textOf(config, "dataType", "msg"));
    transform = transformOf(RED, node, config);
  } catch (thrown) {
    const error = asError(thrown);
    node.error(error);
    return refuseAll(node, error, { fill: "red", shape: "ring", text: text("status.config") });
  }

  const runtime = runtimeOf(RED, node, config, text);
  if (runtime === undefined) return;
  const { settings: flush, problems } = checkFlushSettings(valueOf(config, "flush"), runtime.flush);
  tellProblems(node, problems);
  const exporter = new ExporterNode({
    node,
    kind,
    data,
    flush,
    keepsArrays: textOf(config, "arrays", "each") === "one",
    transform,
    takesCommands: switchOf(config, "control", false),
    mayDiscard: switchOf(config, "discard", false),
    onReport: hasReportOutput(config) ? (report) => node.send(reportMessage(node, report)) : undefined,
    maxWaiting: maxWaiting(RED),
    text,
    clone: cloner(RED),
    clock: systemClock,
    flowsStarted: whenFlowsStart(RED, node),
  });
  Object.assign(node, { [MEMBER]: exporter });
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
