/**
 * Nodes as the flows have them, whether they run or not: what is disabled, or on a disabled tab, has no node to look at.
 */
import type { NodeAPI, NodeDef } from "node-red";
import { textOf, valueOf } from "../shared/config.js";

export interface Described {
  readonly type: string;
  /** Of a link out node: "link", or "return". */
  readonly mode: string;
  /** Ids of what it is wired, or linked, to. */
  readonly onward: readonly string[];
  readonly hasTransform: boolean;
}

/** All of the flows at this moment, by id; read when it is first asked for one. */
export function describer(RED: NodeAPI): (id: string) => Described | undefined {
  let nodes: Map<string, NodeDef> | undefined;
  return (id) => {
    if (nodes === undefined) {
      const found = (nodes = new Map<string, NodeDef>());
      RED.nodes.eachNode((node) => found.set(node.id, node));
    }
    // Inside a subflow a node is named after the instance, or instances, and what the subflow calls it.
    let prefix = "";
    let node = nodes.get(id);
    for (let at = id.indexOf("-"); node === undefined && at >= 0; at = id.indexOf("-", at + 1)) {
      prefix = id.slice(0, at + 1);
      node = nodes.get(id.slice(at + 1));
    }
    return node && described(node, prefix);
  };
}

function described(node: NodeDef, prefix: string): Described {
  const { type } = node;
  const onward = idsIn(valueOf(node, type === "link out" ? "links" : "wires"));
  const transform = valueOf(node, "transform");
  const kind = typeof transform === "object" && transform !== null ? textOf(transform, "kind", "none") : "none";
  return {
    type,
    mode: textOf(node, "mode", ""),
    onward: onward.map((id) => prefix + id),
    hasTransform: kind !== "none",
  };
}

function idsIn(wires: unknown): string[] {
  return Array.isArray(wires) ? wires.flat().filter((id): id is string => typeof id === "string") : [];
}
