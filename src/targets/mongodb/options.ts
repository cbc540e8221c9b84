/**
 * The settings of a MongoDB target: what they mean, their defaults, and the check of what an editor or a caller sent.
 * How they become options of the driver is `connection.ts`.
 */
import { DEFAULT_MAX_DESTINATIONS, MOST_MAX_DESTINATIONS } from "../destination-limit.js";

/** Where the server is and who asks. Targets with equal connection options share one client. */
export interface MongoConnectionOptions {
  /** "mongodb://" or "mongodb+srv://", without credentials (see `splitUri`). Default "mongodb://localhost:27017". */
  readonly uri: string;
  readonly user?: string;
  readonly password?: string;
  /** Database that knows the user. Default: the URI's, else "admin". */
  readonly authSource?: string;
  /** Default: what server and driver agree on (SCRAM). */
  readonly mechanism?: Mechanism;
  /** Default false; always on with mongodb+srv. */
  readonly tls: boolean;
  /** PEM text, or the path of a PEM file. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly passphrase?: string;
  /** Accepts any certificate. Default false. */
  readonly allowInvalidCertificates: boolean;
  readonly replicaSet?: string;
  /** Talks to the given host only, whatever replica set it says it belongs to (port forwarding). Default false. */
  readonly direct: boolean;
  /** At most 128 bytes, shown in the server's log. Default: the package's name. */
  readonly appName?: string;
  /** zlib, level 1. Default false. */
  readonly compression: boolean;
  /** Fewer heartbeats, for links that are paid by the byte. Default false. */
  readonly metered: boolean;
  /** How long to look for a usable server, ms. [100, 600_000], default 5_000. */
  readonly selectTimeoutMs: number;
  /** How long to wait for a connection, ms. [100, 600_000], default 10_000. */
  readonly connectTimeoutMs: number;
  /** How long to wait for an answer, ms, beside the time a slow link needs for the bytes. [100, 600_000], default 30_000. */
  readonly requestTimeoutMs: number;
  /** More options of the driver, from `EXTRA_OPTIONS` only. */
  readonly extra: Readonly<Record<string, string | number | boolean>>;
}

export interface MongoTimeSeries {
  /** Field that holds the time. A record without it gets its time of acceptance. */
  readonly timeField: string;
  readonly metaField?: string;
  readonly granularity?: "seconds" | "minutes" | "hours";
  /** When the server deletes a document, seconds after its time. Default: never. */
  readonly expireAfterSeconds?: number;
}

/** Names of fields to add to each document; a field that the payload has itself is left as it is. */
export interface MongoAddedFields {
  readonly topic?: string;
  readonly acceptedAt?: string;
  readonly device?: string;
  /** True in documents that were delivered late, or once more. */
  readonly replayed?: string;
  /** True in documents whose time of acceptance may be wrong: the clock could not be trusted, nor corrected since. */
  readonly doubtful?: string;
}

export interface MongoOptions {
  readonly connection: MongoConnectionOptions;
  /** Used for records whose routing names none. */
  readonly database: string;
  readonly collection: string;
  /**
   * insert (default); replace: the document with the same key, or a new one; update: sets the payload's fields in it.
   * Replace and update are sent strictly in order.
   */
  readonly mode: "insert" | "replace" | "update";
  /** Fields that make up the key, for replace and update; a dot leads into an object. Default `["_id"]`. */
  readonly keyFields: readonly string[];
  /** Update mode: a payload of operators (`$inc`, ...) is sent as it is. A repeat may then count twice. Default false. */
  readonly operators: boolean;
  /** The `_id` of a payload that has none: the record's id as UUID (default), as text, or as an ObjectId made of it. */
  readonly idKind: "uuid" | "string" | "objectId";
  /** Whether a document already there under the payload's own `_id` counts as delivered. Default false: it is compared. */
  readonly existingIdIsDelivered: boolean;
  /** majority: by most servers, and in their journals (default); w1: by one server; server: its default. */
  readonly writeConcern: "majority" | "w1" | "server";
  readonly fields: MongoAddedFields;
  /** The text for `fields.device`. */
  readonly device?: string;
  /** Replaces "." and a leading "$" in keys by "_". Default false. */
  readonly replaceKeys: boolean;
  /** Where a payload that is no object goes. Default "payload". */
  readonly wrapField: string;
  /**
   * Most different destinations that records name themselves, since the target was made; what is for others waits.
   * 0: no limit. [1, 10_000], default 100.
   */
  readonly maxDestinations: number;
  /** Creates missing collections as time series. No protection against repeats: `_id` is not unique in them. */
  readonly timeSeries?: MongoTimeSeries;
}

