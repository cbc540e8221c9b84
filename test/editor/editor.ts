/**
 * Node-RED's editor in a real browser, driven by hand-sized steps: drag a node in, open its dialog, deploy.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";

/** What covers the editor while it deploys: in Node-RED 4, and in 5. */
const SHADES = "#red-ui-editor-shade, .red-ui-shade";
/** For whatever is to appear, on a machine with other work. */
const MOST_WAIT_MS = 90_000;
const NAMES = ["chromium", "chromium-browser", "google-chrome"];

/** The browser of this machine; undefined where there is none. */
export function browserPath(): string | undefined {
  for (const name of NAMES) {
    try {
      return execFileSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
    } catch {
      // Not this one: the next name may be there.
    }
  }
  return undefined;
}

/** Without a sandbox: containers and CI run as root, where Chromium refuses to start with one. */
export function startBrowser(executablePath: string): Promise<Browser> {
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
}

/** @param language as the browser asks for it, "de" for example */
export async function newContext(browser: Browser, language = "en-US"): Promise<BrowserContext> {
  const context = await browser.newContext({ viewport: { width: 1400, height: 1000 }, locale: language });
  context.setDefaultTimeout(MOST_WAIT_MS);
  return context;
}

/** What the tests use of the editor's global. */
interface EditorGlobal {
  nodes: {
    eachNode(callback: (node: Record<string, unknown>) => void): void;
    eachConfig(callback: (node: Record<string, unknown>) => void): void;
    dirty(): boolean;
  };
}

export class Editor {
  readonly page: Page;
  /** What the page complained about; Node-RED's own pages are silent. */
  readonly complaints: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.on("pageerror", (error) => this.complaints.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error") this.complaints.push(`${message.text()} (${message.location().url})`);
    });
  }

  /** @param context pages of one context share a cache, without which each page takes seconds to load */
  static async open(context: BrowserContext, url: string): Promise<Editor> {
    const page = await context.newPage();
    const editor = new Editor(page);
    await page.goto(url);
    await editor.ready();
    return editor;
  }

  /** Resolves when the flows are loaded and shown. */
  async ready(): Promise<void> {
    await this.page.locator("#red-ui-palette-container .red-ui-palette-node").first().waitFor();
    await this.page.locator("#red-ui-loading-progress").waitFor({ state: "hidden" });
  }

  /** Drags a node from the palette to a place of the canvas, as a hand does; resolves to its id. */
  async drag(type: string, x: number, y: number): Promise<string> {
    const before = (await this.nodes()).map(({ id }) => id);
    const source = this.page.locator(`.red-ui-palette-node[data-palette-type="${type}"]`);
    await source.scrollIntoViewIfNeeded();
    const from = (await source.boundingBox())!;
    const canvas = (await this.page.locator("#red-ui-workspace-chart").boundingBox())!;
    await this.page.mouse.move(from.x + from.width / 2, from.y + from.height / 2);
    await this.page.mouse.down();
    await this.page.mouse.move(canvas.x + x, canvas.y + y, { steps: 8 });
    await this.page.mouse.up();
    const added = await this.page.waitForFunction((known) => {
      let found: unknown;
      (globalThis as unknown as { RED: EditorGlobal }).RED.nodes.eachNode((node) => {
        if (!known.includes(String(node["id"]))) found = node["id"];
      });
      return found;
    }, before);
    return String(await added.jsonValue());
  }

  /** The nodes on all tabs, with the properties that are plain values. */
  nodes(): Promise<EditorNode[]> {
    return this.#all("eachNode");
  }

  configs(): Promise<EditorNode[]> {
    return this.#all("eachConfig");
  }

  /** Opens the dialog of a node by a double click on it. */
  async openDialog(id: string): Promise<void> {
    await this.page.locator(`.red-ui-flow-node-group[id="${id}"] .red-ui-flow-node`).first().dblclick();
    await this.settled("#node-dialog-ok");
  }

  /** Why the editor marks a node as wrong. */
  reasons(id: string): Promise<string[]> {
    return this.page.evaluate((wanted) => {
      let reasons: unknown = [];
      (globalThis as unknown as { RED: EditorGlobal }).RED.nodes.eachNode((node) => {
        if (node["id"] === wanted) reasons = node["validationErrors"] ?? [];
      });
      return (reasons as unknown[]).flat().map(String);
    }, id);
  }

  /** Presses Done and waits until the dialog is gone. */
  async done(button = "#node-dialog-ok"): Promise<void> {
    await this.page.locator(button).click();
    await this.page.locator(button).waitFor({ state: "hidden" });
  }

  /** Deploys what was changed, and waits until the editor takes clicks again: a shade covers it for a moment longer. */
  async deploy(): Promise<void> {
    const dirty = (): boolean => (globalThis as unknown as { RED: EditorGlobal }).RED.nodes.dirty();
    assert.ok(await this.page.evaluate(dirty), "there is something to deploy");
    await this.page.locator("#red-ui-header-button-deploy").click();
    await this.page.waitForFunction(() => !(globalThis as unknown as { RED: EditorGlobal }).RED.nodes.dirty());
    await this.page.locator(SHADES).filter({ visible: true }).waitFor({ state: "hidden" });
  }

  /** A tray slides in: what is clicked while it moves is missed. */
  async settled(selector: string): Promise<void> {
    const element = this.page.locator(selector);
    await element.waitFor();
    for (let before = -1, now = (await element.boundingBox())?.x ?? 0; before !== now;) {
      before = now;
      await this.page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 50)));
      now = (await element.boundingBox())?.x ?? 0;
    }
  }

  #all(each: "eachNode" | "eachConfig"): Promise<EditorNode[]> {
    return this.page.evaluate((which) => {
      const found: EditorNode[] = [];
      (globalThis as unknown as { RED: EditorGlobal }).RED.nodes[which as "eachNode"]((node) => {
        const plain = Object.entries(node).filter(([name, value]) => {
          return (
            !name.startsWith("_") &&
            (typeof value !== "object" ||
              ["flush", "budgets", "output", "groups", "thresholds", "network"].includes(name))
          );
        });
        found.push(JSON.parse(JSON.stringify(Object.fromEntries(plain))) as EditorNode);
      });
      return found;
    }, each);
  }
}

export interface EditorNode {
  readonly id: string;
  readonly type: string;
  readonly [property: string]: unknown;
}
