/**
 * Tries connection settings for a user who is just typing them: reaches the server, logs in, asks what the login may
 * do, and says in words what is wrong. Writes nothing.
 */
import { type Clock, systemClock } from "../../clock.js";
import { TargetConfigError, TargetUnavailableError } from "../target.js";
import { type Lease, ownClient } from "./connection.js";
import { Deadline } from "./deadline.js";
import { failureOf } from "./failure.js";
import { checkMongoConnection, collectionNameFault, databaseNameFault, MongoOptionsError } from "./options.js";

/** Longest wait for the whole test, ms: somebody is looking at a button. */
const TEST_MS = 20_000;

/** How it looks when a server that wants TLS gets something else; the driver gives no code for a closed connection. */
const HUNG_UP = ["ECONNRESET", "EPIPE", "MongoNetworkError", "MongoServerSelectionError"];

export interface ConnectionTest {
  readonly ok: boolean;
  /** One sentence. */
  readonly message: string;
  /** What was found on the way, a sentence each. */
  readonly details: readonly string[];
}

export interface Place {
  readonly database: string;
  readonly collection: string;
}

/** Never throws, save the signal's reason when that aborts. `place` is checked for the right to insert. */
export async function testConnection(
  connection: unknown,
  signal: AbortSignal,
  place?: Place,
  clock: Clock = systemClock,
): Promise<ConnectionTest> {
  const details: string[] = [];
  let lease: Lease | undefined;
  let mayLackTls = false;
  try {
    const options = checkMongoConnection(connection);
    const nameFault =
      place && (databaseNameFault(place.database) ?? collectionNameFault(place.collection, place.database));
    if (nameFault !== undefined) return { ok: false, message: `${sentence(nameFault)}.`, details };
    mayLackTls = !options.tls && !/^mongodb\+srv:|[?&](tls|ssl)=true/i.test(options.uri);
    lease = await ownClient(options, clock);
    const deadline = new Deadline(clock, TEST_MS, signal);
    return await deadline.limit(look(lease, options.user !== undefined, deadline.signal, place, details));
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    return { ok: false, message: messageOf(error, lease, mayLackTls), details };
  } finally {
    await lease?.release();
  }
}

async function look(
  lease: Lease,
  hasLogin: boolean,
  signal: AbortSignal,
  place: Place | undefined,
  details: string[],
): Promise<ConnectionTest> {
  await lease.connect(signal);
  await lease.command("admin", { ping: 1 }, signal);
  details.push(hasLogin ? "The server is reached and the login accepted." : "The server is reached, without a login.");
  const version = await ask(lease, { buildInfo: 1 }, signal);
  if (typeof version?.["version"] === "string") details.push(`It says to be version ${version["version"]}.`);
  const hello = await ask(lease, { hello: 1 }, signal);
  if (typeof hello?.["setName"] === "string") details.push(`It belongs to the replica set ${hello["setName"]}.`);
  if (hello?.["isWritablePrimary"] === false) {
    return {
      ok: false,
      message: "This server is not the primary and takes no writes. Name the whole replica set, or another host.",
      details,
    };
  }
  if (place === undefined) return { ok: true, message: "The connection works.", details };
  const status = await ask(lease, { connectionStatus: 1, showPrivileges: true }, signal);
  const name = `${place.database}.${place.collection}`;
  switch (mayInsert(status, hasLogin, place)) {
    case "yes":
      return { ok: true, message: `The connection works, and ${name} may be written to.`, details };
    case "no":
      return {
        ok: false,
        message: `The login works but may not write to ${name}: grant it the role readWrite on ${place.database}.`,
        details,
      };
    case "unknown":
      details.push(`Whether ${name} may be written to, the server does not say.`);
      return { ok: true, message: "The connection works.", details };
  }
}

/** Beside the point: a server that does not answer it is no worse. */
async function ask(lease: Lease, command: object, signal: AbortSignal): Promise<Record<string, unknown> | undefined> {
  try {
    return await lease.command("admin", command, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    return undefined;
  }
}

/** MongoDB manual, "connectionStatus". Without access control there is no user, and everything is allowed or nothing. */
function mayInsert(
  status: Record<string, unknown> | undefined,
  hasLogin: boolean,
  place: Place,
): "yes" | "no" | "unknown" {
  const info = status?.["authInfo"] as { authenticatedUserPrivileges?: unknown } | undefined;
  const privileges = info?.authenticatedUserPrivileges;
  if (!hasLogin || !Array.isArray(privileges)) return "unknown";
  const allows = (privileges as { resource?: Record<string, unknown>; actions?: unknown }[]).some(
    ({ resource, actions }) => {
      const { anyResource, db, collection } = resource ?? {};
      const covers =
        anyResource === true ||
        ((db === "" || db === place.database) && (collection === "" || collection === place.collection));
      return covers && Array.isArray(actions) && (actions.includes("insert") || actions.includes("anyAction"));
    },
  );
  return allows ? "yes" : "no";
}

function messageOf(error: unknown, lease: Lease | undefined, mayLackTls: boolean): string {
  const { code } = error as { code?: unknown };
  if (mayLackTls && HUNG_UP.includes(String(code))) return "The server hung up. Does it want TLS?";
  if (
    error instanceof MongoOptionsError ||
    error instanceof TargetConfigError ||
    error instanceof TargetUnavailableError
  ) {
    return `${sentence(error.message.replace(/^MongoDB: /, ""))}.`;
  }
  return `${sentence(failureOf(error, lease?.secrets ?? []).message.replace(/^MongoDB: /, ""))}.`;
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1).replace(/[.\s]+$/, "");
}
