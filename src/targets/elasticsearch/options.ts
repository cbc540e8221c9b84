/**
 * What a user sets for an Elasticsearch exporter, and the check of it. Connecting by it is `connection.ts`.
 */
import { indexProblem, pipelineProblem, routingProblem, type Problem } from "../../names.js";
import { DEFAULT_MAX_DESTINATIONS, MOST_MAX_DESTINATIONS } from "../destination-limit.js";
import { dateSuffixProblem } from "./index-name.js";
import { fail, OptionReader } from "./option-reader.js";

export { ElasticsearchOptionsError } from "./option-reader.js";

export type ElasticsearchAuth =
  | { readonly kind: "none" }
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  /** The encoded key as Kibana shows it, or `id:secret`. */
  | { readonly kind: "apiKey"; readonly apiKey: string }
  | { readonly kind: "bearer"; readonly token: string };

export interface ElasticsearchTls {
  /** The certificate authority: PEM text, or the path of a PEM file. So are the client's certificate and its key. */
  readonly ca?: string;
  /** SHA-256 fingerprint of the certificate authority, instead of its certificate. */
  readonly caFingerprint?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly passphrase?: string;
  /** Off: any certificate is accepted. Default true. */
  readonly verify: boolean;
}

/** What exporters must have in common to share one client. */
export interface ConnectionSettings {
  /** Addresses, without login data. */
  readonly nodes: readonly string[];
  /** `name:base64`, instead of the nodes; empty when there is none. */
  readonly cloudId: string;
  /** An Elastic Cloud Serverless project. Default false. */
  readonly serverless: boolean;
  readonly auth: ElasticsearchAuth;
  readonly tls: ElasticsearchTls;
  /** Address of an HTTP proxy, login data included; empty when there is none. */
  readonly proxy: string;
  readonly headers: Readonly<Record<string, string>>;
  /** gzip for requests of 1 KiB and more. `auto` (default): unless the server is on this machine. */
  readonly compression: "auto" | "on" | "off";
  /** Longest time for an answer to a small request, in ms; large ones get more. [100, 600_000], default 30_000. */
  readonly requestTimeoutMs: number;
  /** Ask the cluster for its other nodes. Needs the cluster privilege `monitor`. Default false. */
  readonly discoverNodes: boolean;
  /** Accept servers that do not say they are Elasticsearch (OpenSearch). Default false. */
  readonly compatibleServer: boolean;
}

/**
 * `create`: a new document, never changing one. `index`: replaces one of the same id. `update`: changes one that is
 * there. `upsert`: changes it, or makes it.
 */
export type BulkOp = "create" | "index" | "update" | "upsert";

/** Names of fields to add to each document, empty for none; a field that the payload has itself is left as it is. */
export interface AddedFieldNames {
  readonly topic: string;
  /** When the record was accepted, as ISO text. */
  readonly acceptedAt: string;
  readonly device: string;
  /** True in documents that were delivered late, or once more; absent in others. */
  readonly replayed: string;
  /** True in documents whose time of acceptance may be wrong: the clock could not be trusted, nor corrected since. */
  readonly doubtful: string;
}

/** Where documents go, and how. A record's routing (`index`, `id`, `routing`, `pipeline`) comes before these. */
export interface DestinationSettings {
  readonly destination: "index" | "dataStream" | "timeSeries";
  /** Index, alias or data stream; before the date suffix. */
  readonly index: string;
  /** Appended to the index name, by the time of the record: see `resolveIndexName`. Default empty. */
  readonly dateSuffix: string;
  /** Data streams take `create` only. Default `create`. */
  readonly op: BulkOp;
  /**
   * `record` (default): the record's own id, so that sending twice stores once. `message`: the record's routing `id`,
   * its own where that is missing. `server`: Elasticsearch chooses; faster, duplicates are possible. A time series
   * always derives it from dimensions and timestamp.
   */
  readonly id: "record" | "message" | "server";
  /** Whether a `create` whose id, the user's, is taken counts as delivered. Default false: it is rejected. */
  readonly existingIdIsDelivered: boolean;
  readonly routing: string;
  readonly pipeline: string;
  /** Data streams only: do not make an index when the stream does not exist. Servers from 8.13. Default true. */
  readonly requireDataStream: boolean;
  /** Index only: write through an alias, never make an index of that name. Default false. */
  readonly requireAlias: boolean;
  /**
   * Most different indices or streams that records name themselves, dates aside, since the target was made; what is for
   * others waits. 0: no limit. [1, 10_000], default 100.
   */
  readonly maxDestinations: number;
  /** Add `@timestamp` to documents without one. Default true. */
  readonly timestamp: boolean;
  /** Payload field whose value becomes `@timestamp`; empty, or missing in the payload: when the record was accepted. */
  readonly timestampFrom: string;
  readonly fields: AddedFieldNames;
  /** The text for the field `fields.device`. */
  readonly device: string;
}

