/**
 * What the MongoDB exporter's dialog holds, as the options of the target. The html beside this file has the same ranges
 * for the browser.
 */
import { type Setting, type SettingProblem, checkSettings, defaultsOf } from "../../src/runtime/settings.js";
import { type Mechanism, splitUri } from "../../src/targets/mongodb/options.js";
import { withoutVariables } from "../shared/as-in-flow.js";
import { type RawConfig, switchOf, textOf, valueOf } from "../shared/config.js";
import type { Secrets } from "../shared/connection-test.js";
import { type Resolve, resolved } from "../shared/environment.js";
import { NodeError } from "../shared/errors.js";
import { tlsSettings } from "../shared/tls-settings.js";

/** Meanings, units and defaults as in `MongoOptions`. */
export interface MongoSettings {
  readonly mode: "insert" | "replace" | "update";
  /** Separated by commas. */
  readonly keyFields: string;
  readonly operators: boolean;
  readonly idKind: "uuid" | "string" | "objectId";
  readonly existingIdIsDelivered: boolean;
  readonly writeConcern: "majority" | "w1" | "server";
  readonly replaceKeys: boolean;
  readonly wrapField: string;
  readonly maxDestinations: number;
  readonly topicField: string;
  readonly acceptedAtField: string;
  readonly replayedField: string;
  readonly doubtfulField: string;
  readonly deviceField: string;
  readonly device: string;
  readonly timeSeries: boolean;
  readonly timeField: string;
  readonly metaField: string;
  readonly granularity: "auto" | "seconds" | "minutes" | "hours";
  readonly expireAfterMs: number;
  readonly authSource: string;
  readonly mechanism: "auto" | Mechanism;
  readonly replicaSet: string;
  readonly direct: boolean;
  readonly appName: string;
  readonly compression: boolean;
  readonly metered: boolean;
  readonly selectTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** A JSON object; "" for none. */
  readonly extra: string;
}

const FIELD_NAME = { kind: "text", maxLength: 200, default: "" } as const;
const TIMEOUT = { kind: "number", unit: "ms", min: 100, max: 600_000 } as const;
/** Of a collection: what the server takes, in whole seconds. */
const MAX_EXPIRY_MS = 2_147_483_647_000;

export const MONGO_SETTINGS = {
  mode: { kind: "choice", choices: ["insert", "replace", "update"], default: "insert" },
  keyFields: { kind: "text", maxLength: 1_000, default: "_id" },
  operators: { kind: "switch", default: false },
  idKind: { kind: "choice", choices: ["uuid", "string", "objectId"], default: "uuid" },
  existingIdIsDelivered: { kind: "switch", default: false },
  writeConcern: { kind: "choice", choices: ["majority", "w1", "server"], default: "majority" },
  replaceKeys: { kind: "switch", default: false },
  wrapField: { kind: "text", maxLength: 200, default: "payload" },
  maxDestinations: { kind: "number", unit: "", min: 1, max: 10_000, zeroIsNoLimit: true, default: 100 },
  topicField: FIELD_NAME,
  acceptedAtField: FIELD_NAME,
  replayedField: FIELD_NAME,
  doubtfulField: FIELD_NAME,
  deviceField: FIELD_NAME,
  device: { kind: "text", maxLength: 1_000, default: "" },
  timeSeries: { kind: "switch", default: false },
  timeField: { kind: "text", maxLength: 200, default: "at" },
  metaField: FIELD_NAME,
  granularity: { kind: "choice", choices: ["auto", "seconds", "minutes", "hours"], default: "auto" },
  expireAfterMs: { kind: "number", unit: "ms", min: 1_000, max: MAX_EXPIRY_MS, zeroIsNoLimit: true, default: 0 },
  authSource: { kind: "text", maxLength: 64, default: "" },
  mechanism: {
    kind: "choice",
    choices: ["auto", "SCRAM-SHA-1", "SCRAM-SHA-256", "MONGODB-X509", "PLAIN"],
    default: "auto",
  },
  replicaSet: { kind: "text", maxLength: 200, default: "" },
  direct: { kind: "switch", default: false },
  appName: { kind: "text", maxLength: 128, default: "" },
  compression: { kind: "switch", default: false },
  metered: { kind: "switch", default: false },
  selectTimeoutMs: { ...TIMEOUT, default: 5_000 },
  connectTimeoutMs: { ...TIMEOUT, default: 10_000 },
  requestTimeoutMs: { ...TIMEOUT, default: 30_000 },
  extra: { kind: "text", maxLength: 10_000, default: "" },
} as const satisfies Record<keyof MongoSettings, Setting>;

const DEFAULTS = defaultsOf<MongoSettings>(MONGO_SETTINGS);

/** Credentials that are never shown again; the user's name is one that is. */
export const MONGO_SECRETS: readonly string[] = ["password", "key", "passphrase"];

