/**
 * `resilient-pool`: one queue for all exporters and pools that are wired to its output. What is done with messages and
 * members is `pool-node.ts`.
 */
import type { Node, NodeAPI, NodeDef } from "node-red";
import { systemClock } from "../../src/clock.js";
import { checkFlushSettings } from "../../src/runtime/settings.js";
import type { Transform } from "../../src/transform.js";
import { switchOf, textOf, valueOf } from "../shared/config.js";
import { asError } from "../shared/errors.js";
import { MEMBER, POOL } from "../shared/membership.js";
import {
  cloner,
  maxWaiting,
  refuseAll,
  runtimeOf,
  sharedTexts,
  tellProblems,
  whenFlowsStart,
} from "../shared/setup.js";
import { transformOf } from "../shared/transform-setting.js";
import { type TypedValue, typedValue } from "../shared/typed-value.js";
import { describer } from "./described.js";
import { servePools } from "./pool-api.js";
import { PoolNode } from "./pool-node.js";

export default function register(RED: NodeAPI): void {
  function ResilientPool(this: Node, config: NodeDef): void {
    RED.nodes.createNode(this, config);
    becomePool(RED, this, config);
  }

  RED.nodes.registerType("resilient-pool", ResilientPool);
  servePools(RED);
}

function becomePool(RED: NodeAPI, node: Node, config: NodeDef): void {
  const text = sharedTexts(RED);
  let data: TypedValue;
  let transform: Transform | undefined;
  try {
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
  const pool: PoolNode = new PoolNode({
    node,
    getNode: (id) => RED.nodes.getNode(id),
    describer: () => describer(RED),
    data,
    flush,
    keepsArrays: textOf(config, "arrays", "each") === "one",
    transform,
    takesCommands: switchOf(config, "control", false),
    mayDiscard: switchOf(config, "discard", false),
    maxWaiting: maxWaiting(RED),
    text,
    ownText: (key, values) => RED._(key, values),
    clone: cloner(RED),
    clock: systemClock,
    flowsStarted: whenFlowsStart(RED, node, () => pool.onFlowsStarted()),
  });
  Object.assign(node, { [MEMBER]: pool, [POOL]: true });
  pool.start((user) => runtime.register(node, user));
  node.on("input", (message, send, done) => pool.accept(message, send, done));
  // As with an exporter, a pool that is removed may only be disabled: its queue waits.
  node.on("close", (done: () => void) => {
    pool.close().then(done, (error: unknown) => {
      node.error(error);
      done();
    });
  });
}
