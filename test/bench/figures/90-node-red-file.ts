/**
 * A flow in a real Node-RED: function -> file exporter, until the last line is in the file; beside the same flow into a
 * node that does nothing, and into Node-RED's own file node.
 */
import { join } from "node:path";
import { nodeFor, nodeRedScript, type NodeRedVersion } from "../../support/node-red-install.js";
import { atLeast, type Figure, type Measured, skipped } from "../figure.js";
import { chain, endBenched, fileExporter, FlowBench, functionNode, RUNTIME, startBenched, TAB } from "../flow-bench.js";
import { compare, perSecond } from "../measure.js";

/** Enough that the moment for which the last batch waits for company is a small part of it. */
const COUNT = 240_000;
/** Node-RED's own node gets slower the more wait for it: fewer, in its favour, or it would take minutes. */
const CORE_COUNT = 40_000;

async function nodeRedFile(version: NodeRedVersion, coreBound: number): Promise<Measured[]> {
  try {
    await Promise.all([nodeFor(version), nodeRedScript(version)]);
  } catch (error) {
    const why = `no Node-RED ${version}: ${(error as Error).message.split("\n")[0]}`;
    return [skipped("x", ">= 0.85", why), skipped("x", `>= ${coreBound}`, why)];
  }
  const nodeRed = await startBenched(version);
  try {
    const core = {
      type: "file",
      filename: join(nodeRed.userDir, "core.jsonl"),
      filenameType: "str",
      appendNewline: true,
      createDir: false,
      overwriteFile: "false",
      encoding: "none",
    };
    await nodeRed.deploy([
      TAB,
      RUNTIME,
      ...chain("null", functionNode(), { type: "bench-null" }),
      ...chain("ours", functionNode(), fileExporter(join(nodeRed.userDir, "ours.jsonl"))),
      ...chain("core", functionNode(), core),
    ]);
    const bench = new FlowBench(nodeRed);
    const bytes = (count: number): number => bench.bytesOf(count, (payload) => ({ ...payload, station: 7 }));
    const [ours, cores] = [bytes(COUNT), bytes(CORE_COUNT)];
    const sides = [
      () => bench.toFile("ours", COUNT, ours),
      () => bench.toNull("null", COUNT),
      () => bench.toFile("core", CORE_COUNT, cores),
    ];
    const { rates, ratios } = await compare(sides, 5, 2);
    const here = `here ${perSecond(rates[0]!)}`;
    return [
      atLeast(ratios[1]!, 0.85, "x", `Node-RED ${version}, a node that does nothing: ${perSecond(rates[1]!)}, ${here}`),
      atLeast(ratios[2]!, coreBound, "x", `Node-RED ${version}, its own file node: ${perSecond(rates[2]!)}, ${here}`),
    ];
  } finally {
    await endBenched(nodeRed);
  }
}

export const figures: readonly Figure[] = [
  {
    name: "node-red-file",
    what: "a flow in Node-RED, function -> file exporter, to the last line",
    measure: async () => [...(await nodeRedFile("4.1", 5)), ...(await nodeRedFile("5", 4))],
  },
];
