/**
 * The way to a server: one driver client for all targets with equal connection settings, connected when the server
 * first appears, let go of when the last target closes. Every call has a deadline of its own.
 */
import { createHmac, randomBytes } from "node:crypto";
import { readFile } from "fs-extra";
import type { Document, MongoClient, MongoClientOptions } from "mongodb";
import { type Clock, systemClock } from "../../clock.js";
import { checkKeyPair } from "../key-pair.js";
import { TargetConfigError } from "../target.js";
import { Deadline } from "./deadline.js";
import { failureOf } from "./failure.js";
import type { MongoConnectionOptions } from "./options.js";

/** Longest wait for a client to close; the rest ends in the background. Node-RED gives a whole deploy 15 s. */
const CLOSE_MS = 2_500;
/** A link this slow still gets its bytes through before the deadline. */
const SLOWEST_BYTES_PER_MS = 8.192;
/** A stalled socket that no deadline has noticed. The deadlines are shorter. */
const SOCKET_TIMEOUT_MS = 120_000;
/** Connections are opened only when a batch needs one, so the concurrency of the targets that share the client is the limit. */
const MAX_POOL_SIZE = 100;

/** A share in a client. */
export interface Lease {
  readonly client: MongoClient;
  /** Texts that no error may show. */
  readonly secrets: readonly string[];
  /** Resolves once the server has been reached for the first time. @throws {TargetUnavailableError | TargetConfigError} */
  connect(signal: AbortSignal): Promise<void>;
  /** One command with a deadline; `bytes` is what goes over the link with it. @throws what the driver throws */
  command(database: string, command: Document, signal: AbortSignal, bytes?: number): Promise<Document>;
  /** The deadline for a call of the driver's own that carries `bytes`. */
  deadline(signal: AbortSignal, bytes?: number): Deadline;
  /** Calls back when the driver sees a server come (back); returns the way to stop that. */
  onReachable(listener: () => void): () => void;
  /** Gives the share back; closes the client when it was the last. Bounded; safe to call twice. */
  release(): Promise<void>;
}

class SharedClient {
  readonly client: MongoClient;
  readonly secrets: readonly string[];
  readonly clock: Clock;
  readonly options: MongoConnectionOptions;
  readonly listeners = new Set<() => void>();
  leases = 0;
  #connecting: Promise<void> | undefined;
  #hasConnected = false;
  #isClosed = false;

  constructor(client: MongoClient, options: MongoConnectionOptions, clock: Clock) {
    this.client = client;
    this.options = options;
    this.secrets = secretsOf(options);
    this.clock = clock;
    // An `error` event that nobody hears ends the process.
    client.on("error", () => {});
    client.on("serverDescriptionChanged", ({ previousDescription, newDescription }) => {
      if (previousDescription.type !== "Unknown" || newDescription.type === "Unknown") return;
      for (const listener of this.listeners) listener();
    });
  }

