/**
 * A flow in a real Node-RED: function -> file exporter, until the last line is in the file; beside the same flow into a
 * node that does nothing, and into Node-RED's own file node.
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { type Flow, type FlowNode, type NodeRed, startNodeRed } from "../../support/node-red.js";
import { nodeFor, nodeRedScript, type NodeRedVersion } from "../../support/node-red-install.js";
import { atLeast, type Figure, type Measured, skipped } from "../figure.js";
import { compare, pause, perSecond } from "../measure.js";
import { readings100 } from "../readings.js";

/** Enough that the moment for which the last batch waits for company is a small part of it. */
const COUNT = 120_000;
/** Node-RED's own node gets slower the more wait for it: fewer, in its favour, or it would take minutes. */
const CORE_COUNT = 40_000;
const WAIT_MS = 120_000;
const FUNCTION = "msg.payload.station = 7; return msg;";

const chain = (name: string, end: FlowNode): Flow => [
  {
    id: `in-${name}`,
    type: "http in",
    z: "tab",
    url: `/${name}`,
    method: "post",
    wires: [[`source-${name}`, `ok-${name}`]],
  },
  { id: `ok-${name}`, type: "http response", z: "tab", wires: [] },
  { id: `source-${name}`, type: "bench-source", z: "tab", wires: [[`function-${name}`]] },
  {
    id: `function-${name}`,
    type: "function",
    z: "tab",
    func: FUNCTION,
    outputs: 1,
    initialize: "",
    finalize: "",
    libs: [],
    wires: [[`end-${name}`]],
  },
  { ...end, id: `end-${name}`, z: "tab", wires: [] },
];

function flows(folder: string): Flow {
  return [
    { id: "tab", type: "tab", label: "bench" },
    { id: "runtime", type: "resilient-runtime", name: "", folder: "", budgets: {}, flush: {} },
    ...chain("null", { id: "", type: "bench-null" }),
    ...chain("ours", {
      id: "",
      type: "resilient-file",
      name: "",
      runtime: "runtime",
      file: join(folder, "ours.jsonl"),
      fileType: "str",
      folder: "",
      createFolders: false,
      data: "payload",
      dataType: "msg",
      control: false,
      flush: {},
    }),
    ...chain("core", {
      id: "",
      type: "file",
      filename: join(folder, "core.jsonl"),
      filenameType: "str",
      appendNewline: true,
      createDir: false,
      overwriteFile: "false",
      encoding: "none",
    }),
  ];
}

/** The flows of one Node-RED, run one after the other. */
class Bench {
  readonly #nodeRed: NodeRed;
  readonly #readings = readings100().slice(0, 500);
  #runs = 0;

  constructor(nodeRed: NodeRed) {
    this.#nodeRed = nodeRed;
  }

  async toNull(): Promise<number> {
    const { run, beganMs } = await this.#begin("null", COUNT);
    return rate(COUNT, (await this.#said(run, "through")) - beganMs);
  }

  async toFile(name: "ours" | "core", count: number): Promise<number> {
    const path = join(this.#nodeRed.userDir, `${name}.jsonl`);
    const before = sizeOf(path);
    const bytes = this.#bytesOf(count);
    const { beganMs } = await this.#begin(name, count);
    const giveUpMs = performance.now() + WAIT_MS;
    while (sizeOf(path) < before + bytes) {
      if (performance.now() > giveUpMs) throw new Error(`${sizeOf(path) - before} of ${bytes} bytes reached ${path}`);
      await pause(1);
    }
    return rate(count, performance.timeOrigin + performance.now() - beganMs);
  }

  #bytesOf(count: number): number {
    let bytes = 0;
    for (let i = 0; i < count; i++) {
      const payload = { ...this.#readings[i % this.#readings.length], sequence: 100_000 + i, station: 7 };
      bytes += JSON.stringify(payload).length + 1;
    }
    return bytes;
  }

  async #begin(name: string, count: number): Promise<{ run: string; beganMs: number }> {
    const run = `${name}-${++this.#runs}`;
    const body = JSON.stringify({ run, count, readings: this.#readings });
    await this.#nodeRed.request(`/${name}`, { method: "POST", body });
    return { run, beganMs: await this.#said(run, "began") };
  }

  async #said(run: string, what: string): Promise<number> {
    const line = await this.#nodeRed.waitFor(`bench ${run} ${what} `, 0, WAIT_MS);
    return Number(line.slice(line.lastIndexOf(" ")));
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function rate(count: number, ms: number): number {
  return (count / ms) * 1_000;
}

async function nodeRedFile(version: NodeRedVersion, coreBound: number): Promise<Measured[]> {
  try {
    await Promise.all([nodeFor(version), nodeRedScript(version)]);
  } catch (error) {
    const why = `no Node-RED ${version}: ${(error as Error).message.split("\n")[0]}`;
    return [skipped("x", ">= 0.85", why), skipped("x", `>= ${coreBound}`, why)];
  }
  const settings = { nodesDir: join(__dirname, "..", "nodes"), apiMaxLength: "5mb" };
  // `--profile` is about the process that does the work.
  const nodeArgs = process.execArgv.filter((argument) => argument.startsWith("--cpu-prof"));
  const nodeRed = await startNodeRed(version, { settings, nodeArgs });
  try {
    await nodeRed.deploy(flows(nodeRed.userDir));
    const bench = new Bench(nodeRed);
    const sides = [() => bench.toFile("ours", COUNT), () => bench.toNull(), () => bench.toFile("core", CORE_COUNT)];
    const { rates, ratios } = await compare(sides, 5, 2);
    const here = `here ${perSecond(rates[0]!)}`;
    return [
      atLeast(ratios[1]!, 0.85, "x", `Node-RED ${version}, a node that does nothing: ${perSecond(rates[1]!)}, ${here}`),
      atLeast(ratios[2]!, coreBound, "x", `Node-RED ${version}, its own file node: ${perSecond(rates[2]!)}, ${here}`),
    ];
  } finally {
    if (nodeArgs.length > 0) await nodeRed.stop();
    await nodeRed.remove();
  }
}

export const figures: readonly Figure[] = [
  {
    name: "node-red-file",
    what: "a flow in Node-RED, function -> file exporter, to the last line",
    measure: async () => [...(await nodeRedFile("4.1", 5)), ...(await nodeRedFile("5", 4))],
  },
];
