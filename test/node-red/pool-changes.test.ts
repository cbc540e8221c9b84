/** What a user does in the editor while data flows through a pool: nothing is lost, nothing doubled, the left are listed. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { type DeployType, type Flow, type FlowNode, type NodeRed, startNodeRed } from "../support/node-red.js";
import { linesOf, send, until } from "./flows.js";
import { TAB, TAB2, around, assertStored, fn, member, poolHeard, poolNode, source } from "./pool-flows.js";

/** Node-RED gives a node 15 s to close; a deploy that comes near it would feel broken. */
const MAX_DEPLOY_MS = 12_000;

interface PoolState {
  readonly members: readonly { id: string; isDisabled: boolean; waiting: number }[];
  readonly orphans: readonly { id: string; waiting: number }[];
  readonly waiting: number;
}

for (const version of NODE_RED_VERSIONS) {
  describe(`a pool that changes in Node-RED ${version}`, function () {
    this.timeout(180_000);
    let nodeRed: NodeRed;

    beforeEach(async () => {
      nodeRed = await startNodeRed(version);
    });
    afterEach(async function () {
      if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-60).join("\n")}\n`);
      await nodeRed?.remove();
    });

    const file = (name: string): number[] => linesOf(join(nodeRed.userDir, `${name}.jsonl`)) as number[];
    const state = async (): Promise<PoolState> => {
      let found: unknown;
      // Not open yet right after a deploy: 409.
      await until("the pool to be open", async () => {
        found = await nodeRed.request("/resilient-exporters/pool?pool=pool").catch(() => undefined);
        return found !== undefined;
      });
      return found as PoolState;
    };
    const decide = (body: object): Promise<unknown> =>
      nodeRed.request("/resilient-exporters/pool", { method: "POST", body: JSON.stringify({ pool: "pool", ...body }) });

    it("loses and doubles nothing through wiring, unwiring, disabling, moving and deploys of every kind", async () => {
      const rest = [TAB, TAB2, ...around("pool"), source("pool")];
      const [a, b, c] = [member("a"), member("b"), member("c")];
      const over: FlowNode[] = [
        { id: "out", type: "link out", z: "tab", mode: "link", links: ["in"], wires: [] },
        { id: "in", type: "link in", z: "tab2", links: ["out"], wires: [["b"]] },
      ];
      const both = poolNode(["a", "b"]);
      const steps: readonly (readonly [string, DeployType, Flow])[] = [
        ["first", "full", [...rest, both, a, b]],
        ["the same again", "full", [...rest, both, a, b]],
        ["c wired, nodes", "nodes", [...rest, poolNode(["a", "b", "c"]), a, b, c]],
        ["b unwired, nodes", "nodes", [...rest, poolNode(["a", "c"]), a, b, c]],
        ["b wired again, flows", "flows", [...rest, poolNode(["a", "b", "c"]), a, b, c]],
        ["a changed, nodes", "nodes", [...rest, poolNode(["a", "b", "c"]), member("a", { name: "new" }), b, c]],
        ["pool changed, nodes", "nodes", [...rest, poolNode(["a", "b", "c"], { name: "pool" }), a, b, c]],
        [
          "a and the pool changed, flows",
          "flows",
          [...rest, poolNode(["a", "b", "c"]), member("a", { name: "x" }), b, c],
        ],
        ["b disabled", "nodes", [...rest, poolNode(["a", "b", "c"]), a, { ...b, d: true }, c]],
        ["b enabled", "nodes", [...rest, poolNode(["a", "b", "c"]), a, b, c]],
        ["b moved to another tab", "full", [...rest, poolNode(["a", "out", "c"]), a, { ...b, z: "tab2" }, c, ...over]],
        ["b moved back", "flows", [...rest, poolNode(["a", "b", "c"]), a, b, c]],
        [
          "b behind an inner pool",
          "nodes",
          [...rest, poolNode(["a", "inner", "c"]), poolNode(["b"], { id: "inner" }), a, b, c],
        ],
        ["b wired directly again", "full", [...rest, poolNode(["a", "b", "c"]), a, b, c]],
        ["pool disabled", "nodes", [...rest, poolNode(["a", "b", "c"], { d: true }), a, b, c]],
        ["pool enabled", "nodes", [...rest, poolNode(["a", "b", "c"]), a, b, c]],
        [
          "runtime changed",
          "nodes",
          [
            ...rest.filter(({ id }) => id !== "rt"),
            ...around("pool", ["pool"], { name: "changed" }).slice(0, 1),
            poolNode(["a", "b", "c"]),
            a,
            b,
            c,
          ],
        ],
      ];

      for (const [name, type, flow] of steps) {
        const before = name === "first" ? 0 : (await poolHeard(nodeRed)).completed.length;
        const startedAt = performance.now();
        await nodeRed.deploy(flow, type);
        const tookMs = performance.now() - startedAt;
        assert.ok(tookMs < MAX_DEPLOY_MS, `${name} took ${tookMs} ms`);
        if (name === "pool disabled") continue;
        await until(`records after: ${name}`, async () => (await poolHeard(nodeRed)).completed.length > before + 20);
      }
      await nodeRed.deploy(
        steps.at(-1)![2].filter(({ id }) => id !== "source"),
        "nodes",
      );
      const heard = await poolHeard(nodeRed);
      const { completed } = heard;
      await until("the last line of each", () =>
        ["a", "b", "c"].every((name) => file(name).at(-1) === completed.at(-1)),
      );

      const stored = file("a");
      assertStored(stored, heard);
      assert.deepEqual(file("b"), stored);
      assert.deepEqual(file("c"), stored.slice(stored.indexOf(file("c")[0]!)));
      assert.ok(completed.length > 300 && file("c").length > 200, `${completed.length}, ${file("c").length}`);
      assert.deepEqual((await state()).orphans, []);
      assert.ok(!nodeRed.lines.some((line) => line.includes("Close timed out")));
    });

    it("lists a member that was deleted, and gives what waits for it to the one pasted in its place", async () => {
      const rest = [TAB, ...around("pool")];
      const old = member("old", { file: "later/b.jsonl" });
      await nodeRed.deploy([...rest, poolNode(["a", "old"]), member("a"), old]);
      await send(nodeRed, { payload: 1 }, { payload: 2 });
      await until("both to wait", async () => (await state()).members.find(({ id }) => id === "old")?.waiting === 2);

      await nodeRed.deploy([...rest, poolNode(["a", "new"]), member("a"), member("new")], "nodes");
      await send(nodeRed, { payload: 3 });
      await until("3", () => file("new").length === 1);
      assert.deepEqual((await state()).orphans, [{ id: "old", waiting: 3 }]);
      assert.deepEqual(await decide({ orphan: "old", action: "adopt", into: "new" }), { records: 2 });

      await until("the rest", () => file("new").length === 3);
      assert.deepEqual(file("new"), [3, 1, 2]);
      assert.deepEqual(file("a"), [1, 2, 3]);
      assert.deepEqual((await state()).orphans, []);
    });

    it("discards what waits for one that has left when it is told to, and only then", async () => {
      const rest = [TAB, ...around("pool", ["pool"])];
      const old = member("old", { file: "later/b.jsonl" });
      await nodeRed.deploy([...rest, poolNode(["a", "old"]), member("a"), old]);
      await send(nodeRed, { payload: 1 });
      await until("it to wait", async () => (await state()).members.find(({ id }) => id === "old")?.waiting === 1);

      await nodeRed.deploy([...rest, poolNode(["a"]), member("a")], "nodes");
      await nodeRed.restart();
      await until("it to be listed", async () => (await state()).orphans[0]?.waiting === 1);
      await assert.rejects(decide({ orphan: "a", action: "discard" }), /404/);
      await assert.rejects(decide({ orphan: "old", action: "eat" }), /400/);
      assert.deepEqual(await decide({ orphan: "old", action: "discard" }), { ok: true });

      assert.deepEqual((await state()).orphans, []);
      await until("what a had not yet", () => file("a").length > 0);
      assert.deepEqual(file("a"), [1]);
    });

    it("gives each instance of a subflow a pool and members of its own, and a pasted pool likewise", async () => {
      const subflow: FlowNode[] = [
        {
          id: "sub",
          type: "subflow",
          name: "sub",
          in: [{ x: 50, y: 30, wires: [{ id: "subpool" }] }],
          out: [],
          env: [{ name: "FILE", type: "str", value: "" }],
        },
        poolNode(["subfile"], { id: "subpool", z: "sub" }),
        member("subfile", { z: "sub", file: "FILE", fileType: "env" }),
        {
          id: "one",
          type: "subflow:sub",
          z: "tab",
          env: [{ name: "FILE", type: "str", value: "one.jsonl" }],
          wires: [],
        },
        {
          id: "two",
          type: "subflow:sub",
          z: "tab",
          env: [{ name: "FILE", type: "str", value: "two.jsonl" }],
          wires: [],
        },
        poolNode(["copied"], { id: "copy" }),
        member("copied"),
      ];
      const spread = fn("spread", "tab", "return msg;", [["pool", "one", "two", "copy"]]);
      const flow = [TAB, ...around("spread"), spread, poolNode(["a"]), member("a"), ...subflow];
      await nodeRed.deploy(flow);
      await send(nodeRed, { payload: 1 });
      await until("all", () => ["a", "one", "two", "copied"].every((name) => file(name).length === 1));
      await nodeRed.deploy(
        flow.map((node) => (node.id === "two" ? { ...node, name: "changed" } : node)),
        "nodes",
      );
      await send(nodeRed, { payload: 2 });

      await until("all again", () => ["a", "one", "two", "copied"].every((name) => file(name).length === 2));
      for (const name of ["a", "one", "two", "copied"]) assert.deepEqual(file(name), [1, 2], name);
    });

    it("keeps a disabled member's place over a restart, though it was disabled all the while", async () => {
      const rest = [TAB, ...around("pool")];
      const b = member("b");
      await nodeRed.deploy([...rest, poolNode(["a", "b"]), member("a"), b]);
      await send(nodeRed, { payload: 1 });
      await until("1", () => file("b").length === 1);
      await nodeRed.deploy([...rest, poolNode(["a", "b"]), member("a"), { ...b, d: true }], "nodes");
      await send(nodeRed, { payload: 2 });
      await until("2", () => file("a").length === 2);
      await nodeRed.restart();
      await send(nodeRed, { payload: 3 });
      await until("3", () => file("a").length === 3);
      const { members, orphans } = await state();
      assert.deepEqual(
        [members.find(({ id }) => id === "b"), orphans],
        [{ id: "b", isDisabled: true, waiting: 2 }, []],
      );

      await nodeRed.deploy([...rest, poolNode(["a", "b"]), member("a"), b], "nodes");

      await until("what it had not", () => file("b").length === 3);
      assert.deepEqual(file("b"), [1, 2, 3]);
    });

    it("keeps the places of members that a full deploy disables, by themselves or with their tab, though nothing waited", async () => {
      const flow = (isOff: boolean): Flow => [
        TAB,
        { ...TAB2, disabled: isOff },
        ...around("pool"),
        poolNode(["a", "b", "out"]),
        member("a"),
        member("b", { d: isOff }),
        { id: "out", type: "link out", z: "tab", mode: "link", links: ["in"], wires: [] },
        { id: "in", type: "link in", z: "tab2", links: ["out"], wires: [["c"]] },
        member("c", { z: "tab2" }),
      ];
      const all = (count: number): boolean => ["a", "b", "c"].every((name) => file(name).length === count);
      await nodeRed.deploy(flow(false));
      await send(nodeRed, { payload: 1 });
      await until("1", () => all(1));
      await until("nothing waits", async () => (await state()).waiting === 0);
      await nodeRed.deploy(flow(true));
      await send(nodeRed, { payload: 2 });
      await until("2", () => file("a").length === 2);
      const { members, orphans } = await state();
      const away = members.filter(({ isDisabled }) => isDisabled).map(({ id, waiting }) => [id, waiting]);
      assert.deepEqual(
        [new Map(away as [string, number][]), orphans],
        [
          new Map([
            ["b", 1],
            ["c", 1],
          ]),
          [],
        ],
      );

      await nodeRed.deploy(flow(false));
      await send(nodeRed, { payload: 3 });

      await until("what they had not", () => all(3));
      for (const name of ["a", "b", "c"]) assert.deepEqual(file(name), [1, 2, 3], name);
    });

    it("does not drop what an exporter has unsent when it becomes a member (seed defect 26)", async () => {
      const rest = [TAB, ...around("entry")];
      const late = member("late", { file: "later/late.jsonl", createFolders: false });
      const entry = (to: string): FlowNode => fn("entry", "tab", "return msg;", [[to]]);
      await nodeRed.deploy([...rest, entry("late"), late], "full");
      await send(nodeRed, { payload: 1 });
      await nodeRed.deploy([...rest, entry("pool"), poolNode(["late"]), late], "nodes");
      await send(nodeRed, { payload: 2 });
      await until("2 to wait in the pool", async () => (await state()).waiting === 1);
      await nodeRed.restart();
      await nodeRed.deploy([...rest, entry("pool"), poolNode(["late"]), { ...late, createFolders: true }], "nodes");

      await until("both", () => file("later/late").length === 2);
      assert.deepEqual(new Set(file("later/late")), new Set([1, 2]));
    });
  });
}