  async connect(signal: AbortSignal): Promise<void> {
    // After that the driver reconnects by itself; before, each attempt must be asked for, on the same client.
    if (this.#hasConnected) return;
    this.#connecting ??= this.#connectOnce();
    try {
      await this.deadline(signal, 0).limit(this.#connecting);
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw failureOf(error, this.secrets);
    }
  }

  deadline(signal: AbortSignal, bytes: number): Deadline {
    return new Deadline(this.clock, this.options.requestTimeoutMs + bytes / SLOWEST_BYTES_PER_MS, signal);
  }

  /** Bounded: the driver says good-bye to the server, which may need a new connection to one that hangs. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.listeners.clear();
    const connecting = this.#connecting;
    const closing = Promise.all([
      this.client.close(),
      // A connect that was still asking the DNS opens its sockets only now.
      connecting?.then(
        () => this.client.close(),
        () => this.client.close(),
      ),
    ]);
    const enough = new AbortController();
    const limit = new Promise<void>((resolve) => {
      const timer = this.clock.after(CLOSE_MS, resolve);
      enough.signal.addEventListener("abort", () => timer.cancel());
    });
    try {
      await Promise.race([closing, limit]);
    } catch {
      // What cannot be closed is not used any more either, and the process must go on.
    } finally {
      enough.abort();
      closing.catch(() => {});
    }
  }

  async #connectOnce(): Promise<void> {
    try {
      await this.client.connect();
      this.#hasConnected = !this.#isClosed;
    } finally {
      this.#connecting = undefined;
    }
  }
}

/** Keyed by a keyed hash of the settings, so that nothing that lists the keys can show a password. */
const sharedClients = new Map<string, Promise<SharedClient>>();
const hashKey = randomBytes(32);

/** Takes a share in the client for these settings; makes it when there is none. @throws {TargetConfigError} */
export async function leaseClient(options: MongoConnectionOptions, clock: Clock = systemClock): Promise<Lease> {
  const key = createHmac("sha256", hashKey)
    .update(JSON.stringify(sorted(options)))
    .digest("hex");
  let pending = sharedClients.get(key);
  if (pending === undefined) {
    pending = makeClient(options, clock);
    sharedClients.set(key, pending);
    pending.catch(() => sharedClients.delete(key));
  }
  const shared = await pending;
  // The last lease may have ended while we waited.
  if (sharedClients.get(key) !== pending) return leaseClient(options, clock);
  shared.leases++;
  return leaseOf(shared, async () => {
    if (--shared.leases > 0) return;
    sharedClients.delete(key);
    await shared.close();
  });
}

/** A client of one's own, which proves what it is asked by itself. @throws {TargetConfigError} */
export async function ownClient(options: MongoConnectionOptions, clock: Clock = systemClock): Promise<Lease> {
  const own = await makeClient(options, clock);
  return leaseOf(own, () => own.close());
}

function leaseOf(shared: SharedClient, end: () => Promise<void>): Lease {
  const listeners = new Set<() => void>();
  let released: Promise<void> | undefined;
  const release = (): Promise<void> => {
    for (const listener of listeners) shared.listeners.delete(listener);
    return end();
  };
  return {
    client: shared.client,
    secrets: shared.secrets,
    connect: (signal) => shared.connect(signal),
    deadline: (signal, bytes = 0) => shared.deadline(signal, bytes),
    command(database, command, signal, bytes = 0) {
      const deadline = shared.deadline(signal, bytes);
      // Options of the client are not inherited by a command.
      const settings = { signal: deadline.signal, ignoreUndefined: true };
      return deadline.limit(shared.client.db(database).command(command, settings));
    },
    onReachable(listener) {
      const own = (): void => listener();
      listeners.add(own);
      shared.listeners.add(own);
      return () => {
        listeners.delete(own);
        shared.listeners.delete(own);
      };
    },
    release: () => (released ??= release()),
  };
}

/** How many clients there are: for tests and metrics. */
export function clientCount(): number {
  return sharedClients.size;
}

/** Makes a client that has not connected yet. @throws {TargetConfigError} when the driver does not take the settings */
async function makeClient(options: MongoConnectionOptions, clock: Clock = systemClock): Promise<SharedClient> {
  const { MongoClient } = await import("./driver.js");
  const secrets = secretsOf(options);
  try {
    return new SharedClient(new MongoClient(options.uri, await clientOptions(options)), options, clock);
  } catch (error) {
    const failure = failureOf(error, secrets);
    // Whatever the constructor dislikes, no waiting will change it.
    if (failure instanceof TargetConfigError) throw failure;
    throw new TargetConfigError(failure.message, { code: failure.code, cause: failure.cause });
  }
}

/** The driver's options, set for bad links. */
async function clientOptions(options: MongoConnectionOptions): Promise<MongoClientOptions> {
  const { user, password, mechanism } = options;
  const [ca, cert, key] = await Promise.all([
    pem(options.ca, "CA"),
    pem(options.cert, "certificate"),
    pem(options.key, "key"),
  ]);
  checkKeyPair({ cert, key, passphrase: options.passphrase });
  return {
    serverSelectionTimeoutMS: options.selectTimeoutMs,
    // Also bounds heartbeats, and through them close().
    connectTimeoutMS: options.connectTimeoutMs,
    socketTimeoutMS: Math.max(SOCKET_TIMEOUT_MS, options.requestTimeoutMs),
    heartbeatFrequencyMS: options.metered ? 60_000 : 10_000,
    serverMonitoringMode: options.metered ? "poll" : "auto",
    maxPoolSize: MAX_POOL_SIZE,
    // NAT and carrier gateways forget idle flows.
    maxIdleTimeMS: 60_000,
    waitQueueTimeoutMS: 10_000,
    keepAliveInitialDelay: 30_000,
    // Node's 250 ms are too short for links slower than that: every attempt would fail (nodejs/node#54359).
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: 5_000,
    ...(options.compression && { compressors: ["zlib"], zlibCompressionLevel: 1 }),
    retryWrites: true,
    // Whatever the connection string says: what is read is what was just written, and a secondary may not have it yet.
    readPreference: "primary",
    // We back off ourselves.
    maxAdaptiveRetries: 0,
    appName: options.appName ?? "node-red-contrib-resilient-exporters",
    ignoreUndefined: true,
    ...options.extra,
    // X.509 has a user without a password; the driver takes an empty one for none.
    ...(user !== undefined && { auth: { username: user, password: password ?? "" } }),
    ...(mechanism !== undefined && { authMechanism: mechanism }),
    ...(options.authSource !== undefined && { authSource: options.authSource }),
    ...(options.tls && { tls: true }),
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(options.passphrase !== undefined && { passphrase: options.passphrase }),
    ...(options.allowInvalidCertificates && { tlsAllowInvalidCertificates: true }),
    ...(options.replicaSet !== undefined && { replicaSet: options.replicaSet }),
    ...(options.direct && { directConnection: true }),
  };
}

async function pem(textOrPath: string | undefined, what: string): Promise<string | undefined> {
  if (textOrPath === undefined || textOrPath.includes("-----BEGIN")) return textOrPath;
  try {
    return await readFile(textOrPath, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unreadable";
    throw new TargetConfigError(`MongoDB: the ${what} file cannot be read (${code})`, { code });
  }
}

function secretsOf(options: MongoConnectionOptions): string[] {
  return [options.password, options.passphrase].filter((secret) => secret !== undefined);
}

/** Equal settings give equal text, in whatever order they were given. */
function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value)
    .filter(([, inner]) => inner !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, inner]) => [name, sorted(inner)]);
}
