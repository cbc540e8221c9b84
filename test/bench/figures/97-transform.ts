/** What a transform on an exporter costs, beside a node in front of it that does the same. */
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
const made = ({ temp_max, date, sequence }: { temp_max?: number; date?: string; sequence?: number }): object => ({
  fahrenheit: temp_max! * 1.8 + 32,
  date,
  sequence,
});
const JAVASCRIPT = "{ fahrenheit: payload.temp_max * 1.8 + 32, date: payload.date, sequence: payload.sequence }";
const JSONATA = '{ "fahrenheit": payload.temp_max * 1.8 + 32, "date": payload.date, "sequence": payload.sequence }';

const changeNode: Part = {
  type: "change",
  rules: [{ t: "set", p: "payload", pt: "msg", to: JSONATA, tot: "jsonata" }],
};

async function transform(
  kind: "javascript" | "jsonata",
  before: Part,
  source: string,
  bound: number,
): Promise<Measured[]> {
  const nodeRed = await startBenched("4.1");
  try {
    const file = (name: string): string => join(nodeRed.userDir, `${name}.jsonl`);
    await nodeRed.deploy([
      TAB,
      RUNTIME,
      ...chain("inside", fileExporter(file("inside"), { transform: { kind, source } })),
      ...chain("before", before, fileExporter(file("before"))),
    ]);
    const bench = new FlowBench(nodeRed);
    const bytes = bench.bytesOf(COUNT, made);
    const sides = ["inside", "before"].map((name) => () => bench.toFile(name, COUNT, bytes));
    const { rates, ratios } = await compare(sides, 5, 2);
    const node = kind === "javascript" ? "a function node" : "a change node";
    const peer = `Node-RED 4.1, ${node} that does the same in front: ${perSecond(rates[1]!)}, here ${perSecond(rates[0]!)}`;
    return [atLeast(ratios[1]!, bound, "x", peer)];
  } finally {
    await endBenched(nodeRed);
  }
}

export const figures: readonly Figure[] = [
  {
    name: "transform-javascript",
    what: "a transform in JavaScript on a file exporter, to the last line",
    measure: () =>
      transform(
        "javascript",
        functionNode(`const { payload } = msg; msg.payload = ${JAVASCRIPT}; return msg;`),
        `return ${JAVASCRIPT};`,
        1,
      ),
  },
  {
    name: "transform-jsonata",
    what: "a transform in JSONata on a file exporter, to the last line",
    measure: () => transform("jsonata", changeNode, JSONATA, 0.9),
  },
];
