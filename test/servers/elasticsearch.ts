/**
 * Real Elasticsearch servers for tests: with security and TLS, started once for a whole run, on a free port. Where
 * ELASTICSEARCH_URL is set, that server is used instead, with ELASTICSEARCH_USERNAME and ELASTICSEARCH_PASSWORD, or
 * ELASTICSEARCH_API_KEY, and ELASTICSEARCH_CA (path of a PEM file).
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { installInto, madeOnce } from "../support/servers-cache.js";
import type { Driver } from "../../src/targets/elasticsearch/driver.js";
import type { ElasticsearchOptions } from "../../src/targets/elasticsearch/options.js";

export type ConnectionOptions = NonNullable<ElasticsearchOptions["connection"]>;

const SCRIPT = join(__dirname, "elasticsearch.sh");
/** Building from nothing takes a minute or two, a start 5 to 16 s. */
export const START_TIMEOUT_MS = 300_000;

export interface Reply {
  readonly status: number;
  readonly body: unknown;
}

export interface ElasticsearchServer {
  readonly name: string;
  readonly url: URL;
  /** All that is needed to connect as a user who may do everything. */
  readonly connection: ConnectionOptions;
  /** Only for a server of our own. */
  readonly isOurs: boolean;
  /** Sends a request as that user; a text body is NDJSON. */
  request(method: string, path: string, body?: object | string): Promise<Reply>;
  /** SIGKILL. The data stays. */
  kill(): Promise<void>;
  /** Starts again after `kill`, on the same port. */
  restart(): Promise<void>;
  /** SIGSTOP: connections stay, nothing answers. Until `thaw`. */
  freeze(): void;
  thaw(): void;
}

export interface Needs {
  /** Without: plain HTTP and no login. Default true. */
  readonly security?: boolean;
  /** Default: a free one. */
  readonly port?: number;
  /** More lines of elasticsearch.yml. */
  readonly settings?: string;
}

const stops: (() => Promise<void>)[] = [];
const shared = new Map<string, Promise<ElasticsearchServer>>();

/** The servers that the whole run is to be tried with. */
export const VERSIONS: readonly string[] =
  process.env["ELASTICSEARCH_URL"] === undefined ? ["9.5.3", "8.19.21"] : ["given"];

/** One server per version, for all test files of this run. */
export function sharedElasticsearch(version: string): Promise<ElasticsearchServer> {
  let server = shared.get(version);
  if (server === undefined) {
    server = version === "given" ? givenServer() : startElasticsearch(version);
    shared.set(version, server);
  }
  return server;
}

/** A server of one's own, stopped at the end of the run. */
export async function startElasticsearch(version: string, needs: Needs = {}): Promise<ElasticsearchServer> {
  const isSecure = needs.security !== false;
  const folder = await mkdtemp(join(tmpdir(), "resilient-elasticsearch-"));
  const password = randomBytes(12).toString("hex");
  const port = needs.port ?? (await freePort());
  const environment = {
    ...process.env,
    ES_VERSION: version,
    ES_PORT: String(port),
    ES_EXTRA: needs.settings ?? "",
    ...(isSecure ? { ES_PASSWORD: password, ES_TLS: "1" } : {}),
  };
  const run = async (command: string): Promise<void> => {
    await promisify(execFile)("bash", [SCRIPT, command, folder], { env: environment });
  };
  const signal = (name: NodeJS.Signals): void => {
    process.kill(Number(readFileSync(join(folder, "pid"), "utf8")), name);
  };
  const killNow = (): void => {
    // A run that ends before its hooks must not leave servers behind.
    try {
      signal("SIGKILL");
    } catch {
      // Stopped already.
    }
  };
  process.once("exit", killNow);
  stops.push(async () => {
    await run("finish");
    process.removeListener("exit", killNow);
    await rm(folder, { recursive: true, force: true });
  });
  await run("start");

  const ca = isSecure ? readFileSync(join(folder, "config", "ca.crt"), "utf8") : undefined;
  const url = new URL(`${isSecure ? "https" : "http"}://localhost:${port}`);
  const authorization = isSecure ? `Basic ${Buffer.from(`elastic:${password}`).toString("base64")}` : undefined;
  return {
    name: `Elasticsearch ${version}`,
    url,
    connection: {
      nodes: url.href,
      ...(ca === undefined ? {} : { tls: { ca }, auth: { kind: "basic", username: "elastic", password } }),
    },
    isOurs: true,
    request: (method, path, body) => send(new URL(path, url), { method, authorization, ca }, body),
    kill: () => run("kill"),
    restart: () => run("start"),
    freeze: () => signal("SIGSTOP"),
    thaw: () => signal("SIGCONT"),
  };
}