/** Never throws for a value that cannot be used: that is a problem, and the default is taken. */
export function checkMongoSettings(
  config: RawConfig,
  resolve: Resolve,
): { settings: MongoSettings; problems: SettingProblem[] } {
  return checkSettings(MONGO_SETTINGS, resolved(valueOf(config, "options"), resolve), DEFAULTS);
}

/** The input of `checkMongoConnection`. @throws when a variable is missing, or the extra options are no JSON */
export function mongoConnection(
  config: RawConfig,
  settings: MongoSettings,
  credentials: Secrets,
  resolve: Resolve,
): Record<string, unknown> {
  const tls = tlsSettings(resolved(config, resolve) as RawConfig, credentials);
  const byHosts = textOf(config, "connectBy", "uri") === "hosts";
  const address = resolve(textOf(config, byHosts ? "hosts" : "uri")).trim();
  // The target would take the server of this machine, where a library's user has named none.
  if (address === "") throw new NodeError("no-destination", `${byHosts ? "The hosts are" : "The URI is"} missing.`);
  return {
    ...(byHosts ? { hosts: address, srv: switchOf(config, "srv", false) } : { uri: address }),
    user: credentials["user"] ?? "",
    password: credentials["password"] ?? "",
    authSource: settings.authSource,
    ...(settings.mechanism === "auto" ? {} : { mechanism: settings.mechanism }),
    tls: tls.on,
    ...nonEmpty({ ca: tls.ca, cert: tls.cert, key: tls.key, passphrase: tls.passphrase }),
    allowInvalidCertificates: !tls.verify,
    replicaSet: settings.replicaSet,
    direct: settings.direct,
    appName: settings.appName,
    compression: settings.compression,
    metered: settings.metered,
    selectTimeoutMs: settings.selectTimeoutMs,
    connectTimeoutMs: settings.connectTimeoutMs,
    requestTimeoutMs: settings.requestTimeoutMs,
    extra: extraOptions(settings.extra),
  };
}

/** The input of `checkMongoOptions`, but for the names of database and collection. */
export function mongoDocuments(settings: MongoSettings): Record<string, unknown> {
  const { timeField, metaField, granularity, expireAfterMs } = settings;
  return {
    mode: settings.mode,
    keyFields: namesIn(settings.keyFields),
    operators: settings.operators,
    idKind: settings.idKind,
    existingIdIsDelivered: settings.existingIdIsDelivered,
    writeConcern: settings.writeConcern,
    replaceKeys: settings.replaceKeys,
    wrapField: settings.wrapField,
    maxDestinations: settings.maxDestinations,
    fields: {
      topic: settings.topicField,
      acceptedAt: settings.acceptedAtField,
      replayed: settings.replayedField,
      doubtful: settings.doubtfulField,
      device: settings.deviceField,
    },
    device: settings.device,
    ...(settings.timeSeries && {
      timeSeries: {
        timeField,
        metaField,
        ...(granularity !== "auto" && { granularity }),
        ...(expireAfterMs > 0 && { expireAfterSeconds: Math.max(1, Math.round(expireAfterMs / 1_000)) }),
      },
    }),
  };
}

/** Secrets given for one place are not sent to another; how long to wait for an answer is not part of it. */
export function mongoPlace(config: RawConfig, resolve: Resolve): string {
  const { settings } = checkMongoSettings(config, resolve);
  const connection = mongoConnection(config, settings, {}, resolve);
  const { uri, hosts, srv, authSource, mechanism, tls, ca, cert, allowInvalidCertificates, replicaSet, direct, extra } =
    connection;
  const address = typeof uri === "string" ? splitUri(uri).uri : [hosts, srv];
  return JSON.stringify([
    address,
    authSource,
    mechanism ?? "",
    tls,
    ca ?? "",
    cert ?? "",
    allowInvalidCertificates,
    replicaSet,
    direct,
    extra,
  ]);
}

/** Whether the flow holds a password in the URI, where it is not encrypted. */
export function hasSecretInUri(config: RawConfig): boolean {
  const { password = "", passphrase = "" } = splitUri(withoutVariables(textOf(config, "uri")));
  return password !== "" || passphrase !== "";
}

/** Whether certificates are not looked at, by the dialog's switch or by an option within the URI. */
export function isUnverified(connection: Readonly<Record<string, unknown>>): boolean {
  const uri = typeof connection["uri"] === "string" ? connection["uri"] : "";
  return (
    connection["allowInvalidCertificates"] === true ||
    /[?&](?:tlsInsecure|tlsAllowInvalidCertificates|tlsAllowInvalidHostnames)=true/i.test(uri) ||
    (connection["extra"] as Record<string, unknown> | undefined)?.["tlsAllowInvalidHostnames"] === true
  );
}

function namesIn(text: string): string[] {
  return text.split(",").flatMap((name) => (name.trim() === "" ? [] : [name.trim()]));
}

function nonEmpty(texts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(texts).filter(([, text]) => text !== ""));
}

function extraOptions(text: string): unknown {
  if (text.trim() === "") return {};
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new Error('The extra options must be a JSON object, such as {"maxPoolSize": 10}.', { cause });
  }
}
