/** The nodes of the exporters to databases, as the editor saves them. */
import type { FlowNode } from "../support/node-red.js";
import { type Heard, listeners } from "./flows.js";

export function mongodbNode(more: object = {}): FlowNode {
  return {
    id: "exporter",
    type: "resilient-mongodb",
    z: "tab",
    name: "",
    runtime: "rt",
    connectBy: "uri",
    uri: "mongodb://localhost:27017",
    hosts: "localhost:27017",
    srv: false,
    tls: {},
    database: "plant",
    databaseType: "str",
    databasePrefix: "",
    collection: "readings",
    collectionType: "str",
    collectionPrefix: "",
    anyDestination: false,
    data: "payload",
    dataType: "msg",
    control: true,
    options: {},
    flush: {},
    wires: [],
    ...more,
  };
}

export function elasticsearchNode(more: object = {}): FlowNode {
  return {
    id: "exporter",
    type: "resilient-elasticsearch",
    z: "tab",
    name: "",
    runtime: "rt",
    connectBy: "nodes",
    nodes: "http://localhost:9200",
    cloudId: "",
    auth: "none",
    tls: {},
    proxy: "",
    destination: "index",
    index: "readings",
    indexType: "str",
    indexPrefix: "",
    dateSuffix: "",
    docId: "",
    docIdType: "msg",
    routing: "",
    routingType: "str",
    pipeline: "",
    pipelineType: "str",
    pipelinePrefix: "",
    anyDestination: false,
    data: "payload",
    dataType: "msg",
    control: true,
    options: {},
    flush: {},
    wires: [],
    ...more,
  };
}

/** Stands where an exporter is expected to take messages, and hands each to the exporter that `msg.to` names. */
export function fanOut(...ids: readonly string[]): FlowNode {
  return {
    id: "exporter",
    type: "function",
    z: "tab",
    name: "to several",
    func: `return ${JSON.stringify(ids)}.map((id) => (id === msg.to ? msg : null));`,
    outputs: ids.length,
    initialize: "",
    finalize: "",
    libs: [],
    wires: ids.map((id) => [id]),
  };
}

/** The listeners, with the id of the exporter in front of each status. */
export function listenersToAll(): FlowNode[] {
  const note = `const heard = global.get("statuses") ?? [];
    heard.push([msg.status.source.id, msg.status.fill, msg.status.shape, msg.status.text].join(" "));
    global.set("statuses", heard);`;
  return listeners().map((node) =>
    node.id === "status" ? { ...node, scope: null } : node.id === "note-status" ? { ...node, func: note } : node,
  );
}

/** What an exporter shows now, of all that was heard. */
export function shownBy(id: string, { statuses }: Pick<Heard, "statuses">): string {
  return statuses.findLast((status) => status.startsWith(`${id} `))?.slice(id.length + 1) ?? "";
}