/** Stops all that were started here; under mocha the end of the run does that. */
export async function stopElasticsearch(): Promise<void> {
  shared.clear();
  await Promise.all(stops.splice(0).map((stop) => stop()));
}

if (typeof after === "function") {
  // At mocha's root, so it runs once, after every file that uses these servers.
  after("stop the Elasticsearch servers", async function () {
    this.timeout(START_TIMEOUT_MS);
    await stopElasticsearch();
  });
}

/** The other client of the two that we promise to work with. */
export async function olderDriver(): Promise<Driver> {
  const folder = await madeOnce("elasticsearch-client-8.19.2", (making) =>
    installInto(making, ["@elastic/elasticsearch@8.19.2"]),
  );
  const path = join(folder, "node_modules", "@elastic", "elasticsearch");
  const { Client, HttpConnection, Transport } = require(path) as Driver;
  return { Client, HttpConnection, Transport };
}

async function givenServer(): Promise<ElasticsearchServer> {
  const env = (name: string): string | undefined => process.env[`ELASTICSEARCH_${name}`];
  const url = new URL(env("URL") ?? "");
  const ca = env("CA") === undefined ? undefined : readFileSync(env("CA") ?? "", "utf8");
  const apiKey = env("API_KEY");
  const [username, password] = [env("USERNAME"), env("PASSWORD")];
  const authorization =
    apiKey !== undefined
      ? `ApiKey ${apiKey}`
      : username === undefined
        ? undefined
        : `Basic ${Buffer.from(`${username}:${password ?? ""}`).toString("base64")}`;
  const auth: ConnectionOptions["auth"] =
    apiKey !== undefined
      ? { kind: "apiKey", apiKey }
      : username !== undefined
        ? { kind: "basic", username, password: password ?? "" }
        : { kind: "none" };
  const request = (method: string, path: string, body?: object | string): Promise<Reply> =>
    send(new URL(path, url), { method, authorization, ca }, body);
  const { version } = (await request("GET", "/")).body as { version: { number: string } };
  const refuse = (): never => {
    throw new Error("not our server");
  };
  return {
    name: `Elasticsearch ${version.number} (given)`,
    url,
    connection: { nodes: url.href, auth, ...(ca === undefined ? {} : { tls: { ca } }) },
    isOurs: false,
    request,
    kill: refuse,
    restart: refuse,
    freeze: refuse,
    thaw: refuse,
  };
}

interface Access {
  readonly method: string;
  readonly authorization: string | undefined;
  readonly ca: string | undefined;
}

function send(url: URL, access: Access, body?: object | string): Promise<Reply> {
  const text = typeof body === "object" ? JSON.stringify(body) : body;
  const headers = {
    accept: "application/json",
    ...(text === undefined
      ? {}
      : { "content-type": typeof body === "string" ? "application/x-ndjson" : "application/json" }),
    // Node frames no body of a DELETE by itself.
    "content-length": Buffer.byteLength(text ?? ""),
    ...(access.authorization === undefined ? {} : { authorization: access.authorization }),
  };
  return new Promise((resolve, reject) => {
    const start = url.protocol === "https:" ? httpsRequest : httpRequest;
    const options = {
      method: access.method,
      headers,
      agent: false,
      ...(access.ca === undefined ? {} : { ca: access.ca }),
    };
    const request = start(url, options, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const answer = Buffer.concat(chunks).toString();
        resolve({
          status: response.statusCode ?? 0,
          body: answer === "" ? undefined : (JSON.parse(answer) as unknown),
        });
      });
    });
    request.on("error", reject);
    request.end(text);
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
