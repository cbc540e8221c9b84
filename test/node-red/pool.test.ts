/** The pool in a real Node-RED: who its members are, what they get, and what becomes of the message itself. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { type FlowNode, type NodeRed, startNodeRed } from "../support/node-red.js";
import { linesOf, send, until } from "./flows.js";
import { TAB, TAB2, around, fn, member, poolHeard, poolNode } from "./pool-flows.js";

for (const version of NODE_RED_VERSIONS) {
  describe(`a pool in Node-RED ${version}`, () => {
    let nodeRed: NodeRed;

    beforeEach(async () => {
      nodeRed = await startNodeRed(version);
    });
    afterEach(async function () {
      if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
      await nodeRed?.remove();
    });

    const file = (name: string): unknown[] => linesOf(join(nodeRed.userDir, `${name}.jsonl`));
    const untilIn = (name: string, expected: unknown[]): Promise<void> =>
      until(`${JSON.stringify(expected)} in ${name}`, () => JSON.stringify(file(name)) === JSON.stringify(expected));

    it("gives each record to each of its members, once, and sends nothing on when all are members", async () => {
      await nodeRed.deploy([TAB, ...around("pool"), poolNode(["a", "b"]), member("a"), member("b")]);

      await send(nodeRed, { payload: 1 }, { payload: [2, 3] });

      await untilIn("a", [1, 2, 3]);
      await untilIn("b", [1, 2, 3]);
      const { completed, caught } = await poolHeard(nodeRed);
      assert.deepEqual(completed, [1, [2, 3]]);
      assert.deepEqual(caught, []);
    });

    it("finds members behind junctions, link nodes on other tabs, and pools inside the pool, each once", async () => {
      const passage: FlowNode[] = [
        { id: "junction", type: "junction", z: "tab", wires: [["a", "out"]] },
        { id: "out", type: "link out", z: "tab", mode: "link", links: ["in"], wires: [] },
        { id: "in", type: "link in", z: "tab2", links: ["out"], wires: [["b", "inner"]] },
        poolNode(["a", "c"], { id: "inner", z: "tab2" }),
      ];
      const members = [member("a"), member("b", { z: "tab2" }), member("c", { z: "tab2" })];
      await nodeRed.deploy([
        TAB,
        TAB2,
        ...around("pool", ["pool", "a"]),
        poolNode(["junction", "a"]),
        ...passage,
        ...members,
      ]);

      await send(nodeRed, { payload: 1 }, { payload: 2 });

      for (const name of ["a", "b", "c"]) await untilIn(name, [1, 2]);
      await until("the status", async () => (await poolHeard(nodeRed)).statuses.includes("pool: green 3/3 up"));
    });

    it("ends when pools are wired in a ring: each member and each other node has a message once", async () => {
      await nodeRed.deploy([
        TAB,
        ...around("pool"),
        poolNode(["second", "a"]),
        poolNode(["third", "b"], { id: "second" }),
        poolNode(["pool", "c", "passed"], { id: "third" }),
        ...["a", "b", "c"].map((id) => member(id)),
      ]);

      await send(nodeRed, { payload: 1 });
      await until("the first to come out", async () => (await poolHeard(nodeRed)).passed.length > 0);
      await send(nodeRed, { payload: 2 });

      for (const name of ["a", "b", "c"]) await untilIn(name, [1, 2]);
      assert.deepEqual((await poolHeard(nodeRed)).passed, [1, 2]);
    });

    it("sends the message on to what is no member, and its members do not store it twice", async () => {
      const change = fn("change", "tab", "msg.payload = -msg.payload; return msg;", [["a", "d"]]);
      const members = [member("a"), member("b"), member("d")];
      await nodeRed.deploy([TAB, ...around("pool"), poolNode(["a", "b", "passed", "change"]), change, ...members]);

      await send(nodeRed, { payload: 1 }, { payload: 2 });

      await untilIn("b", [1, 2]);
      await untilIn("d", [-1, -2]);
      await until("a to have both ways", () => file("a").length === 4);
      assert.deepEqual(
        file("a").filter((n) => Number(n) > 0),
        [1, 2],
      );
      assert.deepEqual(
        file("a").filter((n) => Number(n) < 0),
        [-1, -2],
      );
      assert.deepEqual((await poolHeard(nodeRed)).passed, [1, 2]);
    });

    it("tells the sender that nobody would store its message", async () => {
      await nodeRed.deploy([TAB, ...around("pool"), poolNode(["passed"])]);

      await send(nodeRed, { payload: 1 });

      await until("the error", async () => (await poolHeard(nodeRed)).caught.length > 0);
      const { caught, completed, passed } = await poolHeard(nodeRed);
      assert.equal(caught[0]?.code, "no-members");
      assert.deepEqual(completed, []);
      assert.deepEqual(passed, [1]);
      await until("the status", async () => (await poolHeard(nodeRed)).statuses.at(-1) === "pool: red no members");
    });

    it("keeps for a member that is away what the others have already, and delivers it when it is back", async () => {
      const late = member("b", { file: "later/b.jsonl" });
      const safe = poolNode(["a", "b"], { flush: { durability: "everyMessage" } });
      await nodeRed.deploy([TAB, ...around("pool", ["pool", "b"]), safe, member("a"), late]);

      await send(nodeRed, { payload: 1 }, { payload: 2 });
      await untilIn("a", [1, 2]);
      await until("yellow", async () => {
        const { statuses } = await poolHeard(nodeRed);
        return (
          statuses.some((status) => status.startsWith("pool: yellow 1/2 up, 2 waiting")) &&
          statuses.some((status) => status.startsWith("b: yellow target down, 2 waiting"))
        );
      });
      await nodeRed.kill9();
      mkdirSync(join(nodeRed.userDir, "later"));
      await nodeRed.restart();

      await until("what waited", () => existsSync(join(nodeRed.userDir, "later/b.jsonl")));
      await untilIn("later/b", [1, 2]);
      assert.deepEqual(file("a"), [1, 2]);
    });
  });
}
