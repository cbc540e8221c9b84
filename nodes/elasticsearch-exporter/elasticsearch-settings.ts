/**
 * What the Elasticsearch exporter's dialog holds, as the options of the target. The html beside this file has the same
 * ranges for the browser.
 */
import { type Setting, type SettingProblem, checkSettings, defaultsOf } from "../../src/runtime/settings.js";
import type { BulkOp } from "../../src/targets/elasticsearch/options.js";
import { withoutVariables } from "../shared/as-in-flow.js";
import { type RawConfig, textOf, valueOf } from "../shared/config.js";
import type { Secrets } from "../shared/connection-test.js";
import { type Resolve, resolved } from "../shared/environment.js";
import { tlsSettings } from "../shared/tls-settings.js";

/** Meanings, units and defaults as in `ElasticsearchSettings`. */
export interface ElasticsearchDialogSettings {
  readonly op: BulkOp;
  readonly id: "record" | "message" | "server";
  readonly existingIdIsDelivered: boolean;
  readonly requireDataStream: boolean;
  readonly requireAlias: boolean;
  readonly maxDestinations: number;
  readonly timestamp: boolean;
  readonly timestampFrom: string;
  readonly topicField: string;
  readonly acceptedAtField: string;
  readonly replayedField: string;
  readonly doubtfulField: string;
  readonly deviceField: string;
  readonly device: string;
  readonly serverless: boolean;
  readonly compression: "auto" | "on" | "off";
  readonly requestTimeoutMs: number;
  readonly discoverNodes: boolean;
  readonly compatibleServer: boolean;
  /** A JSON object; "" for none. */
  readonly headers: string;
}

const FIELD_NAME = { kind: "text", maxLength: 200, default: "" } as const;

export const ELASTICSEARCH_SETTINGS = {
  op: { kind: "choice", choices: ["create", "index", "update", "upsert"], default: "create" },
  id: { kind: "choice", choices: ["record", "message", "server"], default: "record" },
  existingIdIsDelivered: { kind: "switch", default: false },
  requireDataStream: { kind: "switch", default: true },
  requireAlias: { kind: "switch", default: false },
  maxDestinations: { kind: "number", unit: "", min: 1, max: 10_000, zeroIsNoLimit: true, default: 100 },
  timestamp: { kind: "switch", default: true },
  timestampFrom: FIELD_NAME,
  topicField: FIELD_NAME,
  acceptedAtField: FIELD_NAME,
  replayedField: FIELD_NAME,
  doubtfulField: FIELD_NAME,
  deviceField: FIELD_NAME,
  device: { kind: "text", maxLength: 1_000, default: "" },
  serverless: { kind: "switch", default: false },
  compression: { kind: "choice", choices: ["auto", "on", "off"], default: "auto" },
  requestTimeoutMs: { kind: "number", unit: "ms", min: 100, max: 600_000, default: 30_000 },
  discoverNodes: { kind: "switch", default: false },
  compatibleServer: { kind: "switch", default: false },
  headers: { kind: "text", maxLength: 10_000, default: "" },
} as const satisfies Record<keyof ElasticsearchDialogSettings, Setting>;

const DEFAULTS = defaultsOf<ElasticsearchDialogSettings>(ELASTICSEARCH_SETTINGS);

/** Credentials that are never shown again; names of users are. */
export const ELASTICSEARCH_SECRETS: readonly string[] = [
  "password",
  "apiKey",
  "token",
  "key",
  "passphrase",
  "proxyPassword",
];

/** Never throws for a value that cannot be used: that is a problem, and the default is taken. */
export function checkElasticsearchSettings(
  config: RawConfig,
  resolve: Resolve,
): { settings: ElasticsearchDialogSettings; problems: SettingProblem[] } {
  return checkSettings(ELASTICSEARCH_SETTINGS, resolved(valueOf(config, "options"), resolve), DEFAULTS);
}

