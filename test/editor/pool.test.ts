/** The pool and the transform as a user meets them: in Node-RED's editor, in a real browser. */
import assert from "node:assert/strict";
import type { Browser, BrowserContext } from "playwright-core";
import { startNodeRed, type NodeRed } from "../support/node-red.js";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { linesOf, runtimeNode, until } from "../node-red/flows.js";
import { TAB, fn, member, poolNode } from "../node-red/pool-flows.js";
import { Editor, browserPath, newContext, startBrowser } from "./editor.js";

for (const version of NODE_RED_VERSIONS) {
  describe(`the pool in the editor of Node-RED ${version}`, () => {
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
      [browser, nodeRed] = await Promise.all([startBrowser(path), startNodeRed(version, { flows: [TAB] })]);
      context = await newContext(browser);
    });
    after(async () => {
      await browser?.close();
      await nodeRed?.remove();
    });
    afterEach(async () => {
      await editor.page.close();
      assert.deepEqual(editor.complaints, []);
    });

    const label = (id: string): Promise<string | null> =>
      editor.page.locator(`.red-ui-flow-node-group[id="${id}"] .red-ui-flow-node-label`).textContent();

    it("warns while nothing that stores is wired to it, and counts its members in its label", async () => {
      const rest = [TAB, runtimeNode(), member("a", { x: 600, y: 60 }), member("b", { x: 600, y: 160 })];
      await nodeRed.deploy([...rest, fn("f", "tab", "return msg;"), poolNode(["f"], { x: 200, y: 100 })]);
      editor = await Editor.open(context, nodeRed.url);
      assert.match((await editor.reasons("pool")).join(), /nobody would store/);
      assert.match((await label("pool")) ?? "", /\(0\)/);
      await editor.page.close();

      const junction = { id: "j", type: "junction", z: "tab", x: 400, y: 100, wires: [["b"]] };
      await nodeRed.deploy([...rest, junction, poolNode(["a", "j"], { x: 200, y: 100 })]);
      editor = await Editor.open(context, nodeRed.url);

      assert.deepEqual(await editor.reasons("pool"), []);
      assert.match((await label("pool")) ?? "", /\(2\)/);
    });

    it("says in an exporter's dialog which pool feeds it, and in the pool's who its members are", async () => {
      const own = member("b", { name: "second", x: 600, y: 160, transform: { kind: "jsonata", source: "payload" } });
      const pool = poolNode(["a", "b"], { name: "everything", x: 200, y: 100 });
      await nodeRed.deploy([TAB, runtimeNode(), member("a", { name: "first", x: 600, y: 60 }), own, pool]);
      editor = await Editor.open(context, nodeRed.url);

      await editor.openDialog("a");
      assert.match(
        await editor.page.locator(".resilient-pools").innerText(),
        /Fed by: everything[\s\S]*apply in place/,
      );
      await editor.done("#node-dialog-cancel");
      await editor.openDialog("b");
      assert.match(await editor.page.locator(".resilient-pools").innerText(), /queue of its own/);
      await editor.done("#node-dialog-cancel");
      await editor.openDialog("pool");
      const members = await editor.page.locator("#resilient-pool-members li").allInnerTexts();
      await editor.done("#node-dialog-cancel");

      assert.deepEqual(members.length, 2);
      assert.match(members.join(), /first/);
      assert.match(members.join(), /second.*not a member/);
    });

    it("edits a transform in the code editor, refuses one that cannot be read, and deploys it", async () => {
      const feed = fn("feed", "tab", "", [["a"]], { initialize: "setTimeout(() => node.send({ payload: 21 }), 200);" });
      await nodeRed.deploy([TAB, runtimeNode(), feed, member("a", { x: 600, y: 60, file: "edited.jsonl" })]);
      editor = await Editor.open(context, nodeRed.url);

      await editor.openDialog("a");
      await editor.page.locator("#resilient-transform-kind").selectOption("javascript");
      await editor.page.locator("#resilient-transform-code").click();
      await editor.page.keyboard.press("Control+A");
      await editor.page.keyboard.type("return payload * 2");
      await editor.page.locator("#resilient-transform-timeout").fill("0.5");
      await editor.done();
      await editor.deploy();

      const saved = (await nodeRed.flows()).find(({ id }) => id === "a")!;
      assert.deepEqual(saved["transform"], { kind: "javascript", source: "return payload * 2", timeoutS: 0.5 });
      await nodeRed.deploy(await nodeRed.flows());
      await until("the line", () => linesOf(`${nodeRed.userDir}/edited.jsonl`).at(-1) === 42);
      await editor.page.close();
      editor = await Editor.open(context, nodeRed.url);

      await editor.openDialog("a");
      await editor.page.locator("#resilient-transform-kind").selectOption("jsonata");
      await editor.done();
      assert.deepEqual(await editor.reasons("a"), []);
      await editor.openDialog("a");
      await editor.page.locator("#resilient-transform-timeout").fill("soon");
      await editor.done();
      assert.match((await editor.reasons("a")).join(), /not a number of seconds/);
    });
  });
}
