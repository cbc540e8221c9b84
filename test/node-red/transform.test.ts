/** Transforms in a real Node-RED: on exporters, on pools, and what becomes of those that fail. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { type Flow, type NodeRed, startNodeRed } from "../support/node-red.js";
import { projectFolder } from "../support/servers-cache.js";
import { linesOf, send, until } from "./flows.js";
import { TAB, around, member, poolHeard, poolNode } from "./pool-flows.js";

const javascript = (source: string, more: object = {}): object => ({
  transform: { kind: "javascript", source, ...more },
});
const jsonata = (source: string): object => ({ transform: { kind: "jsonata", source } });

function example(name: string): Flow {
  return JSON.parse(readFileSync(join(projectFolder, "examples", `${name}.json`), "utf8")) as Flow;
}

for (const version of NODE_RED_VERSIONS) {
  describe(`a transform in Node-RED ${version}`, () => {
    let nodeRed: NodeRed;

    beforeEach(async () => {
      nodeRed = await startNodeRed(version, { settings: { functionTimeout: 3 } });
    });
    afterEach(async function () {
      if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
      await nodeRed?.remove();
    });

    const file = (name: string): unknown[] => linesOf(join(nodeRed.userDir, `${name}.jsonl`));

    it("of an exporter makes the record; many of an array, none of nothing, which the status counts", async () => {
      const source =
        "if (payload === 0) return; flow.set('last', msg.topic); return Array(payload).fill(msg.topic).map((t) => ({ t }));";
      await nodeRed.deploy([TAB, ...around("a"), member("a", javascript(source))]);

      await send(nodeRed, { payload: 2, topic: "x" }, { payload: 0, topic: "y" }, { payload: 1, topic: "z" });

      await until("three lines", () => file("a").length === 3);
      assert.deepEqual(file("a"), [{ t: "x" }, { t: "x" }, { t: "z" }]);
      await until(
        "the status",
        async () => (await poolHeard(nodeRed)).statuses.at(-1) === "a: green ready, 1 left out",
      );
    });

    it("that fails gives the message as it was to Catch nodes, and the next goes on", async () => {
      await nodeRed.deploy([TAB, ...around("a"), member("a", javascript("payload.seen = true; return payload.a.b;"))]);

      await send(nodeRed, { payload: { n: 1 } }, { payload: { a: { b: 2 } } });

      await until("both", async () => (await poolHeard(nodeRed)).caught.length > 0 && file("a").length > 0);
      const { caught, completed } = await poolHeard(nodeRed);
      assert.deepEqual(caught[0]?.payload, { n: 1 });
      assert.equal(caught[0]?.code, "transform-failed");
      assert.deepEqual(file("a"), [2]);
      assert.deepEqual(completed, [{ a: { b: 2 } }]);
    });

    it("that never ends is stopped as a function node is, by functionTimeout or a time of its own", async () => {
      const endless = "while (payload < 0) {} return payload;";
      const flow = [TAB, ...around("pool"), poolNode(["a"], javascript(endless, { timeoutS: 1 })), member("a")];
      await nodeRed.deploy(flow);
      await send(nodeRed, { payload: -1 }, { payload: 1 });
      await until("the error", async () => (await poolHeard(nodeRed)).caught.length === 1 && file("a").length === 1);

      await nodeRed.deploy([TAB, ...around("a"), member("a", javascript(endless))]);
      await send(nodeRed, { payload: -1 }, { payload: 2 });

      await until("the other", async () => (await poolHeard(nodeRed)).caught.length === 2 && file("a").length === 2);
      const { caught } = await poolHeard(nodeRed);
      assert.deepEqual(
        caught.map(({ code }) => code),
        ["transform-timeout", "transform-timeout"],
      );
    });

    it("that cannot be read says so, and the node refuses every message", async () => {
      await nodeRed.deploy([TAB, ...around("a"), member("a", jsonata("payload +"))]);

      await send(nodeRed, { payload: 1 });

      await until("the error", async () => (await poolHeard(nodeRed)).caught.some(({ payload }) => payload === 1));
      assert.match((await poolHeard(nodeRed)).caught.at(-1)!.message, /does not compile/);
    });

    it("of a pool stands in place of its members' own, for what comes through the pool alone", async () => {
      const flow = example("10-a-transform-on-a-pool").filter(({ id }) => !id.endsWith("04"));
      const direct = flow.find(({ type }) => type === "inject")!;
      await nodeRed.deploy(
        flow.map((node) =>
          node.type === "function"
            ? {
                ...node,
                initialize: "setTimeout(() => node.send({ topic: 'boiler', payload: { celsius: 60 } }), 100);",
              }
            : node,
        ),
      );
      await nodeRed.inject(direct.id);

      await until("all", () => file("plain").length === 1 && file("superseded").length === 2);
      const line = { celsius: 60, sensor: "boiler", kelvin: 333.15 };
      assert.deepEqual(file("plain"), [line]);
      assert.deepEqual(
        new Set(file("superseded").map((one) => JSON.stringify(one))),
        new Set([JSON.stringify(line), '{"note":"past the pool"}']),
      );
    });

    it("of a member whose pool has none makes other records, so it keeps them itself", async () => {
      const own = member("own", jsonata("payload * 10"));
      await nodeRed.deploy([TAB, ...around("pool", ["pool"]), poolNode(["plain", "own"]), member("plain"), own]);

      await send(nodeRed, { payload: 1 }, { payload: 2 });

      await until("both", () => file("plain").length === 2 && file("own").length === 2);
      assert.deepEqual(
        [file("plain"), file("own")],
        [
          [1, 2],
          [10, 20],
        ],
      );
      await until("the status", async () => (await poolHeard(nodeRed)).statuses.at(-1) === "pool: green 1/1 up");
    });

    it("is run in the example flows as they are", async () => {
      await nodeRed.deploy(example("8-a-default-pool"));
      await until("the default pool's file", () => file("default").length > 1);
      await nodeRed.deploy(example("9-a-transform-on-an-exporter"));
      await until("the transformed", () => file("fahrenheit").length > 1);
      await nodeRed.deploy(example("7-a-pool-in-a-pool"));
      await until("all three", () => ["everything", "archive-a", "archive-b"].every((one) => file(one).length > 1));

      const [{ sensor, fahrenheit }] = file("fahrenheit") as [{ sensor: string; fahrenheit: number }];
      assert.equal(sensor, "boiler");
      assert.ok(fahrenheit >= 140 && fahrenheit <= 158);
    });
  });
}