const MECHANISMS = ["SCRAM-SHA-1", "SCRAM-SHA-256", "MONGODB-X509", "PLAIN"] as const;
export type Mechanism = (typeof MECHANISMS)[number];

/** Driver options a user may set beside ours: none that changes what is promised, runs a program or reads a secret. */
export const EXTRA_OPTIONS: readonly string[] = [
  "retryWrites",
  "loadBalanced",
  "srvMaxHosts",
  "srvServiceName",
  "localThresholdMS",
  "maxPoolSize",
  "minPoolSize",
  "maxConnecting",
  "maxIdleTimeMS",
  "waitQueueTimeoutMS",
  "socketTimeoutMS",
  "heartbeatFrequencyMS",
  "serverMonitoringMode",
  "family",
  "autoSelectFamily",
  "autoSelectFamilyAttemptTimeout",
  "tlsAllowInvalidHostnames",
  "zlibCompressionLevel",
];

/** Wrong settings: `field` names the one. */
export class MongoOptionsError extends Error {
  override readonly name = "MongoOptionsError";
  readonly code = "bad-option";
  readonly field: string;
  constructor(field: string, message: string) {
    super(`${field}: ${message}`);
    this.field = field;
  }
}

/** What a user types into a URI field, taken apart. */
export interface SplitUri {
  readonly uri: string;
  readonly user?: string;
  readonly password?: string;
  /** Of the client certificate's key (`tlsCertificateKeyFilePassword`). */
  readonly passphrase?: string;
}

/** Hosts, then perhaps a database, then perhaps options: what stands behind the credentials. */
const BEHIND_CREDENTIALS =
  /^(?:\[[\da-f:.]+\]|[^\s@/?:,[\]]+)(?::\d+)?(?:,(?:\[[\da-f:.]+\]|[^\s@/?:,[\]]+)(?::\d+)?)*(?:\/[^/?@]*)?(?:\?[a-z]+=.*)?$/i;

/**
 * Moves the credentials out of a connection string. An unescaped "@", ":", "/" or "?" in the password is forgiven: the
 * credentials end at the first "@" behind which everything reads like hosts.
 */
export function splitUri(uri: string): SplitUri {
  const split = splitUserInfo(uri);
  const passphrase = /[?&]tlsCertificateKeyFilePassword=([^&]*)/i.exec(split.uri)?.[1];
  if (passphrase === undefined) return split;
  const rest = split.uri.replace(/([?&])tlsCertificateKeyFilePassword=[^&]*&?/gi, "$1").replace(/[?&]$/, "");
  return { ...split, uri: rest, ...(passphrase !== "" && { passphrase: decode(passphrase) }) };
}

function splitUserInfo(uri: string): SplitUri {
  const scheme = /^mongodb(?:\+srv)?:\/\//i.exec(uri)?.[0];
  if (scheme === undefined) return { uri };
  const rest = uri.slice(scheme.length);
  if (!rest.includes("@") || BEHIND_CREDENTIALS.test(rest)) return { uri };
  let end = rest.indexOf("@");
  while (end >= 0 && !BEHIND_CREDENTIALS.test(rest.slice(end + 1))) end = rest.indexOf("@", end + 1);
  // Nothing reads like hosts: still better to take too much for a secret than too little.
  if (end < 0) end = rest.lastIndexOf("@");
  const userInfo = rest.slice(0, end);
  const colon = userInfo.indexOf(":");
  const user = decode(colon < 0 ? userInfo : userInfo.slice(0, colon));
  return {
    uri: scheme + rest.slice(end + 1),
    ...(user !== "" && { user }),
    ...(colon >= 0 && { password: decode(userInfo.slice(colon + 1)) }),
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A "%" that begins no escape: typed as it is meant.
    return text;
  }
}

