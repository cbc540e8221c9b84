/**
 * Finds the other nodes of a cluster, where the user wants that. Never the client's own sniffing, which replaces the
 * given addresses unseen: behind NAT or in a container the cluster names addresses that cannot be reached from here.
 * What is found is only added, and only once it has answered.
 */
import { TargetConfigError, TargetUnavailableError } from "../target.js";
import { RequestError, type Connection } from "./connection.js";
import { probeElasticsearch } from "./probe.js";

const DISCOVERY_MS = 5_000;
/** A cluster larger than that does not need us to know all of it. */
const MAX_NODES = 32;

/**
 * Adds the nodes that answer to the connection. Resolves to what a user should know when it could not be done; the
 * given addresses stay in use whatever happens.
 */
export async function discoverNodes(connection: Connection, signal: AbortSignal): Promise<string | undefined> {
  let body: unknown;
  try {
    const query = { filter_path: "nodes.*.http.publish_address" };
    body = (await connection.request({ method: "GET", path: "/_nodes/http", query }, signal, DISCOVERY_MS)).body;
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    return `Other nodes could not be asked for, the given addresses are used. ${error.message}`;
  }
  const protocol = connection.settings.nodes[0]?.startsWith("https:") === true ? "https:" : "http:";
  const addresses = publishAddresses(body);
  if (addresses === undefined)
    return "The answer to the question for other nodes was no node list; the given addresses are used";
  let unreachable = 0;
  for (const address of addresses) {
    const url = nodeUrl(address, protocol);
    if (url === undefined || connection.hasNode(url)) continue;
    if (await answers(connection, url, signal)) connection.addNode(url);
    else unreachable++;
  }
  return unreachable === 0
    ? undefined
    : `${unreachable} of ${addresses.length} nodes of the cluster cannot be reached at the addresses that it gives; they are not used`;
}

async function answers(connection: Connection, url: string, signal: AbortSignal): Promise<boolean> {
  const node = connection.toNode(url);
  try {
    await probeElasticsearch(node, signal);
    return true;
  } catch (error) {
    if (error instanceof TargetUnavailableError || error instanceof TargetConfigError) return false;
    throw error;
  } finally {
    await node.close();
  }
}

/** `host/ip:port` or `ip:port` for each node; undefined when this is no node list. */
export function publishAddresses(body: unknown): readonly string[] | undefined {
  if (!isObject(body) || !isObject(body["nodes"])) return undefined;
  const addresses: string[] = [];
  for (const node of Object.values(body["nodes"]).slice(0, MAX_NODES)) {
    const http = isObject(node) ? node["http"] : undefined;
    const address = isObject(http) ? http["publish_address"] : undefined;
    if (typeof address === "string") addresses.push(address);
  }
  return addresses.length === 0 ? undefined : addresses;
}

/** The host name where the node gives one, since certificates are made out to names. */
export function nodeUrl(address: string, protocol: "http:" | "https:"): string | undefined {
  const [name, ip] = address.includes("/") ? address.split("/") : [undefined, address];
  const port = /:(\d+)$/u.exec(ip ?? "")?.[1];
  if (port === undefined) return undefined;
  const host = name === undefined || name === "" ? ip : `${name}:${port}`;
  const text = `${protocol}//${host}`;
  return URL.canParse(text) ? new URL(text).href : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
