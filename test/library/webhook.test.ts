/** The target of `docs/targets.md` does what every target must do: the shared suite, on a web server of its own. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Target } from "../../src/index.js";
import { projectFolder } from "../support/servers-cache.js";
import { describeTarget } from "../support/target-suite.js";
import { tempFolder } from "../support/temp-folder.js";
import { programsIn } from "./docs.js";

type MakeTarget = new (url: URL, timeoutMs: number) => Target;

const TIMEOUT_MS = 4_000;

/** The code of the page, with the package's name exchanged for the source of today. */
function webhookTarget(): MakeTarget {
  const code = programsIn("targets.md").get("webhook-exporter.ts")!;
  const path = join(tempFolder(), "webhook-exporter.ts");
  const index = join(projectFolder, "src", "index.ts");
  writeFileSync(path, code.replaceAll("node-red-contrib-resilient-exporters", index));
  return (require(path) as { WebhookTarget: MakeTarget }).WebhookTarget;
}

interface Line {
  readonly id: string;
  readonly payload: { readonly n: number; readonly isBad?: boolean };
}

/** It stores a record once, refuses a request that has a bad one, can be stopped, and can fall silent. */
class WebServer {
  readonly #stored = new Map<string, number>();
  #server: Server | undefined;
  #port = 0;
  #unmute: (() => void) | undefined;
  #muted: Promise<void> = Promise.resolve();

  get numbers(): number[] {
    return [...this.#stored.values()];
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${this.#port}/hooks/`);
  }

  async start(): Promise<void> {
    this.#server = createServer((request, response) => void this.#answer(request, response));
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  }

  mute(): void {
    this.#muted = new Promise((resolve) => (this.#unmute = resolve));
  }

  unmute(): void {
    this.#unmute?.();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const lines = Buffer.concat(chunks).toString().split("\n").slice(0, -1);
      void this.#muted.then(() => this.#reply(response, lines));
    });
  }

  #reply(response: ServerResponse, texts: readonly string[]): void {
    const lines = texts.map((text) => JSON.parse(text) as Line);
    if (lines.some(({ payload }) => payload.isBad)) {
      response.writeHead(422).end();
      return;
    }
    const known = lines.filter(({ id }) => this.#stored.has(id)).map(({ id }) => id);
    for (const { id, payload } of lines) this.#stored.set(id, payload.n);
    response.end(JSON.stringify({ known }));
  }
}

describeTarget("The target in the documentation", {
  oncePer: "id",
  can: { stop: true, mute: true, poison: true },
  deadlineMs: TIMEOUT_MS,
  async make({ isStarted }) {
    const Webhook = webhookTarget();
    const server = new WebServer();
    await server.start(); // for its port
    if (!isStarted) await server.stop();
    const make = (): Target => new Webhook(server.url, TIMEOUT_MS);
    return {
      target: make(),
      another: make,
      readBack: () => Promise.resolve(server.numbers),
      poison: (n) => ({ payload: { n, isBad: true } }),
      stop: () => server.stop(),
      start: () => server.start(),
      mute: () => Promise.resolve(server.mute()),
      unmute: () => Promise.resolve(server.unmute()),
      dispose: async () => {
        server.unmute();
        await server.stop();
      },
    };
  },
});