/** The addresses as a user lists them: separated by commas, blanks or line ends; http where nothing else is said. */
export function addressesIn(text: string): string[] {
  return text
    .split(/[\s,]+/)
    .filter((address) => address !== "")
    .map((address) => (/^[a-z][a-z\d+.-]*:\/\//i.test(address) ? address : `http://${address}`));
}

/** The `connection` of `checkElasticsearchOptions`. @throws when a variable is missing, or a text cannot be read */
export function elasticsearchConnection(
  config: RawConfig,
  settings: ElasticsearchDialogSettings,
  credentials: Secrets,
  resolve: Resolve,
): Record<string, unknown> {
  const tls = tlsSettings(resolved(config, resolve) as RawConfig, credentials);
  const byCloudId = textOf(config, "connectBy", "nodes") === "cloudId";
  return {
    ...(byCloudId
      ? { cloudId: resolve(textOf(config, "cloudId")).trim() }
      : { nodes: addressesIn(resolve(textOf(config, "nodes", "http://localhost:9200"))) }),
    serverless: settings.serverless,
    auth: authOf(textOf(config, "auth", "none"), credentials),
    tls: {
      ca: tls.ca,
      caFingerprint: tls.fingerprint,
      cert: tls.cert,
      key: tls.key,
      passphrase: tls.passphrase,
      verify: tls.verify,
    },
    proxy: proxyOf(resolve(textOf(config, "proxy")).trim(), credentials),
    headers: headersIn(settings.headers),
    compression: settings.compression,
    requestTimeoutMs: settings.requestTimeoutMs,
    discoverNodes: settings.discoverNodes,
    compatibleServer: settings.compatibleServer,
  };
}

/** The rest of `checkElasticsearchOptions`, but for the name of the index. */
export function elasticsearchDocuments(
  config: RawConfig,
  settings: ElasticsearchDialogSettings,
  resolve: Resolve,
): Record<string, unknown> {
  return {
    destination: textOf(config, "destination", "index"),
    dateSuffix: resolve(textOf(config, "dateSuffix")).trim(),
    op: settings.op,
    id: settings.id,
    existingIdIsDelivered: settings.existingIdIsDelivered,
    requireDataStream: settings.requireDataStream,
    requireAlias: settings.requireAlias,
    maxDestinations: settings.maxDestinations,
    timestamp: settings.timestamp,
    timestampFrom: settings.timestampFrom,
    fields: {
      topic: settings.topicField,
      acceptedAt: settings.acceptedAtField,
      replayed: settings.replayedField,
      doubtful: settings.doubtfulField,
      device: settings.deviceField,
    },
    device: settings.device,
  };
}

/** Secrets given for one place are not sent to another; how long to wait for an answer is not part of it. */
export function elasticsearchPlace(config: RawConfig, resolve: Resolve): string {
  const { settings } = checkElasticsearchSettings(config, resolve);
  const { nodes, cloudId, serverless, tls, proxy, headers, discoverNodes, compatibleServer } = elasticsearchConnection(
    config,
    settings,
    {},
    resolve,
  );
  const addresses = Array.isArray(nodes) ? nodes.map((node) => withoutLogin(String(node))) : [cloudId];
  return JSON.stringify([
    addresses,
    serverless,
    tls,
    withoutLogin(String(proxy)),
    headers,
    discoverNodes,
    compatibleServer,
  ]);
}

/** Whether the flow holds a password in an address, where it is not encrypted. */
export function hasLoginInAddress(config: RawConfig): boolean {
  return [...addressesIn(textOf(config, "nodes")), textOf(config, "proxy")].some((address) =>
    /^[a-z][a-z\d+.-]*:\/\/[^/?#:]*:[^/?#]+@/i.test(withoutVariables(address)),
  );
}

function withoutLogin(address: string): string {
  return address.replace(/^([a-z][a-z\d+.-]*:\/\/)[^/?#]*@/i, "$1");
}

/** Fields of the other ways to log in may still hold something: only those of the chosen way are used. */
function authOf(kind: string, credentials: Secrets): Record<string, string> {
  switch (kind) {
    case "basic":
      return { kind, username: credentials["username"] ?? "", password: credentials["password"] ?? "" };
    case "apiKey":
      return { kind, apiKey: (credentials["apiKey"] ?? "").trim() };
    case "bearer":
      return { kind, token: (credentials["token"] ?? "").trim() };
    default:
      return { kind };
  }
}

function proxyOf(address: string, credentials: Secrets): string {
  const user = credentials["proxyUser"] ?? "";
  if (address === "" || user === "" || !URL.canParse(address)) return address;
  const url = new URL(address);
  url.username = encodeURIComponent(user);
  url.password = encodeURIComponent(credentials["proxyPassword"] ?? "");
  return url.href;
}

function headersIn(text: string): unknown {
  if (text.trim() === "") return {};
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new Error('The headers must be a JSON object, such as {"X-Tenant": "attic"}.', { cause });
  }
}
