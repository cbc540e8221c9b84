/** The file exporter as a user meets it: in Node-RED's editor, in a real browser. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, BrowserContext } from "playwright-core";
import { startNodeRed, type FlowNode, type NodeRed } from "../support/node-red.js";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { linesOf, until } from "../node-red/flows.js";
import { Editor, browserPath, newContext, startBrowser } from "./editor.js";

const TAB = { id: "tab1", type: "tab", label: "Flow" };
/** Set it to look at the pictures afterwards. */
const PICTURES = process.env["RESILIENT_PICTURES"];

for (const version of NODE_RED_VERSIONS) {
  describe(`the editor of Node-RED ${version}`, () => {
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
    beforeEach(async () => {
      await nodeRed.deploy([TAB]);
      editor = await Editor.open(context, nodeRed.url);
    });
    afterEach(async function () {
      if (PICTURES !== undefined) {
        const name = `${version}-${this.currentTest?.title.slice(0, 40).replaceAll(/\W+/g, "-")}.png`;
        await editor.page.screenshot({ path: join(PICTURES, name) });
      }
      await editor.page.close();
      assert.deepEqual(editor.complaints, []);
    });

    it("gives the first exporter a ready runtime, and the second one the same", async () => {
      await editor.drag("resilient-file", 300, 100);
      await editor.drag("resilient-file", 300, 200);

      const runtimes = (await editor.configs()).filter(({ type }) => type === "resilient-runtime");
      const exporters = (await editor.nodes()).filter(({ type }) => type === "resilient-file");
      assert.equal(runtimes.length, 1);
      assert.deepEqual(
        exporters.map((node) => node["runtime"]),
        [runtimes[0]!.id, runtimes[0]!.id],
      );
    });

    it("takes back the runtime with the exporter that brought it", async () => {
      await editor.drag("resilient-file", 300, 100);

      await editor.page.keyboard.press("Control+z");
      await editor.page.keyboard.press("Control+z");

      assert.deepEqual([await editor.nodes(), await editor.configs()], [[], []]);
    });

    it("deploys what the dialog holds: a record sent then lands in the file", async () => {
      const exporter = await editor.drag("resilient-file", 500, 150);
      await editor.openDialog(exporter);
      await editor.page.locator("#node-input-file + .red-ui-typedInput-container input").first().fill("out.jsonl");
      await editor.page.locator("#resilient-exporter-flush summary").click();
      await editor.page.locator('[data-setting="durability"]').selectOption("everyMessage");
      await editor.page.locator('[data-setting="writeIntervalMs"]').fill("0.5");
      await editor.page.locator('[data-setting="backlogBytes"]').fill("64");
      await editor.page.locator('[data-setting="backlogAgeMs"]').fill("36");
      await editor.done();

      const from = nodeRed.lines.length;
      await editor.deploy();
      await nodeRed.waitFor("Started", from);

      const flows = await nodeRed.flows();
      const deployed = flows.find(({ id }) => id === exporter);
      assert.equal(deployed?.["file"], "out.jsonl");
      assert.deepEqual(deployed?.["flush"], {
        durability: "everyMessage",
        writeIntervalMs: 500,
        backlogBytes: 64 * 1024 ** 2,
        backlogAgeMs: 36 * 3_600_000,
      });
      assert.ok(flows.some(({ type, id }) => type === "resilient-runtime" && id === deployed?.["runtime"]));

      const inject = { id: "inject", type: "inject", z: TAB.id, props: [{ p: "payload" }], payload: "7" };
      await nodeRed.deploy([...flows, { ...inject, payloadType: "num", wires: [[exporter]] }], "nodes");
      await nodeRed.inject("inject");
      const file = join(nodeRed.userDir, "out.jsonl");
      await until("its line", () => linesOf(file).length === 1);
      assert.deepEqual(linesOf(file), [7]);
    });

    it("shows the runtime's own settings in the dialog inside the dialog, and the exporter's behind it unharmed", async () => {
      const exporter = await editor.drag("resilient-file", 300, 100);
      await editor.openDialog(exporter);
      await editor.page.locator("#resilient-exporter-flush summary").click();
      await editor.page.locator('[data-setting="concurrency"]').fill("3");
      await editor.page.locator("#node-input-btn-runtime-edit, #node-input-lookup-runtime").first().click();
      await editor.settled("#node-config-dialog-ok");

      await editor.page.locator("#resilient-runtime-flush summary").click();
      await editor.page.locator("#resilient-runtime-flush-batchRecords").fill("250");
      await editor.done("#node-config-dialog-ok");
      await editor.settled("#node-dialog-ok");
      const shown = editor.page.locator("#resilient-exporter-flush-batchRecords");
      assert.equal(await shown.getAttribute("placeholder"), "as in the runtime (250)");
      await editor.done();

      const runtime = (await editor.configs()).find(({ type }) => type === "resilient-runtime");
      assert.deepEqual(runtime?.["flush"], { batchRecords: 250 });
      const node = (await editor.nodes()).find(({ id }) => id === exporter);
      assert.deepEqual(node?.["flush"], { concurrency: 3 });
    });

    it("holds what a line looks like and how large the file may become", async () => {
      const exporter = await editor.drag("resilient-file", 300, 100);
      await editor.openDialog(exporter);
      await editor.page.locator("#resilient-file-output summary").click();
      await editor.page.locator("#resilient-file-output-format").selectOption("csv");
      await editor.page.locator("#resilient-file-output-columns").fill("time,value");
      await editor.page.locator("#resilient-file-output-maxBytes").fill("10");
      await editor.page.locator("#resilient-file-output-gzip").selectOption("true");
      await editor.done();

      const node = (await editor.nodes()).find(({ id }) => id === exporter);
      assert.deepEqual(node?.["output"], {
        format: "csv",
        columns: "time,value",
        maxBytes: 10 * 1024 ** 2,
        gzip: true,
      });
    });

    it("shows stored settings as they were typed, and leaves them alone", async () => {
      const flush = { durability: "delivered", writeIntervalMs: 500, backlogBytes: "2 GiB", concurrency: "${WORKERS}" };
      await nodeRed.deploy([TAB, runtimeNode({ batchRecords: 500 }), { ...fileNode("f1"), flush }]);
      await editor.page.reload();
      await editor.openDialog("f1");

      const shown = async (name: string): Promise<string> =>
        editor.page.locator(`[data-setting="${name}"]`).inputValue();
      assert.equal(await shown("writeIntervalMs"), "0.5");
      assert.equal(await shown("backlogBytes"), "2 GiB");
      assert.equal(await shown("concurrency"), "${WORKERS}");
      assert.equal(await shown("durability"), "delivered");
      const placeholder = await editor.page.locator('[data-setting="batchRecords"]').getAttribute("placeholder");
      assert.equal(placeholder, "as in the runtime (500)");
      await editor.done();

      const after = (await editor.nodes()).find(({ id }) => id === "f1");
      assert.deepEqual(after?.["flush"], flush);
      assert.notEqual(after?.["changed"], true, "Done without a change is no change");
    });

    it("says what is missing or out of range", async () => {
      const id = await editor.drag("resilient-file", 300, 100);
      await editor.openDialog(id);
      await editor.page.locator("#resilient-exporter-flush summary").click();
      await editor.page.locator('[data-setting="concurrency"]').fill("99");
      await editor.done();

      const reasons = await editor.reasons(id);

      assert.equal(reasons.length, 2, reasons.join("; "));
      assert.match(reasons.join("; "), /file name is missing/);
      assert.match(reasons.join("; "), /Batches at once: must be between 1 and 16/);
    });

    it("wants a folder for names that come from messages", async () => {
      await nodeRed.deploy([TAB, runtimeNode(), { ...fileNode("f1"), file: "filename", fileType: "msg" }]);
      await editor.page.reload();
      await editor.ready();

      assert.match((await editor.reasons("f1")).join("; "), /folder that it cannot leave/);
    });

    it("offers the example under Import", async () => {
      await editor.page.locator("#red-ui-header-button-sidemenu").click();
      await editor.page.locator("#menu-item-import").click();
      await editor.page
        .locator(
          '[href="#red-ui-clipboard-dialog-import-tab-examples"], #red-ui-tab-red-ui-clipboard-dialog-import-tab-examples',
        )
        .first()
        .click();
      await editor.page.getByText("node-red-contrib-resilient-exporters").last().click();
      await editor.page.getByText("1-readings-to-file").waitFor();
    });

    it("speaks German to a German browser", async () => {
      const german = await Editor.open(await newContext(browser, "de"), nodeRed.url);
      try {
        const id = await german.drag("resilient-file", 300, 100);
        await german.openDialog(id);
        for (const part of ["#resilient-file-output", "#resilient-exporter-flush"])
          await german.page.locator(`${part} summary`).click();
        assert.match(await german.page.locator("#dialog-form").innerText(), /Angenommen, wenn/);
        assert.doesNotMatch(await german.page.locator("#dialog-form").innerText(), /label\.|setting\.|unit\./);
      } finally {
        await german.page.close();
      }
    });
  });
}

describe("the html of a node", () => {
  it("registers its type with a literal name and object, which the flow library reads without running it", () => {
    for (const file of ["runtime/runtime.html", "file-exporter/file-exporter.html"]) {
      const html = readFileSync(join(__dirname, "..", "..", "nodes", file), "utf8");
      assert.match(html, /RED\.nodes\.registerType\("resilient-\w+", \{/);
    }
  });
});

function runtimeNode(flush: object = {}): FlowNode {
  return { id: "rt", type: "resilient-runtime", name: "", folder: "", budgets: {}, flush };
}

function fileNode(id: string): FlowNode {
  return {
    id,
    type: "resilient-file",
    z: TAB.id,
    name: "",
    runtime: "rt",
    file: "out.jsonl",
    fileType: "str",
    folder: "",
    createFolders: true,
    data: "payload",
    dataType: "msg",
    arrays: "each",
    control: false,
    discard: false,
    outputs: 0,
    output: {},
    transform: {},
    flush: {},
    x: 300,
    y: 100,
    wires: [],
  };
}
