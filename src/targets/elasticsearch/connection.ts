/**
 * The way to a cluster: makes clients from settings, shares them between exporters with equal ones, and sends single
 * requests that end in time whatever the other side does. What an answer means is `errors.ts`.
 */
import { promisify } from "node:util";
import { constants, gzip } from "node:zlib";
import type { Client, ClientOptions, DiagnosticResult } from "@elastic/elasticsearch";
import { systemClock, type Clock, type Timer } from "../../clock.js";
import { systemFiles } from "../../files.js";
import { checkKeyPair } from "../key-pair.js";
import { SharedClients, type Lease } from "../shared-clients.js";
import { TargetConfigError, TargetUnavailableError } from "../target.js";
import type { Driver } from "./driver.js";
import { judgeStatus, judgeThrown, withoutCredentials, type RequestFailure } from "./errors.js";
import type { ConnectionSettings, ElasticsearchAuth, ElasticsearchTls } from "./options.js";

/** Backstop of the client's own; the deadline of each request is ours, since the client's does not cover the body. */
const CLIENT_TIMEOUT_MS = 600_000;
/** Idle connections are closed before NAT and carrier gateways forget them. */
const KEEP_ALIVE_MS = 30_000;
const KEEP_ALIVE_MAX_MS = 60_000;
/** More than all exporters that share a client have in flight; they are opened only when used. */
const MAX_CONNECTIONS = 64;
/** Node's 250 ms fail every attempt on slower links: https://github.com/nodejs/node/issues/54359 */
const FAMILY_ATTEMPT_MS = 5_000;
const MAX_RESPONSE_BYTES = 32 * 1024 * 1024;
const MAX_PEM_BYTES = 1024 * 1024;
const COMPRESSED_FROM_BYTES = 1_024;
/** A mute server keeps the client's close waiting for ever. */
const CLOSE_MS = 3_000;
/** The slowest link that is waited for, in bytes per ms (8 KiB/s). */
const SLOWEST_BYTES_PER_MS = 8;

export const PRODUCT_HEADER = "x-elastic-product";

const compress = promisify(gzip);

export interface Request {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | boolean>>;
  /** NDJSON when `isBulk`, else JSON. */
  readonly body?: Buffer;
  readonly isBulk?: boolean;
}

export interface Response {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: unknown;
}

/** The request failed as a whole. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly failure: RequestFailure;
  /** Nothing can have been applied: the server said no. Otherwise any part of the request may have been. */
  readonly wasRefused: boolean;
  /** The answer carried Elasticsearch's product header. */
  readonly isFromElasticsearch: boolean;
  constructor(failure: RequestFailure, answer?: Pick<Response, "statusCode" | "headers">) {
    super(failure.message);
    this.failure = failure;
    this.wasRefused = answer !== undefined && answer.statusCode < 500;
    this.isFromElasticsearch = answer?.headers[PRODUCT_HEADER] !== undefined;
  }
}

const registries = new WeakMap<Driver, SharedClients<ConnectionSettings, Client>>();

/** One exporter's share in a client, with the requests that it has under way. */
export class Connection {
  readonly settings: ConnectionSettings;
  readonly #driver: Driver;
  readonly #lease: Lease<Client>;
  readonly #clock: Clock;
  readonly #compresses: boolean;
  readonly #underWay = new Set<(reason: Error) => void>();
  #closed: Promise<void> | undefined;

  /**
   * Nothing is sent yet.
   * @throws {TargetConfigError} the client refuses the settings, or a certificate or key cannot be read
   */
  static async open(settings: ConnectionSettings, driver: Driver, clock: Clock = systemClock): Promise<Connection> {
    return new Connection({ ...settings, tls: await withPemText(settings.tls) }, driver, clock);
  }

  private constructor(settings: ConnectionSettings, driver: Driver, clock: Clock) {
    let registry = registries.get(driver);
    if (registry === undefined) {
      registry = new SharedClients((shared) => makeClient(shared, driver), closeClient);
      registries.set(driver, registry);
    }
    try {
      this.#lease = registry.borrow(settings);
    } catch (error) {
      throw new TargetConfigError(`The settings do not fit: ${withoutCredentials((error as Error).message)}`);
    }
    this.settings = settings;
    this.#driver = driver;
    this.#clock = clock;
    this.#compresses = settings.compression === "on" || (settings.compression === "auto" && !isOnThisMachine(settings));
  }

  /** A connection to this one node of the cluster, to try it. To be closed by the caller. */
  toNode(url: string): Connection {
    return new Connection({ ...this.settings, nodes: [url], discoverNodes: false }, this.#driver, this.#clock);
  }

  hasNode(url: string): boolean {
    return this.#client.connectionPool.connections.some((node) => node.url.href === url);
  }

  /** From now on requests go to this node as well; those of all who share the client. */
  addNode(url: string): void {
    this.#client.connectionPool.addConnection({ url: new URL(url) });
  }

  get #client(): Client {
    return this.#lease.client;
  }

