/** Flows in a real Node-RED, run one after the other: a source that sends so many messages, and what comes behind it. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { type Flow, type FlowNode, type NodeRed, startNodeRed } from "../support/node-red.js";
import type { NodeRedVersion } from "../support/node-red-install.js";
import { pause } from "./measure.js";
import { readings100 } from "./readings.js";

const WAIT_MS = 120_000;
/** What the function of a chain does unless said otherwise. */
export const FUNCTION = "msg.payload.station = 7; return msg;";

export const TAB: FlowNode = { id: "tab", type: "tab", label: "bench" };
export const RUNTIME: FlowNode = {
  id: "runtime",
  type: "resilient-runtime",
  name: "",
  folder: "",
  budgets: {},
  flush: {},
};

/** A node that has no place in a flow yet. */
export interface Part {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** Starts a Node-RED that knows the nodes of the bench. */
export function startBenched(version: NodeRedVersion): Promise<NodeRed> {
  const settings = { nodesDir: join(__dirname, "nodes"), apiMaxLength: "5mb" };
  return startNodeRed(version, { settings, nodeArgs: profileArgs() });
}

/** `--profile` is about the process that does the work: it has to end by itself. */
export async function endBenched(nodeRed: NodeRed): Promise<void> {
  if (profileArgs().length > 0) await nodeRed.stop();
  await nodeRed.remove();
}

function profileArgs(): string[] {
  return process.execArgv.filter((argument) => argument.startsWith("--cpu-prof"));
}

/** HTTP in, for the order to begin -> source -> the nodes given, in a row. */
export function chain(name: string, ...nodes: readonly Part[]): Flow {
  const ids = nodes.map((_, i) => `${name}-${i}`);
  return [
    {
      id: `in-${name}`,
      type: "http in",
      z: "tab",
      url: `/${name}`,
      method: "post",
      wires: [[`from-${name}`, `ok-${name}`]],
    },
    { id: `ok-${name}`, type: "http response", z: "tab", wires: [] },
    { id: `from-${name}`, type: "bench-source", z: "tab", wires: [ids.slice(0, 1)] },
    ...nodes.map((node, i) => ({ wires: [ids.slice(i + 1, i + 2)], ...node, id: ids[i]!, z: "tab" })),
  ];
}

export function functionNode(func: string = FUNCTION): Part {
  return { type: "function", func, outputs: 1, initialize: "", finalize: "", libs: [] };
}

/** An exporter to this file; `more` says what is different from a new one. */
export function fileExporter(file: string, more: object = {}): Part {
  return {
    type: "resilient-file",
    name: "",
    runtime: "runtime",
    file,
    fileType: "str",
    folder: "",
    createFolders: false,
    data: "payload",
    dataType: "msg",
    control: false,
    flush: {},
    ...more,
  };
}

export class FlowBench {
  readonly nodeRed: NodeRed;
  readonly #readings = readings100().slice(0, 500);
  #runs = 0;

  constructor(nodeRed: NodeRed) {
    this.nodeRed = nodeRed;
  }

  /** Into a node that does nothing. Resolves to messages/s, as the others. */
  async toNull(name: string, count: number): Promise<number> {
    const { run, beganMs } = await this.#begin(name, count);
    return rate(count, (await this.#said(run, "through")) - beganMs);
  }

  /** Until the file has grown by so many bytes. */
  toFile(name: string, count: number, bytes: number): Promise<number> {
    const path = join(this.nodeRed.userDir, `${name}.jsonl`);
    const before = sizeOf(path);
    return this.until(name, count, () => Promise.resolve(sizeOf(path) >= before + bytes));
  }

  /** Until something is so; looked at every few ms. */
  async until(name: string, count: number, isThrough: () => Promise<boolean>): Promise<number> {
    const { beganMs } = await this.#begin(name, count);
    const giveUpMs = performance.now() + WAIT_MS;
    while (!(await isThrough())) {
      if (performance.now() > giveUpMs) throw new Error(`not all of ${count} messages got through ${name}`);
      await pause(1);
    }
    return rate(count, performance.timeOrigin + performance.now() - beganMs);
  }

  /** How many bytes the lines of `count` messages take, when `made` is what becomes of each. */
  bytesOf(count: number, made: (payload: object) => object): number {
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const payload = { ...this.#readings[i % this.#readings.length], sequence: 100_000 + i };
      bytes += JSON.stringify(made(payload)).length + 1;
    }
    return bytes;
  }

  async #begin(name: string, count: number): Promise<{ run: string; beganMs: number }> {
    const run = `${name}-${++this.#runs}`;
    const body = JSON.stringify({ run, count, readings: this.#readings });
    await this.nodeRed.request(`/${name}`, { method: "POST", body });
    return { run, beganMs: await this.#said(run, "began") };
  }

  async #said(run: string, what: string): Promise<number> {
    const line = await this.nodeRed.waitFor(`bench ${run} ${what} `, 0, WAIT_MS);
    return Number(line.slice(line.lastIndexOf(" ")));
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function rate(count: number, ms: number): number {
  return (count / ms) * 1_000;
}