const OPTION_NAMES: readonly (keyof MongoOptions)[] = [
  "connection",
  "database",
  "collection",
  "mode",
  "keyFields",
  "operators",
  "idKind",
  "existingIdIsDelivered",
  "writeConcern",
  "fields",
  "device",
  "replaceKeys",
  "wrapField",
  "maxDestinations",
  "timeSeries",
];

const CONNECTION_NAMES: readonly (keyof MongoConnectionOptions | "hosts" | "srv")[] = [
  "uri",
  "hosts",
  "srv",
  "user",
  "password",
  "authSource",
  "mechanism",
  "tls",
  "ca",
  "cert",
  "key",
  "passphrase",
  "allowInvalidCertificates",
  "replicaSet",
  "direct",
  "appName",
  "compression",
  "metered",
  "selectTimeoutMs",
  "connectTimeoutMs",
  "requestTimeoutMs",
  "extra",
];

const FIELD_NAMES: readonly (keyof MongoAddedFields)[] = ["topic", "acceptedAt", "device", "replayed", "doubtful"];

/** Checks settings from outside and fills in the defaults. @throws {MongoOptionsError} */
export function checkMongoOptions(input: unknown): MongoOptions {
  const given = objectOf(input, "options");
  only(given, "", OPTION_NAMES);
  const collection = textOf(given, "collection");
  const database = textOf(given, "database");
  const databaseFault = databaseNameFault(database);
  if (databaseFault !== undefined) throw new MongoOptionsError("database", databaseFault);
  const collectionFault = collectionNameFault(collection, database);
  if (collectionFault !== undefined) throw new MongoOptionsError("collection", collectionFault);
  const mode = choiceOf(given, "mode", ["insert", "replace", "update"], "insert");
  const keyFields = namesOf(given, "keyFields", ["_id"]);
  const timeSeries = given["timeSeries"] === undefined ? undefined : checkTimeSeries(given["timeSeries"]);
  if (timeSeries !== undefined && mode !== "insert") {
    throw new MongoOptionsError("mode", "a time series takes inserts only");
  }
  return {
    connection: checkMongoConnection(given["connection"] ?? {}),
    database,
    collection,
    mode,
    keyFields,
    operators: flagOf(given, "operators"),
    idKind: choiceOf(given, "idKind", ["uuid", "string", "objectId"], "uuid"),
    existingIdIsDelivered: flagOf(given, "existingIdIsDelivered"),
    writeConcern: choiceOf(given, "writeConcern", ["majority", "w1", "server"], "majority"),
    fields: checkFields(given["fields"] ?? {}),
    ...optional(given, "device"),
    replaceKeys: flagOf(given, "replaceKeys"),
    wrapField: fieldNameOf(given["wrapField"] ?? "payload", "wrapField"),
    maxDestinations:
      given["maxDestinations"] === 0
        ? 0
        : numberOf(given, "maxDestinations", DEFAULT_MAX_DESTINATIONS, 1, MOST_MAX_DESTINATIONS),
    ...(timeSeries !== undefined && { timeSeries }),
  };
}

/**
 * The same for the connection alone. Instead of `uri` it takes `hosts` ("h1:27017,h2") and `srv` (mongodb+srv).
 * @throws {MongoOptionsError}
 */
