/** A pool of three in a real Node-RED beside one exporter, all of them away: what a message costs until it is queued. */
import { join } from "node:path";
import { atLeast, type Figure, type Measured } from "../figure.js";
import {
  chain,
  endBenched,
  fileExporter,
  FlowBench,
  functionNode,
  type Part,
  RUNTIME,
  startBenched,
  TAB,
} from "../flow-bench.js";
import { compare, perSecond } from "../measure.js";

const COUNT = 60_000;
const MEMBERS = ["a", "b", "c"];

interface State {
  readonly runtimes: readonly {
    /** Absent while it is being opened. */
    readonly queues?: readonly {
      readonly id: string;
      readonly members: readonly { readonly status: { readonly waiting: number } }[];
    }[];
  }[];
}

async function poolNodeRed(): Promise<Measured[]> {
  const nodeRed = await startBenched("4.1");
  try {
    // A folder that is not there and is not made: nothing can be delivered, so what is measured is the way in.
    const away = (name: string): Part => fileExporter(join(nodeRed.userDir, "missing", `${name}.jsonl`), { name });
    await nodeRed.deploy([
      TAB,
      RUNTIME,
      ...chain("one", functionNode(), away("one")),
      ...chain("pool", functionNode(), {
        type: "resilient-pool",
        name: "",
        runtime: "runtime",
        flush: {},
        wires: [MEMBERS],
      }),
      ...MEMBERS.map((id) => ({ ...away(id), id, z: "tab", wires: [] })),
    ]);
    const bench = new FlowBench(nodeRed);
    const waiting = async (id: string): Promise<number> => {
      const { runtimes } = (await nodeRed.request("/resilient-exporters/state")) as State;
      const queue = runtimes.flatMap(({ queues = [] }) => queues).find((one) => one.id === id);
      return Math.max(0, ...(queue?.members ?? []).map(({ status }) => status.waiting));
    };
    const run = async (name: string, id: string): Promise<number> => {
      const wanted = (await waiting(id)) + COUNT;
      return bench.until(name, COUNT, async () => (await waiting(id)) >= wanted);
    };
    const { rates, ratios } = await compare([() => run("pool", "pool-1"), () => run("one", "one-1")], 5, 2);
    const peer = `Node-RED 4.1, one exporter: ${perSecond(rates[1]!)}, a pool of three: ${perSecond(rates[0]!)}`;
    return [atLeast(ratios[1]!, 0.9, "x", peer)];
  } finally {
    await endBenched(nodeRed);
  }
}

export const figures: readonly Figure[] = [
  { name: "pool-node-red", what: "a flow in Node-RED, function -> pool of three, to the queue", measure: poolNodeRed },
];
