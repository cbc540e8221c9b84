/**
 * The "Test connection" button's other end: tries what stands in a dialog that may not be deployed yet.
 *
 * The browser does not know the stored secrets, so those of the deployed node are used: but only for the place they were
 * given for, or whoever may open the dialog could have them sent to a server of his own.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Node, NodeAPI } from "node-red";
import { systemClock } from "../../src/clock.js";
import type { ConnectionReport } from "../../src/targets/connection-report.js";
import type { RawConfig } from "./config.js";
import { type Resolve, environmentOf, resolvedSecret } from "./environment.js";
import { asError } from "./errors.js";

export type Secrets = Readonly<Record<string, string>>;

/** What a kind of exporter knows about its connection. */
export interface ConnectionKind {
  readonly type: string;
  /** Names of the credentials that are never shown. */
  readonly secrets: readonly string[];
  /**
   * Where secrets would go and how they are protected on the way, as text: equal text, equal place.
   * @throws when an environment variable is missing
   */
  placeOf(config: RawConfig, resolve: Resolve): string;
  /** @throws an error for the user when the settings cannot be used */
  test(config: RawConfig, credentials: Secrets, resolve: Resolve, signal: AbortSignal): Promise<ConnectionReport>;
}

/** Somebody is looking at a button. */
const TEST_MS = 10_000;
/** Tests at once: each may hold a socket for as long. */
const MAX_TESTS = 4;
/** What a password field of the editor holds that has not been touched. */
const UNTOUCHED = "__PWRD__";

interface Deployed {
  readonly config: RawConfig;
  readonly credentials: Secrets;
}

/** What the nodes that run were made of; it goes with them. */
const deployed = new WeakMap<Node, Deployed>();

/** To be called by each node as it is made. */
export function rememberDeployed(node: Node, config: RawConfig, credentials: Secrets): void {
  deployed.set(node, { config, credentials });
}

type Request = IncomingMessage & { readonly body?: unknown; is(type: string): string | false | null };
type Response = ServerResponse & { status(code: number): Response; json(body: unknown): unknown };

/** To be called once for each type, when its file is loaded. */
export function serveConnectionTest(RED: NodeAPI, kind: ConnectionKind): void {
  let running = 0;
  const answer = async (request: Request, response: Response): Promise<void> => {
    // A form of another site can be posted by a browser that is logged in here, but not as JSON.
    if (request.is("application/json") !== "application/json") {
      response.status(415).json({ ok: false, messages: ["Send JSON."] });
      return;
    }
    if (running >= MAX_TESTS) {
      response.status(429).json({ ok: false, messages: ["Other tests are running: try again in a moment."] });
      return;
    }
    running++;
    try {
      response.json(await report(RED, kind, request.body, response));
    } finally {
      running--;
    }
  };
  RED.httpAdmin.post(
    `/resilient-exporters/test/${kind.type}`,
    RED.auth.needsPermission("resilient.write"),
    (request, response) => {
      answer(request as unknown as Request, response as unknown as Response).catch((error: unknown) => {
        RED.log.error(asError(error).message);
        (response as unknown as Response)
          .status(500)
          .json({ ok: false, messages: ["The test itself failed: see the log."] });
      });
    },
  );
}

async function report(
  RED: NodeAPI,
  kind: ConnectionKind,
  body: unknown,
  response: Response,
): Promise<ConnectionReport> {
  const { id, config, credentials: typed } = askedFor(body);
  const node = RED.nodes.getNode(id) as Node | null | undefined;
  const known = node?.type === kind.type ? deployed.get(node) : undefined;
  const resolve = environmentOf(RED, known === undefined ? undefined : node!);
  const abort = new AbortController();
  const timer = systemClock.after(TEST_MS, () => abort.abort());
  response.once("close", () => abort.abort());
  try {
    const credentials = credentialsFor(kind, config, typed, known, resolve);
    if (credentials === undefined) {
      return {
        ok: false,
        messages: [
          "The address or how the connection is protected has changed: type the password or key again. What is stored is sent only to where it was meant for.",
        ],
      };
    }
    return await kind.test(config, credentials, resolve, abort.signal);
  } catch (error) {
    if (abort.signal.aborted)
      return { ok: false, messages: [`No result within ${TEST_MS / 1_000} s: nothing answers there, or very slowly.`] };
    return { ok: false, messages: [asError(error).message] };
  } finally {
    timer.cancel();
  }
}

/** What was typed, and for the secrets that were not touched what is stored; undefined when that must not be used. */
function credentialsFor(
  kind: ConnectionKind,
  config: RawConfig,
  typed: Secrets,
  known: Deployed | undefined,
  resolve: Resolve,
): Secrets | undefined {
  const credentials: Record<string, string> = {};
  for (const [name, value] of Object.entries(typed)) {
    if (value !== UNTOUCHED) credentials[name] = resolvedSecret(value, resolve);
  }
  const untouched = kind.secrets.filter((name) => typed[name] === UNTOUCHED);
  if (untouched.length === 0) return credentials;
  if (known === undefined || kind.placeOf(known.config, resolve) !== kind.placeOf(config, resolve)) return undefined;
  for (const name of untouched) credentials[name] = known.credentials[name] ?? "";
  return credentials;
}

function askedFor(body: unknown): { id: string; config: RawConfig; credentials: Secrets } {
  const { id, config, credentials } = objectIn(body);
  const texts = Object.entries(objectIn(credentials)).filter(
    (entry): entry is [string, string] => typeof entry[1] === "string",
  );
  return { id: typeof id === "string" ? id : "", config: objectIn(config), credentials: Object.fromEntries(texts) };
}

function objectIn(value: unknown): RawConfig {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as RawConfig) : {};
}

/** The credentials of a node as Node-RED gives them, each a text. */
export function credentialsOf(node: Node, resolve: Resolve): Secrets {
  const { credentials } = node as { credentials?: unknown };
  return Object.fromEntries(
    Object.entries(objectIn(credentials)).flatMap(([name, value]): [string, string][] =>
      typeof value === "string" && value !== "" ? [[name, resolvedSecret(value, resolve)]] : [],
    ),
  );
}
