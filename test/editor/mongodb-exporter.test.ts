/** The MongoDB exporter's dialog in a real browser, with a real server behind its button. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, BrowserContext } from "playwright-core";
import { MongoServer, needMongoServer } from "../servers/mongodb.js";
import { startNodeRed, type NodeRed } from "../support/node-red.js";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { skipBecause } from "../support/skip.js";
import { Editor, browserPath, newContext, startBrowser } from "./editor.js";

const TAB = { id: "tab1", type: "tab", label: "Flow" };
const PASSWORD = `p@ss:/?#[]%"'\\ <>&{}$`;
/** Set it to look at the pictures afterwards. */
const PICTURES = process.env["RESILIENT_PICTURES"];

describe("the dialog of the MongoDB exporter", () => {
  let browser: Browser;
  let server: MongoServer;

  before(async function () {
    const path = browserPath();
    if (path === undefined) skipBecause(this, "no Chromium or Chrome");
    await needMongoServer(this);
    server = await MongoServer.make({ password: PASSWORD });
    [browser] = await Promise.all([startBrowser(path), server.start()]);
  });
  after(async () => {
    await browser?.close();
    await server?.remove();
  });

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

      it("moves a password out of the URI, tests the connection, and sends what is stored nowhere else", async () => {
        const { page } = editor;
        const result = page.locator(".resilient-test-result");
        const test = async (): Promise<string> => {
          await page.getByRole("button", { name: "Test connection" }).click();
          await page.getByRole("button", { name: "Test connection", disabled: false }).waitFor();
          await result.waitFor();
          return result.innerText();
        };
        const id = await editor.drag("resilient-mongodb", 500, 150);
        await editor.openDialog(id);
        const uri = page.locator("#node-input-uri");
        await uri.fill(server.url.replace("//", `//root:${encodeURIComponent(PASSWORD)}@`));
        await uri.blur();
        await page.locator("#node-input-database + .red-ui-typedInput-container input").first().fill("plant");
        await page.locator("#node-input-collection + .red-ui-typedInput-container input").first().fill("readings");
        assert.equal(await uri.inputValue(), server.url);
        assert.equal(await page.locator("#node-input-user").inputValue(), "root");
        assert.equal(await page.locator("#node-input-password").inputValue(), PASSWORD);
        assert.match(await test(), /connection works/i);
        await picture("dialog");
        await editor.done();
        await editor.deploy();

        const flowFile = readFileSync(join(nodeRed.userDir, "flows.json"), "utf8");
        assert.ok(!flowFile.includes(JSON.stringify(PASSWORD).slice(1, -1)) && !flowFile.includes("p%40ss"), flowFile);
        await page.reload();
        await editor.ready();
        await editor.openDialog(id);
        assert.equal(await page.locator("#node-input-password").inputValue(), "__PWRD__");
        assert.match(await test(), /connection works/i);
        await uri.fill(server.url.replace("127.0.0.1", "localhost"));
        assert.match(await test(), /type the password or key again/);
        await page.locator("#node-input-password").fill("wrong");
        assert.match(await test(), /password|login|authentication/i);
        await picture("refused");
        assert.deepEqual(editor.complaints, []);
        await page.locator("#node-dialog-cancel").click();
      });

      it("asks for a prefix where names come from messages, and shows every text in the reader's language", async () => {
        await nodeRed.deploy([TAB]);
        const german = await Editor.open(await newContext(browser, "de"), nodeRed.url);
        const { page } = german;
        const id = await german.drag("resilient-mongodb", 500, 150);
        await german.openDialog(id);
        for (const part of ["tls", "options"]) await page.locator(`#resilient-mongodb-${part} summary`).click();
        await page.locator("#node-input-database + .red-ui-typedInput-container input").first().fill("admin");
        await page.locator("#node-input-collection").evaluate((input) => {
          const { $ } = globalThis as unknown as { $: JQueryLike };
          $(input).typedInput("type", "msg");
          $(input).typedInput("value", "topic");
        });
        const prefix = page.locator("#node-input-collectionPrefix");
        await prefix.waitFor();
        const shown = await page.locator("#dialog-form").innerText();
        await page.locator("#resilient-mongodb-options summary").scrollIntoViewIfNeeded();
        await picture("german", page);

        assert.match(shown, /Zertifikat des Servers prüfen/);
        assert.doesNotMatch(shown, /label\.|setting\.|choice\.|group\.|tls\.|unit\.|undefined/);
        await german.done();
        const reasons = (await german.reasons(id)).join("; ");
        assert.match(reasons, /festen Anfang/);
        assert.match(reasons, /gehören dem Server/);
        await page.close();
      });

      async function picture(name: string, page = editor.page): Promise<void> {
        if (PICTURES !== undefined) await page.screenshot({ path: join(PICTURES, `mongodb-${version}-${name}.png`) });
      }
    });
  }
});

type JQueryLike = (element: unknown) => { typedInput(what: string, value: string): void };
