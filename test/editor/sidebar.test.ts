/** The sidebar tab, and the dialogs of the events node and of the runtime, in a real browser. */
import assert from "node:assert/strict";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Browser, BrowserContext, Locator } from "playwright-core";
import { startNodeRed, type NodeRed } from "../support/node-red.js";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { TAB, exporterNode, heard, linesOf, listeners, runtimeNode, send, until } from "../node-red/flows.js";
import { Editor, browserPath, newContext, startBrowser } from "./editor.js";

/** Set it to look at the pictures afterwards. */
const PICTURES = process.env["RESILIENT_PICTURES"];

for (const version of NODE_RED_VERSIONS) {
  describe(`the sidebar in the editor of Node-RED ${version}`, () => {
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
      if (PICTURES !== undefined) {
        const name = `sidebar-${version}-${this.currentTest?.title.slice(0, 40).replaceAll(/\W+/g, "-")}.png`;
        await editor.page.screenshot({ path: join(PICTURES, name) });
      }
      await editor.page.close();
      assert.deepEqual(editor.complaints, []);
    });

    async function openSidebar(): Promise<Locator> {
      editor = await Editor.open(context, nodeRed.url);
      await editor.page.evaluate(() => {
        const { RED } = globalThis as unknown as { RED: { sidebar: { show(id: string): void } } };
        RED.sidebar.show("resilient-sidebar");
      });
      const sidebar = editor.page.locator(".resilient-sidebar");
      await sidebar.locator("[data-member]").first().waitFor();
      return sidebar;
    }

    it("shows what waits, holds it and sends it on, and discards only what is confirmed", async () => {
      await nodeRed.deploy([TAB, runtimeNode(), exporterNode({ name: "attic" }), ...listeners()]);
      const out = join(nodeRed.userDir, "out.jsonl");
      const sidebar = await openSidebar();

      await sidebar.getByRole("button", { name: "pause" }).click();
      await sidebar.getByText("paused").waitFor();
      await send(nodeRed, { payload: 1 }, { payload: 2 });
      await sidebar.getByText("2 waiting").waitFor();
      await sidebar.getByRole("button", { name: "discard waiting" }).click();
      await editor.page.getByRole("button", { name: "cancel" }).click();
      await sidebar.getByRole("button", { name: "go on" }).click();
      await until("both lines", () => linesOf(out).length === 2);
      await sidebar.getByText("0 waiting").waitFor();

      await sidebar.getByRole("button", { name: "pause" }).click();
      await sidebar.getByText("paused").waitFor();
      await send(nodeRed, { payload: 3 });
      await sidebar.getByText("1 waiting").waitFor();
      await sidebar.getByRole("button", { name: "discard waiting" }).click();
      await editor.page.locator(".red-ui-notification").getByRole("button", { name: "discard" }).click();
      await sidebar.getByText("0 waiting").waitFor();
      assert.equal(linesOf(out).length, 2);
      assert.doesNotMatch(await sidebar.innerText(), /label\.|state\.|network\.|button\./);
    });

    it("lists rejected records with their reason, and sends one again when its cause is mended", async () => {
      const named = exporterNode({
        name: "attic",
        file: "name",
        fileType: "msg",
        folder: "files",
        createFolders: true,
      });
      await nodeRed.deploy([TAB, runtimeNode(), named, ...listeners()]);
      const caught = (await heard(nodeRed)).caught.length;
      mkdirSync(join(nodeRed.userDir, "files"), { recursive: true });
      await send(nodeRed, { payload: { t: 1 }, name: "../out", topic: "<b>attic</b>" }, { payload: 2, name: "../out" });
      await until("both to be caught", async () => (await heard(nodeRed)).caught.length === caught + 2);
      const sidebar = await openSidebar();

      await sidebar.getByRole("button", { name: "rejected" }).click();
      await sidebar.getByText("Rejected: attic (2)").waitFor();
      const letter = sidebar.locator("[data-letter]").first();
      const words = await letter.innerText();
      assert.match(words, /file-name-refused/);
      assert.match(words, /file: \.\.\/out/);
      assert.match(words, /<b>attic<\/b>/, "text from messages is no html");
      await letter.getByRole("button", { name: "discard" }).click();
      await editor.page.locator(".red-ui-notification").getByRole("button", { name: "discard" }).click();
      await sidebar.getByText("Rejected: attic (1)").waitFor();
      await sidebar.getByRole("button", { name: "back" }).click();
      await sidebar.getByText("1 rejected", { exact: false }).first().waitFor();
    });

    it("finds queues whose node is gone", async () => {
      await nodeRed.deploy([
        TAB,
        runtimeNode(),
        exporterNode({ id: "old", file: "nowhere/out.jsonl" }),
        ...listeners(),
      ]);
      await nodeRed.deploy([TAB, runtimeNode(), exporterNode({ file: "nowhere/out.jsonl" }), ...listeners()]);
      await send(nodeRed, { payload: 1 });
      rmSync(join(nodeRed.userDir, "out.jsonl"), { force: true });
      await nodeRed.deploy([TAB, runtimeNode(), exporterNode({ id: "new" }), ...listeners()]);
      const sidebar = await openSidebar();

      await sidebar.getByRole("button", { name: "queues without a node" }).click();
      const orphan = sidebar.locator('[data-orphan="exporter"]');
      await orphan.getByText("records: 1").waitFor();
      await orphan.getByRole("button", { name: "adopt" }).click();

      await until("what it had", () => linesOf(join(nodeRed.userDir, "out.jsonl")).length === 1);
      await sidebar.getByText("There is none.").waitFor();
    });

    it("holds which events are told, and from which backlog on", async () => {
      await nodeRed.deploy([TAB, runtimeNode()]);
      editor = await Editor.open(context, nodeRed.url);
      const id = await editor.drag("resilient-events", 300, 100);
      await editor.openDialog(id);
      await editor.page.locator('[data-group="losses"]').uncheck();
      await editor.page.locator("#resilient-events-thresholds summary").click();
      await editor.page.locator("#resilient-events-thresholds-ageMs").fill("90");
      await editor.done();

      const node = (await editor.nodes()).find((found) => found.id === id);

      assert.deepEqual([node?.["groups"], node?.["thresholds"]], [{ losses: false }, { ageMs: 90_000 }]);
      assert.deepEqual(await editor.reasons(id), []);
    });

    it("gives an exporter an output for reports where that is chosen", async () => {
      await nodeRed.deploy([TAB, runtimeNode()]);
      editor = await Editor.open(context, nodeRed.url);
      const id = await editor.drag("resilient-file", 300, 100);
      await editor.openDialog(id);
      await editor.page.locator("#node-input-control").check();
      await editor.page.locator("#node-input-discard").check();
      await editor.page.locator("#node-input-arrays").selectOption("one");
      await editor.page.locator("#resilient-exporter-report").check();
      await editor.done();

      const node = (await editor.nodes()).find((found) => found.id === id);

      const { outputs, control, discard, arrays } = node as Record<string, unknown>;
      assert.deepEqual(
        { outputs, control, discard, arrays },
        { outputs: 1, control: true, discard: true, arrays: "one" },
      );
    });
  });
}
