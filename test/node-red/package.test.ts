import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { type Flow, type NodeRed, startNodeRed } from "../support/node-red.js";
import { projectFolder } from "../support/servers-cache.js";

interface NodeSet {
  readonly id: string;
  readonly module: string;
  readonly types: readonly string[];
  readonly enabled: boolean;
  readonly err?: string;
}

const manifest = JSON.parse(readFileSync(join(projectFolder, "package.json"), "utf8")) as {
  readonly name: string;
  readonly "node-red": { readonly nodes: Readonly<Record<string, string>> };
};

/** What Node-RED says on every fresh start. */
const USUAL_WARNINGS = /Projects disabled|Encrypted credentials not found/;

/** An inject node, fired by the test, into a debug node that writes to the log. */
function injectToDebug(text: string): Flow {
  return [
    { id: "tab", type: "tab", label: "test" },
    {
      id: "inject",
      type: "inject",
      z: "tab",
      props: [{ p: "payload" }],
      payload: text,
      payloadType: "str",
      wires: [["debug"]],
    },
    {
      id: "debug",
      type: "debug",
      z: "tab",
      active: true,
      console: true,
      tosidebar: false,
      complete: "payload",
      wires: [],
    },
  ];
}

for (const version of NODE_RED_VERSIONS) {
  describe(`the package in Node-RED ${version}`, () => {
    let nodeRed: NodeRed;

    before(async function () {
      // The first run on a machine installs Node-RED.
      this.timeout(300_000);
      nodeRed = await startNodeRed(version, { flows: injectToDebug("before any deploy") });
    });
    after(() => nodeRed?.remove());

    it("loads every node that the package announces, without a warning", async () => {
      const sets = ((await nodeRed.request("/nodes")) as NodeSet[]).filter((set) => set.module === manifest.name);

      assert.deepEqual(
        sets.map((set) => set.id).sort(),
        Object.keys(manifest["node-red"].nodes)
          .map((name) => `${manifest.name}/${name}`)
          .sort(),
      );
      for (const set of sets) {
        assert.equal(set.err, undefined, `${set.id}: ${set.err}`);
        assert.ok(set.enabled && set.types.length > 0, `${set.id} has no node types`);
      }
      const complaints = nodeRed.lines.filter((line) => /\[(warn|error)\]|Error:/.test(line));
      assert.deepEqual(
        complaints.filter((line) => !USUAL_WARNINGS.test(line)),
        [],
      );
    });

    it("runs the flow it was started with, and the one that is deployed after it", async () => {
      await nodeRed.inject("inject");
      await nodeRed.waitFor("before any deploy");

      await nodeRed.deploy(injectToDebug("after a deploy"), "nodes");
      await nodeRed.inject("inject");
      await nodeRed.waitFor("after a deploy");

      const deployed = (await nodeRed.flows()).find((node) => node.id === "inject");
      assert.equal(deployed?.["payload"], "after a deploy");
    });

    it("ends within its time when asked to, and comes back with its flows on the same port", async () => {
      const { url, pid } = nodeRed;

      const exit = await nodeRed.stop();
      assert.equal(exit.signal, null);
      await nodeRed.restart();

      assert.equal(nodeRed.url, url);
      assert.notEqual(nodeRed.pid, pid);
      assert.ok((await nodeRed.flows()).length > 0);
    });

    it("can be killed and started again", async () => {
      const from = nodeRed.lines.length;

      await nodeRed.kill9();
      assert.equal((await nodeRed.exited).signal, "SIGKILL");
      await nodeRed.restart();

      await nodeRed.inject("inject");
      await nodeRed.waitFor("after a deploy", from);
    });
  });
}