export function checkMongoConnection(input: unknown): MongoConnectionOptions {
  const given = objectOf(input, "connection");
  only(given, "connection.", CONNECTION_NAMES);
  const split = splitUri(textOrNone(given, "uri") ?? uriOfHosts(given));
  if (!/^mongodb(\+srv)?:\/\/[^/?]/.test(split.uri)) {
    throw new MongoOptionsError("uri", "must begin with mongodb:// or mongodb+srv:// and name a host");
  }
  // An unacknowledged write would be deleted here before anybody knows that it arrived.
  if (/[?&]w=0(?:&|$)/i.test(split.uri)) throw new MongoOptionsError("uri", "w=0 would confirm what may be lost");
  const user = textOrNone(given, "user") ?? split.user;
  const password = textOrNone(given, "password") ?? split.password;
  if (password !== undefined && user === undefined) throw new MongoOptionsError("user", "a password needs a user");
  const mechanism = given["mechanism"] === undefined ? undefined : choiceOf(given, "mechanism", MECHANISMS);
  const appName = textOrNone(given, "appName");
  if (appName !== undefined && Buffer.byteLength(appName) > 128) {
    throw new MongoOptionsError("appName", "may have 128 bytes at most");
  }
  if ((given["cert"] === undefined) !== (given["key"] === undefined)) {
    throw new MongoOptionsError("cert", "certificate and key belong together: give both or none");
  }
  return {
    uri: split.uri,
    ...(user !== undefined && { user }),
    ...(password !== undefined && { password }),
    ...optional(given, "authSource"),
    ...(mechanism !== undefined && { mechanism }),
    tls: flagOf(given, "tls"),
    ...optional(given, "ca"),
    ...optional(given, "cert"),
    ...optional(given, "key"),
    ...(split.passphrase !== undefined && { passphrase: split.passphrase }),
    ...optional(given, "passphrase"),
    allowInvalidCertificates: flagOf(given, "allowInvalidCertificates"),
    ...optional(given, "replicaSet"),
    direct: flagOf(given, "direct"),
    ...(appName !== undefined && { appName }),
    compression: flagOf(given, "compression"),
    metered: flagOf(given, "metered"),
    selectTimeoutMs: numberOf(given, "selectTimeoutMs", 5_000),
    connectTimeoutMs: numberOf(given, "connectTimeoutMs", 10_000),
    requestTimeoutMs: numberOf(given, "requestTimeoutMs", 30_000),
    extra: checkExtra(given["extra"] ?? {}),
  };
}

function uriOfHosts(given: Given): string {
  const hosts = (textOrNone(given, "hosts") ?? "localhost:27017").replaceAll(/\s/g, "");
  if (!BEHIND_CREDENTIALS.test(hosts) || /[/?]/.test(hosts)) {
    throw new MongoOptionsError("hosts", "must be host names, each with a port if you like, separated by commas");
  }
  const isSrv = flagOf(given, "srv");
  if (isSrv && /[,:]/.test(hosts))
    throw new MongoOptionsError("hosts", "must be one name without a port for mongodb+srv");
  return `mongodb${isSrv ? "+srv" : ""}://${hosts}`;
}

/** What is wrong with a database name, in words; undefined when nothing is. MongoDB manual, "Naming restrictions". */
export function databaseNameFault(name: string): string | undefined {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > 63) return "a database name has 1 to 63 bytes";
  const bad = /[/\\. "$*<>:|?\0]/.exec(name)?.[0];
  if (bad !== undefined) return `a database name cannot hold ${JSON.stringify(bad)}`;
  if (["admin", "local", "config"].includes(name.toLowerCase())) return `the database ${name} is the server's own`;
  return undefined;
}

/** The same for a collection name. */
export function collectionNameFault(name: string, database: string): string | undefined {
  const bytes = Buffer.byteLength(database) + 1 + Buffer.byteLength(name);
  if (name === "" || bytes > 255) return "a collection name has 1 to 255 bytes, the database included";
  if (/[$\0]/.test(name)) return 'a collection name cannot hold "$" or NUL';
  if (name.startsWith(".") || name.endsWith(".") || name.includes("..")) return "a collection name has no empty part";
  if (name.startsWith("system.") || name.includes(".system.")) return `the collection ${name} is the server's own`;
  return undefined;
}

