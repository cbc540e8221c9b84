/**
 * What stands in the flow itself, where everybody who sees the flow can read it. What a variable holds does not.
 */
import type { Node, NodeAPI } from "node-red";
import type { RawConfig } from "./config.js";

/**
 * A node's configuration as the flow holds it: before a node is made, Node-RED replaces each value that is one variable
 * and nothing else.
 */
export function asInFlow(RED: NodeAPI, node: Node, config: RawConfig): RawConfig {
  // Within a subflow, the node that this one was made after.
  const { id, _alias = id } = node as Node & { readonly _alias?: string };
  let found = config;
  RED.nodes.eachNode((one) => {
    if (one.id === _alias) found = one as unknown as RawConfig;
  });
  return found;
}

export function withoutVariables(text: string): string {
  return text.replaceAll(/\$\{[^}]+\}/g, "");
}