  /**
   * Sends one request and reads its answer, whatever its status below 400 is.
   * @param timeoutMs for the whole of it, the body of the answer included; by default the set one, and the time that
   *   the body takes on a slow link
   * @throws {RequestError} an error status, or no answer
   * @throws the signal's reason when that aborts first; TargetUnavailableError when the connection is being closed
   */
  async request(request: Request, signal: AbortSignal, timeoutMs?: number): Promise<Response> {
    signal.throwIfAborted();
    if (this.#closed !== undefined) throw closedError();
    // One fresh signal per request: the client may fire `abort` on it by itself, for everybody who listens.
    const own = new AbortController();
    let end: (reason: Error) => void = () => undefined;
    const ended = new Promise<never>((_, reject) => (end = reject));
    ended.catch(() => undefined); // It is raced below, and may reject after the race.
    this.#underWay.add(end);
    const onAbort = (): void => end(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    const deadlineMs = timeoutMs ?? this.#deadlineMs(request.body?.length ?? 0);
    let isLate = false;
    const timer = this.#clock.after(deadlineMs, () => {
      isLate = true;
      end(new RequestError(deadlineFailure(deadlineMs)));
    });
    try {
      return await Promise.race([this.#send(request, own.signal, () => isLate), ended]);
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
      this.#underWay.delete(end);
      own.abort();
    }
  }

  /** Abandons the requests under way and gives the client back. Takes at most 3 s; safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    for (const end of this.#underWay) end(closedError());
    await this.#lease.release();
  }

  async #send(request: Request, signal: AbortSignal, isLate: () => boolean): Promise<Response> {
    const { body } = request;
    const headers: Record<string, string> = {};
    let sent = body;
    if (body !== undefined) {
      headers["content-type"] = request.isBulk === true ? "application/x-ndjson" : "application/json";
      if (this.#compresses && body.length >= COMPRESSED_FROM_BYTES) {
        // Here and not by the client, whose level cannot be set: level 1 takes a third of the time for nearly the size.
        sent = await compress(body, { level: constants.Z_BEST_SPEED });
        headers["content-encoding"] = "gzip";
      }
    }
    try {
      const {
        statusCode,
        headers: received,
        body: answer,
      } = await this.#client.transport.request(
        {
          method: request.method,
          path: request.path,
          ...(request.query === undefined ? {} : { querystring: request.query }),
          ...(sent === undefined ? {} : { bulkBody: sent }),
        },
        { signal, meta: true, compression: false, headers },
      );
      return { statusCode: statusCode ?? 0, headers: received ?? {}, body: answer };
    } catch (error) {
      if (isLate()) this.#avoidNodeOf(error);
      throw this.#requestError(error);
    }
  }

  /** The client holds nothing against a node whose request was aborted, and would go on asking it in its turn. */
  #avoidNodeOf(error: unknown): void {
    const node = (error as { readonly meta?: DiagnosticResult }).meta?.meta.connection;
    if (node !== undefined && node !== null) this.#client.connectionPool.markDead(node);
  }

  /** What the client throws holds the request and its headers: only what was judged of it goes on. */
  #requestError(error: unknown): RequestError {
    const meta = error instanceof Error && error.name === "ResponseError" && "meta" in error ? error.meta : undefined;
    if (typeof meta === "object" && meta !== null) {
      const { statusCode, body, headers } = meta as Partial<Response>;
      if (typeof statusCode === "number") {
        const answer = { statusCode, body, headers: headers ?? {}, wallMs: this.#clock.wallMs() };
        return new RequestError(judgeStatus(answer), answer);
      }
    }
    return new RequestError(judgeThrown(error));
  }

  #deadlineMs(bytes: number): number {
    return this.settings.requestTimeoutMs + bytes / SLOWEST_BYTES_PER_MS;
  }
}

/** Certificates may be given as text or as the path of a file: a file is read here, so that equal ones share a client. */
async function withPemText(tls: ElasticsearchTls): Promise<ElasticsearchTls> {
  const read: Record<string, string> = {};
  for (const name of ["ca", "cert", "key"] as const) {
    const text = tls[name];
    if (text === undefined || text.includes("-----BEGIN")) continue;
    try {
      read[name] = await readText(text);
    } catch (error) {
      throw new TargetConfigError(`The file of the ${name} cannot be read: ${(error as Error).message}`, {
        code: "unreadable-certificate",
      });
    }
  }
  const complete = { ...tls, ...read };
  checkKeyPair(complete);
  return complete;
}

async function readText(path: string): Promise<string> {
  const bytes = Buffer.alloc(Math.min((await systemFiles.size(path)) ?? MAX_PEM_BYTES, MAX_PEM_BYTES));
  const file = await systemFiles.open(path);
  try {
    return bytes.toString("utf8", 0, await file.read(bytes, 0));
  } finally {
    await file.close();
  }
}

