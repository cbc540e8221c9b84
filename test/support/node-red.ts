/**
 * A real Node-RED in a process of its own, with our package installed: started, deployed to over the admin API as the
 * editor does, killed, stopped, started again. What it consists of is `node-red-install.ts`.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { nodeFor, nodeRedScript, packageModules, type NodeRedVersion } from "./node-red-install.js";

/** One node of a flow file, as the admin API takes it. */
export interface FlowNode {
  readonly id: string;
  readonly type: string;
  readonly [property: string]: unknown;
}
export type Flow = readonly FlowNode[];

/** What the editor's Deploy menu calls Full, Modified Flows and Modified Nodes. */
export type DeployType = "full" | "flows" | "nodes";

export interface NodeRedOptions {
  /** An existing folder to use. Default: a new one, removed by `remove()`. */
  readonly userDir?: string;
  /** The flow file it starts with. Default: the one in the folder, or none. */
  readonly flows?: Flow;
  /** More for settings.js; JSON values only. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** More environment variables, LD_PRELOAD for example. */
  readonly env?: Readonly<Record<string, string>>;
  /** A program and its arguments that become Node-RED, `setpriv` for example. */
  readonly startedBy?: readonly string[];
  /** Arguments for node itself, `--max-old-space-size=64` for example. */
  readonly nodeArgs?: readonly string[];
}

/** How a process ended: `code` when it ended by itself, `signal` when it was killed. */
export interface NodeRedExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A start takes 2 s on an idle machine with two cores; this allows for a busy one. */
const START_TIMEOUT_MS = 60_000;
const WAIT_TIMEOUT_MS = 60_000;
/** Node-RED gives each node 15 s to close. */
const STOP_TIMEOUT_MS = 20_000;
/** What it says when the flows run, after a start or a deploy of any type, or when they cannot for want of a node type. */
const STARTED = /Started (flows|modified flows|modified nodes)|Waiting for missing types/;
/** Lines of log shown in an error. */
const SHOWN_LINES = 30;

const running = new Set<NodeRed>();
const ownFolders = new Set<string>();
process.on("exit", () => {
  for (const nodeRed of running) nodeRed.signal("SIGKILL");
  for (const folder of ownFolders) rmSync(folder, { recursive: true, force: true });
});

export async function startNodeRed(version: NodeRedVersion, options: NodeRedOptions = {}): Promise<NodeRed> {
  const [node, script, modules] = await Promise.all([nodeFor(version), nodeRedScript(version), packageModules()]);
  const userDir = options.userDir ?? newFolder();
  await prepareUserDir(userDir, modules, options);
  const nodeRed = new NodeRed(
    version,
    userDir,
    [...(options.startedBy ?? []), node, ...(options.nodeArgs ?? []), script],
    options.env ?? {},
  );
  try {
    await nodeRed.restart();
  } catch (error) {
    await nodeRed.remove();
    throw error;
  }
  return nodeRed;
}

/** Obtained from `startNodeRed`, and then running. */
export class NodeRed {
  readonly version: NodeRedVersion;
  readonly userDir: string;
  /** Everything written to stdout and stderr since the first start, over all restarts, a line each. */
  readonly lines: string[] = [];
  readonly #command: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  readonly #heard = new EventTarget();
  #child: ChildProcess | undefined;
  #exited: Promise<NodeRedExit> = Promise.resolve({ code: 0, signal: null });
  #port = 0;

  constructor(version: NodeRedVersion, userDir: string, command: readonly string[], env: Record<string, string>) {
    this.version = version;
    this.userDir = userDir;
    this.#command = command;
    this.#env = env;
  }

  /** Of the editor and the admin API, without a slash at the end. The port stays the same over restarts. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** @throws when it is not running. */
  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error("Node-RED is not running");
    return pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** Resolves when the process has ended, whoever ended it. */
  get exited(): Promise<NodeRedExit> {
    return this.#exited;
  }