function checkTimeSeries(input: unknown): MongoTimeSeries {
  const given = objectOf(input, "timeSeries");
  only(given, "timeSeries.", ["timeField", "metaField", "granularity", "expireAfterSeconds"]);
  const metaField = textOrNone(given, "metaField");
  const granularity =
    given["granularity"] === undefined ? undefined : choiceOf(given, "granularity", ["seconds", "minutes", "hours"]);
  return {
    timeField: fieldNameOf(given["timeField"], "timeSeries.timeField"),
    ...(metaField !== undefined && { metaField: fieldNameOf(metaField, "timeSeries.metaField") }),
    ...(granularity !== undefined && { granularity }),
    ...(given["expireAfterSeconds"] !== undefined && {
      expireAfterSeconds: numberOf(given, "expireAfterSeconds", 0, 1, 2 ** 31 - 1),
    }),
  };
}

function checkFields(input: unknown): MongoAddedFields {
  const given = objectOf(input, "fields");
  only(given, "fields.", FIELD_NAMES);
  const fields: Record<string, string> = {};
  for (const name of FIELD_NAMES) {
    const field = textOrNone(given, name);
    if (field !== undefined) fields[name] = fieldNameOf(field, `fields.${name}`);
  }
  return fields;
}

function checkExtra(input: unknown): MongoConnectionOptions["extra"] {
  const extra = objectOf(input, "extra");
  for (const [name, value] of Object.entries(extra)) {
    if (!EXTRA_OPTIONS.includes(name))
      throw new MongoOptionsError(`extra.${name}`, "is not an option that may be set here");
    if (!["string", "number", "boolean"].includes(typeof value)) {
      throw new MongoOptionsError(`extra.${name}`, "must be a text, a number, true or false");
    }
  }
  return { ...extra } as MongoConnectionOptions["extra"];
}

type Given = Readonly<Record<string, unknown>>;

function objectOf(value: unknown, field: string): Given {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new MongoOptionsError(field, "must be an object");
  }
  return value as Given;
}

/** A name that is misspelt must not go unnoticed: its value would be ignored. */
function only(given: Given, path: string, names: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (!names.includes(name)) throw new MongoOptionsError(path + name, "is not an option");
  }
}

function textOf(given: Given, field: string): string {
  const text = textOrNone(given, field);
  if (text === undefined) throw new MongoOptionsError(field, "is required");
  return text;
}

/** An empty text is an empty field of a dialog: nothing given. */
function textOrNone(given: Given, field: string): string | undefined {
  const value = given[field];
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value !== "string") throw new MongoOptionsError(field, "must be a text");
  return value;
}

function optional<K extends string>(given: Given, field: K): { readonly [P in K]?: string } {
  const text = textOrNone(given, field);
  return (text === undefined ? {} : { [field]: text }) as { readonly [P in K]?: string };
}

function flagOf(given: Given, field: string): boolean {
  const value = given[field] ?? false;
  if (typeof value !== "boolean") throw new MongoOptionsError(field, "must be true or false");
  return value;
}

function numberOf(given: Given, field: string, fallback: number, least = 100, most = 600_000): number {
  const value = given[field] ?? fallback;
  if (typeof value !== "number" || !(value >= least && value <= most)) {
    throw new MongoOptionsError(field, `must be a number from ${least} to ${most}`);
  }
  return value;
}

function choiceOf<T extends string>(given: Given, field: string, choices: readonly T[], fallback?: T): T {
  const value = given[field] ?? fallback;
  const choice = choices.find((candidate) => candidate === value);
  if (choice === undefined) throw new MongoOptionsError(field, `must be one of ${choices.join(", ")}`);
  return choice;
}

function namesOf(given: Given, field: string, fallback: readonly string[]): readonly string[] {
  const value = given[field] ?? fallback;
  if (!Array.isArray(value) || value.length === 0) throw new MongoOptionsError(field, "must be a list of field names");
  const names = value.map((name) => {
    const parts = typeof name === "string" ? name.split(".") : [""];
    for (const part of parts) fieldNameOf(part, field);
    return name as string;
  });
  if (new Set(names).size !== names.length) throw new MongoOptionsError(field, "names a field twice");
  return names;
}

function fieldNameOf(name: unknown, field: string): string {
  if (typeof name !== "string" || name === "" || /^\$|[.\0]/.test(name) || name === "__proto__") {
    throw new MongoOptionsError(field, 'must be a field name: not empty, no leading "$", no dot, no NUL');
  }
  return name;
}
