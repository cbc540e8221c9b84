/**
 * Starts, stops and kills the MongoDB-protocol server of the tests (FerretDB, see `mongodb.sh`; it is not mongod).
 * `MONGODB_URL` names a real one instead, for the tests that need no control over the process.
 */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import type { Context } from "mocha";
import { output, projectFolder } from "../support/servers-cache.js";
import { skipBecause } from "../support/skip.js";

const BUILD_MS = 20 * 60_000;
/** Exit code of the script. */
const NO_COMPILER = 3;

export interface MongoServerSettings {
  /** Set: SCRAM login as user "root", authSource "admin". */
  readonly password?: string;
  readonly tls?: "server" | "mutual";
}

export class MongoServer {
  readonly port: number;
  /** `ca.crt` and, with mutual TLS, `client.crt` and `client.key` are in it. */
  readonly folder: string;
  readonly #environment: readonly string[];
  readonly #killAtExit = (): void => {
    try {
      process.kill(Number(readFileSync(join(this.folder, "pid"), "utf8")), "SIGKILL");
    } catch {
      // Not running: nothing to kill.
    }
  };

  private constructor(folder: string, port: number, settings: MongoServerSettings) {
    this.folder = folder;
    this.port = port;
    const { password, tls } = settings;
    this.#environment = [
      `MONGO_PORT=${port}`,
      `MONGO_PASSWORD=${password ?? ""}`,
      `MONGO_TLS=${tls === undefined ? "" : tls === "mutual" ? "mutual" : "1"}`,
    ];
  }

  /** A server of its own on a free port, not started yet. */
  static async make(settings: MongoServerSettings = {}): Promise<MongoServer> {
    const folder = await mkdtemp(join(tmpdir(), "resilient-mongodb-"));
    const server = new MongoServer(folder, await freePort(), settings);
    process.on("exit", server.#killAtExit);
    return server;
  }

  /** Without credentials. */
  get url(): string {
    return `mongodb://127.0.0.1:${this.port}`;
  }

  /** Builds the server first when the cache has none, which takes minutes. */
  async start(): Promise<void> {
    await this.#run("start");
  }

  /** SIGTERM; the data stays. */
  async stop(): Promise<void> {
    await this.#run("stop");
  }

  /** SIGKILL; the data stays. */
  async kill(): Promise<void> {
    await this.#run("kill");
  }

  /** Kills it and deletes its data. */
  async remove(): Promise<void> {
    process.off("exit", this.#killAtExit);
    this.#killAtExit();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  async #run(command: string): Promise<void> {
    const script = join(projectFolder, "test", "servers", "mongodb.sh");
    await output("env", [...this.#environment, "bash", script, command, this.folder], projectFolder);
  }
}

/** For a `before` hook: compiles the server when the cache has none, in minutes; skips where no compiler can be had. */
export async function needMongoServer(context: Context): Promise<void> {
  context.timeout(BUILD_MS);
  try {
    await output("bash", [join(projectFolder, "test", "servers", "mongodb.sh"), "build"], projectFolder);
  } catch (error) {
    const { code } = (error as Error).cause as { code?: unknown };
    if (code === NO_COMPILER) skipBecause(context, "the MongoDB-protocol server cannot be built without Go");
    throw error;
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