  /** Starts it again with the same folder, port and flow file; stops it first when it is running. */
  async restart(): Promise<void> {
    await this.stop();
    const from = this.lines.length;
    const [program, ...args] = this.#command;
    const child = spawn(program as string, [...args, "-u", this.userDir, "-p", String(this.#port)], {
      cwd: this.userDir,
      env: { ...process.env, NODE_OPTIONS: "", NODE_RED_DISABLE_TELEMETRY: "1", ...this.#env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    running.add(this);
    for (const stream of [child.stdout, child.stderr]) createInterface(stream).on("line", (line) => this.#hear(line));
    // "close" comes after "exit", when the last line has been read too.
    this.#exited = once(child, "close").then((result) => {
      const [code, signal] = result as [number | null, NodeJS.Signals | null];
      this.#child = undefined;
      running.delete(this);
      this.#heard.dispatchEvent(new Event("end"));
      return { code, signal };
    });
    const listening = await this.waitFor(/Server now running at http:\/\/[^:]+:(\d+)/, from, START_TIMEOUT_MS);
    this.#port = Number(/:(\d+)/.exec(listening.slice(listening.indexOf("http:") + 5))?.[1]);
    await this.waitFor(STARTED, from, START_TIMEOUT_MS);
  }

  /** Deploys over the admin API; resolves when Node-RED says that the flows have started. @throws when it refuses. */
  async deploy(flows: Flow, type: DeployType = "full"): Promise<void> {
    const from = this.lines.length;
    const headers = { "Node-RED-Deployment-Type": type };
    await this.request("/flows", { method: "POST", headers, body: JSON.stringify(placed(flows)) });
    await this.waitFor(STARTED, from);
  }

  /** The flows it has now. */
  async flows(): Promise<Flow> {
    return (await this.request("/flows")) as Flow;
  }

  /** Presses the button of an inject node. */
  async inject(id: string): Promise<void> {
    await this.request(`/inject/${id}`, { method: "POST" });
  }

  /** The answer of the admin API, parsed when it is JSON. @throws on any status but 2xx, with what it said. */
  async request(path: string, init: RequestInit = {}): Promise<unknown> {
    const headers = new Headers(init.headers);
    headers.set("Accept", "application/json");
    headers.set("Content-Type", "application/json");
    const response = await fetch(this.url + path, { ...init, headers });
    const text = await response.text();
    if (!response.ok) throw new Error(`${init.method ?? "GET"} ${path}: ${response.status} ${text}`);
    const isJson = response.headers.get("content-type")?.includes("json") === true;
    return isJson ? JSON.parse(text) : text;
  }

  /**
   * Resolves to the first line that holds `text`, at or after line `from` of `lines`, which may be there already.
   * @throws when it does not come in time, or the process ends first; the error shows the last lines.
   */
  async waitFor(text: string | RegExp, from = 0, timeoutMs = WAIT_TIMEOUT_MS): Promise<string> {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), timeoutMs);
    try {
      for (let next = from; ;) {
        for (; next < this.lines.length; next++) {
          const line = this.lines[next] as string;
          if (typeof text === "string" ? line.includes(text) : text.test(line)) return line;
        }
        if (timeout.signal.aborted) throw this.#failure(`did not say ${text} within ${timeoutMs} ms`);
        if (!this.isRunning) throw this.#failure(`ended before it said ${text}`);
        await this.#nextEvent(timeout.signal);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** Kills it as a power cut would, without a chance to write anything; resolves when it is gone. */
  async kill9(): Promise<void> {
    this.signal("SIGKILL");
    await this.#exited;
  }

  /** Ends it as a service manager does (SIGTERM) and resolves to how it ended. @throws when it has to be killed. */
  async stop(): Promise<NodeRedExit> {
    let killed = false;
    const timer = setTimeout(() => {
      killed = true;
      this.signal("SIGKILL");
    }, STOP_TIMEOUT_MS);
    this.signal("SIGTERM");
    const exit = await this.#exited;
    clearTimeout(timer);
    if (killed) throw this.#failure(`did not end within ${STOP_TIMEOUT_MS} ms of SIGTERM`);
    return exit;
  }

  /** Kills it when it is running, and removes its folder unless that was given to it. For an `after` hook. */
  async remove(): Promise<void> {
    await this.kill9();
    if (ownFolders.delete(this.userDir)) rmSync(this.userDir, { recursive: true, force: true, maxRetries: 3 });
  }

  #hear(line: string): void {
    this.lines.push(line);
    this.#heard.dispatchEvent(new Event("line"));
  }

  #nextEvent(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const heard = new AbortController();
      const onEvent = (): void => {
        heard.abort();
        resolve();
      };
      for (const name of ["line", "end"]) this.#heard.addEventListener(name, onEvent, { signal: heard.signal });
      signal.addEventListener("abort", onEvent, { signal: heard.signal });
    });
  }

  #failure(what: string): Error {
    return new Error(`Node-RED ${this.version} ${what}. Its last lines:\n${this.lines.slice(-SHOWN_LINES).join("\n")}`);
  }
}

/** Node-RED takes a node without a place on the canvas for a config node, and then does not start it: give it one. */
function placed(flows: Flow): Flow {
  return flows.map((node, i) => (node["wires"] === undefined ? node : { x: 200, y: 60 * i, ...node }));
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "resilient-node-red-"));
  ownFolders.add(folder);
  return folder;
}

async function prepareUserDir(userDir: string, modules: string, options: NodeRedOptions): Promise<void> {
  await mkdir(userDir, { recursive: true });
  const settings = {
    uiHost: "127.0.0.1",
    flowFile: "flows.json",
    flowFilePretty: true,
    credentialSecret: "tests",
    lang: "en-US",
    // Nothing leaves the machine: no telemetry, no update check, no palette catalogue.
    telemetry: { enabled: false, updateNotification: false },
    externalModules: { autoInstall: false, palette: { allowInstall: false }, modules: { allowInstall: false } },
    editorTheme: { tours: false, palette: { catalogues: [] } },
    logging: { console: { level: "info", metrics: false, audit: false } },
    ...options.settings,
  };
  await writeFile(join(userDir, "settings.js"), `module.exports = ${JSON.stringify(settings, undefined, 2)};\n`);
  await writeFile(join(userDir, "package.json"), JSON.stringify({ name: "node-red-project", private: true }));
  if (options.flows !== undefined) await writeFile(join(userDir, "flows.json"), JSON.stringify(placed(options.flows)));
  // A folder that has been used before gets today's package.
  await rm(join(userDir, "node_modules"), { recursive: true, force: true });
  await symlink(modules, join(userDir, "node_modules"));
}
