/** What a user does to a pool in the editor while data flows through it: by hand, in a real browser, with real deploys. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Browser, BrowserContext } from "playwright-core";
import { type NodeRed, startNodeRed } from "../support/node-red.js";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { linesOf, until } from "../node-red/flows.js";
import { TAB, around, assertStored, fn, member, poolHeard, poolNode, source } from "../node-red/pool-flows.js";
import { Editor, browserPath, newContext, startBrowser } from "./editor.js";

interface EditorGlobal {
  RED: {
    nodes: { node(id: string): unknown };
    view: { select(selection: { nodes: unknown[] }): void; focus(): void };
    actions: { invoke(action: string): void };
    workspaces: { show(id: string): void };
  };
}

interface PoolState {
  readonly members: readonly { readonly id: string }[];
  readonly orphans: readonly unknown[];
}

for (const version of NODE_RED_VERSIONS) {
  describe(`a pool under the hands of a user, in the editor of Node-RED ${version}`, () => {
    let browser: Browser;
    let context: BrowserContext;
    let nodeRed: NodeRed;
    let editor: Editor;

    before(async function () {
      const path = browserPath();
      if (path === undefined) {
        process.stdout.write("no Chromium or Chrome on this machine: the editor is not tested\n");
        this.skip();
      }
      [browser, nodeRed] = await Promise.all([startBrowser(path), startNodeRed(version)]);
      context = await newContext(browser);
    });
    after(async () => {
      await browser?.close();
      await nodeRed?.remove();
    });
    afterEach(async function () {
      if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-30).join("\n")}\n`);
      await editor.page.close();
      assert.deepEqual(editor.complaints, []);
    });

    const file = (name: string): number[] => linesOf(join(nodeRed.userDir, `${name}.jsonl`)) as number[];
    const stateOf = async (pool: string): Promise<PoolState> => {
      let found: unknown;
      await until(`${pool} to be open`, async () => {
        found = await nodeRed.request(`/resilient-exporters/pool?pool=${pool}`).catch(() => undefined);
        return found !== undefined;
      });
      return found as PoolState;
    };
    const select = (...ids: string[]): Promise<void> =>
      editor.page.evaluate((wanted) => {
        const { RED } = globalThis as unknown as EditorGlobal;
        RED.workspaces.show("tab");
        RED.view.focus();
        RED.view.select({ nodes: wanted.map((id) => RED.nodes.node(id)) });
      }, ids);
    const invoke = (action: string): Promise<void> =>
      editor.page.evaluate((name) => (globalThis as unknown as EditorGlobal).RED.actions.invoke(name), action);
    const click = async (x: number, y: number): Promise<void> => {
      const canvas = (await editor.page.locator("#red-ui-workspace-chart").boundingBox())!;
      await editor.page.mouse.move(canvas.x + x - 20, canvas.y + y - 20);
      await editor.page.mouse.move(canvas.x + x, canvas.y + y, { steps: 4 });
      await editor.page.mouse.click(canvas.x + x, canvas.y + y);
    };
    const idsOf = async (type: string): Promise<string[]> =>
      (await editor.nodes()).filter((node) => node.type === type).map(({ id }) => id);
    const flowing = async (): Promise<void> => {
      const { completed } = await poolHeard(nodeRed);
      await until("records to flow", async () => (await poolHeard(nodeRed)).completed.length > completed.length + 20);
    };

    it("loses and doubles nothing through delete, undo, copy and paste, import and each kind of deploy", async () => {
      const pool = poolNode(["a", "out"], { x: 300, y: 300 });
      const nodes = [
        pool,
        member("a", { x: 550, y: 260 }),
        member("b", { x: 750, y: 340 }),
        { id: "out", type: "link out", z: "tab", mode: "link", links: ["in"], x: 550, y: 340, wires: [] },
        { id: "in", type: "link in", z: "tab", links: ["out"], x: 620, y: 340, wires: [["b"]] },
      ];
      await nodeRed.deploy([TAB, ...around("pool"), source("pool"), ...nodes]);
      await flowing();
      editor = await Editor.open(context, nodeRed.url);

      // Deleted by mistake, and taken back before it is deployed.
      await invoke("core:set-deploy-type-to-modified-nodes");
      await select("b");
      await editor.page.keyboard.press("Delete");
      assert.deepEqual((await idsOf("resilient-file")).sort(), ["a"]);
      await editor.page.keyboard.press("Control+z");
      assert.deepEqual((await idsOf("resilient-file")).sort(), ["a", "b"]);
      // Deleted and deployed, and taken back after that.
      await select("b");
      await editor.page.keyboard.press("Delete");
      await editor.deploy();
      await flowing();
      await until("b to be listed", async () => (await stateOf("pool")).orphans.length === 1);
      await invoke("core:undo");
      await editor.deploy();
      await flowing();
      await until("b to be a member again", async () => (await stateOf("pool")).orphans.length === 0);

      // A copy has members of its own, and is fed by nobody.
      await invoke("core:set-deploy-type-to-modified-flows");
      await select("pool", "a");
      await editor.page.keyboard.press("Control+c");
      await editor.page.keyboard.press("Control+v");
      await click(400, 560);
      await editor.deploy();
      await flowing();
      const copy = (await idsOf("resilient-pool")).find((id) => id !== "pool")!;
      const copied = (await stateOf(copy)).members.map(({ id }) => id);
      assert.equal(copied.length, 1);
      assert.ok(!["a", "b"].includes(copied[0]!), "its member is the copy, not the original");

      // A flow from elsewhere, with its own source and ids that are in use here.
      await invoke("core:set-deploy-type-to-full");
      const exported = [
        fn("source", "", "", [["pool"]], {
          initialize: `setTimeout(() => { for (let n = 1; n <= 50; n++) node.send({ payload: n }); }, 300);`,
          x: 100,
          y: 60,
        }),
        poolNode(["a"], { z: "", x: 300, y: 60 }),
        member("a", { z: "", file: "imported.jsonl", x: 500, y: 60 }),
      ];
      await invoke("core:show-import-dialog");
      const text = editor.page.locator("#red-ui-clipboard-dialog-import-text");
      await text.fill(JSON.stringify(exported));
      await text.press("End"); // it is looked at when a key is let go
      await editor.page.locator("#red-ui-clipboard-dialog-ok").click();
      const copies = editor.page.getByRole("button", { name: /import (a )?copy/i });
      await copies.first().click();
      await click(500, 700);
      await editor.deploy();
      await flowing();
      await until("the imported records", () => file("imported").length >= 50);

      await nodeRed.deploy(
        (await nodeRed.flows()).filter(({ id }) => id !== "source"),
        "nodes",
      );
      const heard = await poolHeard(nodeRed);
      const { completed } = heard;
      await until("the last line of each", () => ["a", "b"].every((name) => file(name).at(-1) === completed.at(-1)));
      assertStored(file("a"), heard);
      assert.deepEqual(file("b"), file("a"));
      assert.deepEqual(
        file("imported"),
        Array.from({ length: 50 }, (_, i) => i + 1),
      );
    });
  });
}