export interface ElasticsearchSettings extends DestinationSettings {
  readonly connection: ConnectionSettings;
}

/** As a user of the library writes it: everything but the index has a default. */
export interface ElasticsearchOptions extends Partial<Omit<DestinationSettings, "index" | "fields">> {
  readonly index: string;
  readonly fields?: Partial<AddedFieldNames>;
  readonly connection?: Partial<Omit<ConnectionSettings, "tls" | "nodes">> & {
    readonly nodes?: string | readonly string[];
    readonly tls?: Partial<ElasticsearchTls>;
  };
}

const OPTION_NAMES: readonly (keyof ElasticsearchOptions)[] = [
  "destination",
  "index",
  "dateSuffix",
  "op",
  "id",
  "existingIdIsDelivered",
  "routing",
  "pipeline",
  "requireDataStream",
  "requireAlias",
  "maxDestinations",
  "timestamp",
  "timestampFrom",
  "fields",
  "device",
  "connection",
];

const CONNECTION_NAMES: readonly (keyof ConnectionSettings)[] = [
  "nodes",
  "cloudId",
  "serverless",
  "auth",
  "tls",
  "proxy",
  "headers",
  "compression",
  "requestTimeoutMs",
  "discoverNodes",
  "compatibleServer",
];

/** What a request is made of, and what speaks of the connection alone: the client refuses some of these each time. */
const OUR_HEADERS: readonly string[] = [
  "accept",
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "expect",
  "host",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

const TLS_TEXTS = ["ca", "caFingerprint", "cert", "key", "passphrase"] as const;

/**
 * Checks options from outside and fills in what is missing.
 * @throws {ElasticsearchOptionsError}
 */
export function checkElasticsearchOptions(options: unknown): ElasticsearchSettings {
  const from = new OptionReader(options, "");
  from.only(OPTION_NAMES);
  const destination = from.choice("destination", ["index", "dataStream", "timeSeries"], "index");
  const isStream = destination !== "index";
  const op = from.choice("op", ["create", "index", "update", "upsert"], "create");
  if (isStream && op !== "create") fail("op", "must be create for data streams and time series");
  const id = from.choice("id", ["record", "message", "server"], "record");
  if ((op === "update" || op === "upsert") && id !== "message")
    fail("id", `must be message, since ${op} needs to know which document`);

  const index = from.text("index", "");
  check("index", indexProblem(index));
  const dateSuffix = from.text("dateSuffix", "");
  check("dateSuffix", dateSuffixProblem(dateSuffix));
  const routing = from.text("routing", "");
  if (routing !== "") check("routing", routingProblem(routing));
  const pipeline = from.text("pipeline", "");
  if (pipeline !== "") check("pipeline", pipelineProblem(pipeline));
  const timestamp = from.flag("timestamp", true);

  return {
    destination,
    index,
    dateSuffix,
    op,
    id: destination === "timeSeries" ? "server" : id,
    existingIdIsDelivered: from.flag("existingIdIsDelivered", false),
    routing,
    pipeline,
    requireDataStream: isStream && from.flag("requireDataStream", true),
    requireAlias: !isStream && from.flag("requireAlias", false),
    maxDestinations: from.numberOrZero("maxDestinations", 1, MOST_MAX_DESTINATIONS, DEFAULT_MAX_DESTINATIONS),
    timestamp,
    timestampFrom: from.text("timestampFrom", ""),
    fields: readFields(from.section("fields"), timestamp),
    device: from.text("device", ""),
    connection: readConnection(from.section("connection")),
  };
}

function readFields(from: OptionReader, timestamp: boolean): AddedFieldNames {
  from.only(["topic", "acceptedAt", "device", "replayed", "doubtful"]);
  const fields: AddedFieldNames = {
    topic: from.text("topic", ""),
    acceptedAt: from.text("acceptedAt", ""),
    replayed: from.text("replayed", ""),
    doubtful: from.text("doubtful", ""),
    device: from.text("device", ""),
  };
  const names = Object.values(fields).filter((name) => name !== "");
  if (timestamp) names.push("@timestamp");
  if (new Set(names).size < names.length) fail("fields", "has one name for two fields");
  return fields;
}

function readConnection(from: OptionReader): ConnectionSettings {
  from.only(CONNECTION_NAMES);
  const cloudId = from.text("cloudId", "");
  if (cloudId !== "") checkCloudId(cloudId);
  const { nodes, login } = readNodes(from.texts("nodes", ["http://localhost:9200"]));
  const serverless = from.flag("serverless", false);
  const auth = readAuth(from.section("auth"));
  const proxy = from.text("proxy", "");
  if (proxy !== "") parseUrl("connection.proxy", proxy);
  const discoverNodes = from.flag("discoverNodes", false);
  if (discoverNodes && (cloudId !== "" || serverless || proxy !== "")) {
    fail("connection.discoverNodes", "does not go with Elastic Cloud, serverless projects or a proxy");
  }
  const tls = readTls(from.section("tls"));
  if (tls.caFingerprint !== undefined && cloudId === "" && nodes.some((node) => node.startsWith("http:"))) {
    fail("connection.tls.caFingerprint", "needs https addresses");
  }
  return {
    // A cloud id names its address itself.
    nodes: cloudId === "" ? nodes : [],
    cloudId,
    serverless,
    auth: auth.kind === "none" && login !== undefined ? login : auth,
    tls,
    proxy,
    headers: readHeaders(from.section("headers")),
    compression: from.choice("compression", ["auto", "on", "off"], "auto"),
    requestTimeoutMs: from.number("requestTimeoutMs", 100, 600_000, 30_000),
    discoverNodes,
    compatibleServer: from.flag("compatibleServer", false),
  };
}

/** Takes login data out of the addresses: an address is shown in status and errors. */
function readNodes(texts: readonly string[]): { nodes: string[]; login: ElasticsearchAuth | undefined } {
  if (texts.length === 0) fail("connection.nodes", "has no address");
  let login: ElasticsearchAuth | undefined;
  const nodes = texts.map((text) => {
    const url = parseUrl("connection.nodes", text.trim());
    if (url.username !== "") {
      login ??= { kind: "basic", username: decode(url.username), password: decode(url.password) };
      url.username = "";
      url.password = "";
    }
    if (url.search !== "" || url.hash !== "") fail("connection.nodes", "must not have a query or a fragment");
    return url.href;
  });
  return { nodes, login };
}

function readAuth(from: OptionReader): ElasticsearchAuth {
  from.only(["kind", "username", "password", "apiKey", "token"]);
  const kind = from.choice("kind", ["none", "basic", "apiKey", "bearer"], "none");
  switch (kind) {
    case "none":
      return { kind };
    case "basic":
      return { kind, username: from.required("username"), password: from.required("password") };
    case "apiKey":
      return { kind, apiKey: headerSafe("connection.auth.apiKey", from.required("apiKey")) };
    case "bearer":
      return { kind, token: headerSafe("connection.auth.token", from.required("token")) };
  }
}

function readTls(from: OptionReader): ElasticsearchTls {
  from.only([...TLS_TEXTS, "verify"]);
  const tls: Record<string, string> = {};
  for (const name of TLS_TEXTS) {
    const text = from.text(name, "");
    if (text !== "") tls[name] = text;
  }
  if ((tls["cert"] === undefined) !== (tls["key"] === undefined)) {
    fail("connection.tls.cert", "needs its key, and the key its certificate");
  }
  const fingerprint = tls["caFingerprint"];
  if (fingerprint !== undefined && !/^[0-9a-f]{64}$/iu.test(fingerprint.replaceAll(":", ""))) {
    fail("connection.tls.caFingerprint", "must have 64 hexadecimal digits (SHA-256)");
  }
  return { ...tls, verify: from.flag("verify", true) };
}

function readHeaders(from: OptionReader): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const name of from.names()) {
    const lower = name.toLowerCase();
    if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/u.test(lower))
      fail("connection.headers", `has "${name}", which is no name of a header`);
    // Login data has its own place, which is encrypted; the media types are what serves several server versions.
    if (lower === "authorization" || lower === "proxy-authorization") {
      fail("connection.headers", `must not have ${lower}: it belongs into the login`);
    }
    if (OUR_HEADERS.includes(lower)) fail("connection.headers", `cannot change ${lower}`);
    Object.defineProperty(headers, lower, {
      value: headerSafe(`connection.headers.${lower}`, from.text(name, "")),
      enumerable: true,
    });
  }
  return headers;
}

function checkCloudId(cloudId: string): void {
  const [, encoded, ...rest] = cloudId.split(":");
  const hosts = Buffer.from(encoded ?? "", "base64")
    .toString("utf8")
    .split("$");
  if (rest.length > 0 || (hosts[0] ?? "") === "" || (hosts[1] ?? "") === "") {
    fail("connection.cloudId", "must have the form name:base64, as the Elastic Cloud console shows it");
  }
}

function parseUrl(option: string, text: string): URL {
  if (!URL.canParse(text)) fail(option, "must have the form https://host:9200");
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") fail(option, "must start with http:// or https://");
  return url;
}

function check(field: string, problem: Problem): void {
  if (problem !== undefined) fail(field, problem);
}

function headerSafe(option: string, text: string): string {
  if (!/^[\u0020-\u007e\u00a0-\u00ff]*$/u.test(text)) fail(option, "contains characters that a header cannot hold");
  return text;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A lone percent sign: then it was not encoded.
    return text;
  }
}
