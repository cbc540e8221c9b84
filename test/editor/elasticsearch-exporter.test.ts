/** The Elasticsearch exporter's dialog in a real browser, with a real server behind its button. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, BrowserContext } from "playwright-core";
import { type ElasticsearchServer, START_TIMEOUT_MS, VERSIONS, sharedElasticsearch } from "../servers/elasticsearch.js";
import { startNodeRed, type NodeRed } from "../support/node-red.js";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { skipBecause } from "../support/skip.js";
import { Editor, browserPath, newContext, startBrowser } from "./editor.js";

const TAB = { id: "tab1", type: "tab", label: "Flow" };
/** Set it to look at the pictures afterwards. */
const PICTURES = process.env["RESILIENT_PICTURES"];

describe("the dialog of the Elasticsearch exporter", () => {
  let browser: Browser;
  let server: ElasticsearchServer;

  before(async function () {
    this.timeout(START_TIMEOUT_MS);
    const path = browserPath();
    if (path === undefined) skipBecause(this, "no Chromium or Chrome");
    if (VERSIONS[0] === "given") skipBecause(this, "a given server's login is not known to this test");
    [browser, server] = await Promise.all([startBrowser(path), sharedElasticsearch(VERSIONS[0] as string)]);
  });
  after(() => browser?.close());

  for (const version of NODE_RED_VERSIONS) {
    describe(`in Node-RED ${version}`, () => {
      let context: BrowserContext;
      let nodeRed: NodeRed;
      let editor: Editor;

      before(async () => {
        nodeRed = await startNodeRed(version, { flows: [TAB] });
        context = await newContext(browser);
        editor = await Editor.open(context, nodeRed.url);
      });
      after(async () => {
        await context?.close();
        await nodeRed?.remove();
      });

      it("moves a login out of an address, tests the connection, and sends what is stored nowhere else", async () => {
        const { page } = editor;
        const { username, password } = server.connection.auth as { username: string; password: string };
        const { ca } = server.connection.tls as { ca: string };
        const result = page.locator(".resilient-test-result");
        const test = async (): Promise<string> => {
          await page.getByRole("button", { name: "Test connection" }).click();
          await page.getByRole("button", { name: "Test connection", disabled: false }).waitFor();
          await result.waitFor();
          return result.innerText();
        };
        const id = await editor.drag("resilient-elasticsearch", 500, 150);
        await editor.openDialog(id);
        const nodes = page.locator("#node-input-nodes");
        await nodes.fill(server.url.href.replace("//", `//${username}:${password}@`));
        await nodes.blur();
        assert.equal(await nodes.inputValue(), server.url.href);
        assert.equal(await page.locator("#node-input-auth").inputValue(), "basic");
        assert.equal(await page.locator("#node-input-password").inputValue(), password);
        await page.locator("#node-input-index + .red-ui-typedInput-container input").first().fill("readings");
        assert.match(await test(), /certificate/i);
        await page.locator("#resilient-elasticsearch-tls summary").click();
        await page.locator("#resilient-tls-ca").fill(ca);
        assert.match(await test(), /Connected to Elasticsearch .* as user "elastic"/);
        await picture("dialog");
        await editor.done();
        await editor.deploy();

        assert.ok(!readFileSync(join(nodeRed.userDir, "flows.json"), "utf8").includes(password));
        await page.reload();
        await editor.ready();
        await editor.openDialog(id);
        assert.match(await test(), /Documents may be written to index "readings"/);
        await page.locator("#resilient-tls-verify").uncheck();
        assert.match(await test(), /type the password or key again/);
        await page.locator("#node-input-password").fill("wrong");
        assert.match(await test(), /password|login|credentials/i);
        await picture("refused");
        assert.deepEqual(editor.complaints, []);
        await page.locator("#node-dialog-cancel").click();
      });

      it("shows what belongs to the chosen login and id, in the reader's language", async () => {
        await nodeRed.deploy([TAB]);
        const german = await Editor.open(await newContext(browser, "de"), nodeRed.url);
        const { page } = german;
        await german.openDialog(await german.drag("resilient-elasticsearch", 500, 150));
        const isShown = (name: string): Promise<boolean> => page.locator(`#node-input-${name}`).isVisible();
        assert.deepEqual(await Promise.all(["apiKey", "username", "cloudId"].map(isShown)), [false, false, false]);

        await page.locator("#node-input-auth").selectOption("apiKey");
        await page.locator("#node-input-connectBy").selectOption("cloudId");
        for (const part of ["tls", "proxy", "options"])
          await page.locator(`#resilient-elasticsearch-${part} summary`).click();
        await page.locator("#resilient-elasticsearch-options-id").selectOption("message");
        await page.locator("#node-input-docId + .red-ui-typedInput-container").waitFor();
        const shown = await page.locator("#dialog-form").innerText();
        await page.locator("#node-input-destination").scrollIntoViewIfNeeded();
        await picture("german", page);

        assert.deepEqual(await Promise.all(["apiKey", "username", "cloudId"].map(isShown)), [true, false, true]);
        assert.doesNotMatch(shown, /label\.|setting\.|choice\.|group\.|tls\.|unit\.|undefined/);
        assert.deepEqual(german.complaints, []);
        await page.close();
      });

      async function picture(name: string, page = editor.page): Promise<void> {
        const path = join(PICTURES ?? "", `elasticsearch-${version}-${name}.png`);
        if (PICTURES !== undefined) await page.screenshot({ path });
      }
    });
  }
});
