/**
 * The "Test connection" of the dialog: can the server be reached, who are we there, and may we write? Nothing is
 * written.
 */
import { systemClock, type Clock } from "../../clock.js";
import type { ConnectionReport } from "../connection-report.js";
import { TargetConfigError, TargetUnavailableError } from "../target.js";
import { Connection, RequestError } from "./connection.js";
import type { Driver } from "./driver.js";
import { resolveIndexName } from "./index-name.js";
import type { ElasticsearchSettings } from "./options.js";
import { probeElasticsearch } from "./probe.js";

const TEST_MS = 10_000;

/** Creates a missing index or data stream at the first write. */
const CREATE_MISSING = "auto_configure";

/** A server that expects TLS just closes a plain connection: this cannot be told from a server that is down. */
const TLS_HINT = "If the server expects TLS, as it does by default since version 8, the address starts with https.";

/** @throws only the signal's reason: whatever the server says is part of the report */
export async function testConnection(
  settings: ElasticsearchSettings,
  signal: AbortSignal,
  parts: { readonly clock?: Clock; readonly loadDriver?: () => Promise<Driver> } = {},
): Promise<ConnectionReport> {
  const clock = parts.clock ?? systemClock;
  const loadDriver = parts.loadDriver ?? (async () => (await import("./driver.js")).driver);
  let connection: Connection | undefined;
  try {
    connection = await Connection.open(settings.connection, await loadDriver(), clock);
    await probeElasticsearch(connection, signal);
    const version = await readVersion(connection, signal);
    const user = await readUser(connection, signal);
    const reached = `Connected to ${version}${user === undefined ? "" : ` as ${user}`}.`;
    if (user === undefined) return { ok: true, messages: [reached, "The server asks for no login."] };
    const index = resolveIndexName(settings.index, settings.dateSuffix, clock.wallMs());
    const { ok, messages } = await checkPrivileges(connection, settings, index, signal);
    return { ok, messages: ok ? [reached, ...messages] : [...messages, reached] };
  } catch (error) {
    const isAnswer =
      error instanceof RequestError || error instanceof TargetUnavailableError || error instanceof TargetConfigError;
    if (!isAnswer) throw error;
    const mayNeedTls = error instanceof TargetUnavailableError && settings.connection.nodes.some(isPlain);
    return { ok: false, messages: [`${error.message}.`, ...(mayNeedTls ? [TLS_HINT] : [])] };
  } finally {
    await connection?.close();
  }
}

function isPlain(node: string): boolean {
  return node.startsWith("http:");
}

async function readVersion(connection: Connection, signal: AbortSignal): Promise<string> {
  try {
    const { body } = await connection.request({ method: "GET", path: "/" }, signal, TEST_MS);
    const number = textAt(body, "version", "number");
    return number === undefined ? "Elasticsearch" : `Elasticsearch ${number}`;
  } catch (error) {
    // A limited key may not ask for it, and it is only for the reader.
    if (error instanceof RequestError && error.failure.statusCode === 403) return "Elasticsearch";
    throw error;
  }
}

/** Undefined when the server knows no users. */
async function readUser(connection: Connection, signal: AbortSignal): Promise<string | undefined> {
  try {
    const { body } = await connection.request({ method: "GET", path: "/_security/_authenticate" }, signal, TEST_MS);
    const keyName = textAt(body, "api_key", "name");
    if (keyName !== undefined) return `API key "${keyName}"`;
    const username = textAt(body, "username");
    return username === undefined ? undefined : `user "${username}"`;
  } catch (error) {
    const status = error instanceof RequestError ? error.failure.statusCode : undefined;
    // Without security there is no such page; the answer is one of several errors, by version.
    if (status !== undefined && status !== 401 && status !== 403 && status < 502) return undefined;
    throw error;
  }
}

async function checkPrivileges(
  connection: Connection,
  settings: ElasticsearchSettings,
  index: string,
  signal: AbortSignal,
): Promise<ConnectionReport> {
  const write = settings.op === "create" ? "create_doc" : "index";
  const question = { index: [{ names: [index], privileges: [write, CREATE_MISSING] }] };
  const body = Buffer.from(JSON.stringify(question));
  const request = { method: "POST", path: "/_security/user/_has_privileges", body } as const;
  const answer = (await connection.request(request, signal, TEST_MS)).body;
  const granted = propertyAt(answer, "index", index);
  const what = settings.destination === "index" ? "index" : "data stream";
  const messages: string[] = [];
  const mayWrite = propertyAt(granted, write) === true;
  if (!mayWrite) messages.push(`The privilege "${write}" on ${what} "${index}" is missing: nothing can be written.`);
  if (propertyAt(granted, CREATE_MISSING) !== true) {
    messages.push(
      `The privilege "${CREATE_MISSING}" on ${what} "${index}" is missing: it must exist before the first record.`,
    );
  }
  if (mayWrite) messages.unshift(`Documents may be written to ${what} "${index}".`);
  return { ok: mayWrite, messages };
}

function propertyAt(value: unknown, ...path: readonly string[]): unknown {
  let at = value;
  for (const name of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, name)) return undefined;
    at = (at as Readonly<Record<string, unknown>>)[name];
  }
  return at;
}

function textAt(value: unknown, ...path: readonly string[]): string | undefined {
  const text = propertyAt(value, ...path);
  return typeof text === "string" ? text : undefined;
}