function makeClient(settings: ConnectionSettings, driver: Driver): Client {
  const { tls, proxy } = settings;
  const family = { autoSelectFamily: true, autoSelectFamilyAttemptTimeout: FAMILY_ATTEMPT_MS };
  const { verify, caFingerprint, ...pem } = tls;
  const options: ClientOptions = {
    ...(settings.cloudId === "" ? { nodes: [...settings.nodes] } : { cloud: { id: settings.cloudId } }),
    ...(settings.serverless ? { serverMode: "serverless" as const } : {}),
    ...authOption(settings.auth),
    // Plain media types: the vendored ones of one client version are refused by servers of another.
    headers: { ...settings.headers, accept: "application/json" },
    // A fingerprint stands in for the chain of trust. With it the connector is made from these options alone.
    tls: { ...pem, rejectUnauthorized: verify && caFingerprint === undefined, ...family },
    ...(caFingerprint === undefined ? {} : { caFingerprint }),
    // Its errors go no further than this file. To redact them the client copies the request's body number by number:
    // for 4 MiB that stops the process for seconds, and takes 500 MiB.
    redaction: { type: "off" },
    maxRetries: 0,
    requestTimeout: CLIENT_TIMEOUT_MS,
    compression: false,
    maxResponseSize: MAX_RESPONSE_BYTES,
    maxCompressedResponseSize: MAX_RESPONSE_BYTES,
    Transport: transportOf(settings, driver),
    ...(proxy === ""
      ? {
          agent: {
            connections: MAX_CONNECTIONS,
            keepAliveTimeout: KEEP_ALIVE_MS,
            keepAliveMaxTimeout: KEEP_ALIVE_MAX_MS,
            ...family,
          },
        }
      : { Connection: driver.HttpConnection, proxy, agent: { keepAlive: true, keepAliveMsecs: KEEP_ALIVE_MS } }),
  };
  return new driver.Client(options);
}

/**
 * The plain transport instead of the client's default one, which can sniff: an answer to a sniff that is no node list
 * becomes an unhandled rejection, and ends the process (https://github.com/elastic/elasticsearch-js/issues/1178).
 */
function transportOf(settings: ConnectionSettings, driver: Driver): NonNullable<ClientOptions["Transport"]> {
  if (!settings.compatibleServer) return driver.Transport;
  return class CompatibleTransport extends driver.Transport {
    constructor(options: ConstructorParameters<Driver["Transport"]>[0]) {
      const { vendoredHeaders: _, productCheck: __, ...rest } = options;
      super(rest);
    }
  };
}

function authOption(auth: ElasticsearchAuth): Pick<ClientOptions, "auth"> {
  switch (auth.kind) {
    case "none":
      return {};
    case "basic":
      return { auth: { username: auth.username, password: auth.password } };
    case "apiKey": {
      const [id, secret, ...rest] = auth.apiKey.split(":");
      const isPair = rest.length === 0 && secret !== undefined;
      return { auth: { apiKey: isPair ? { id: id!, api_key: secret } : auth.apiKey } };
    }
    case "bearer":
      return { auth: { bearer: auth.token } };
  }
}

/** Whoever closes last has no request under way: connections are cut, since some may be waiting for a mute server. */
async function closeClient(client: Client): Promise<void> {
  const cut = client.connectionPool.connections.map((node) => cutConnections(node));
  let timer: Timer | undefined;
  const late = new Promise<void>((resolve) => (timer = systemClock.after(CLOSE_MS, resolve)));
  // Whatever goes wrong while closing has no consequence: nothing is sent any more.
  await Promise.race([Promise.allSettled([...cut, client.close()]), late]);
  timer?.cancel();
}

/** The client's own close waits for connections that are still being made, for ever when nobody answers. */
async function cutConnections(node: object): Promise<void> {
  const pool: unknown = "pool" in node ? node.pool : undefined;
  if (typeof pool === "object" && pool !== null && "destroy" in pool && typeof pool.destroy === "function") {
    await (pool.destroy as () => Promise<void>).call(pool);
  }
}

function isOnThisMachine(settings: ConnectionSettings): boolean {
  return (
    settings.cloudId === "" &&
    settings.proxy === "" &&
    settings.nodes.every((node) => /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/u.test(new URL(node).hostname))
  );
}

function deadlineFailure(deadlineMs: number): RequestFailure {
  return {
    verdict: "unavailable",
    code: "timeout",
    message: `Elasticsearch did not answer within ${Math.round(deadlineMs / 100) / 10} s`,
  };
}

function closedError(): TargetUnavailableError {
  return new TargetUnavailableError("The connection to Elasticsearch is closed", { code: "closed" });
}
