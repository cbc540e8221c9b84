/**
 * An HTTP peer that answers as it is told, for what a real Elasticsearch cannot be made to say. Not Elasticsearch: its
 * answers are copied from real ones. Untold, it takes everything.
 */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { gunzipSync } from "node:zlib";

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** Uncompressed. */
  readonly body: string;
}

export interface ScriptedReply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object | string;
}

/** A reply; or what to do with the response, which may be nothing at all. */
export type Script = (request: SeenRequest) => ScriptedReply | ((response: ServerResponse) => void);

const PRODUCT = { "x-elastic-product": "Elasticsearch" };

export function json(status: number, body: object, headers: Readonly<Record<string, string>> = {}): ScriptedReply {
  return { status, body, headers: { ...PRODUCT, "content-type": "application/json", ...headers } };
}

export function errorReply(
  status: number,
  type: string,
  headers: Readonly<Record<string, string>> = {},
): ScriptedReply {
  return json(status, { error: { type, reason: `reason of ${type}`, root_cause: [] }, status }, headers);
}

/** The action lines of a bulk request. */
export function actionsOf(
  request: SeenRequest,
): { op: string; _id?: string; _index?: string; [key: string]: unknown }[] {
  const lines = request.body.split("\n");
  return lines
    .filter((_, i) => i % 2 === 0 && i < lines.length - 1)
    .map((line) => {
      const [[op, action]] = Object.entries(JSON.parse(line) as object) as [[string, object]];
      return { op, ...action };
    });
}

/** The documents of a bulk request. */
export function documentsOf(request: SeenRequest): unknown[] {
  return request.body
    .split("\n")
    .filter((_, i) => i % 2 === 1)
    .map((line) => JSON.parse(line) as unknown);
}

export interface ScriptedItem {
  readonly status: number;
  readonly type?: string;
  readonly reason?: string;
  readonly failure_store?: string;
}

/** A bulk answer with an item for each action. */
export function bulkReply(request: SeenRequest, itemOf: (place: number) => ScriptedItem): ScriptedReply {
  const items = actionsOf(request).map(({ op }, place) => {
    const { status, type, reason, ...more } = itemOf(place);
    const error = type === undefined ? {} : { error: { type, reason: reason ?? `reason of ${type}` } };
    return { [op]: { status, ...error, ...more } };
  });
  return json(200, { errors: items.some((item) => Object.values(item)[0]!.status >= 300), items });
}

export class ScriptedPeer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Bulk requests, in order of arrival. */
  readonly bulks: SeenRequest[] = [];
  readonly others: SeenRequest[] = [];
  /** Answers bulk requests. */
  onBulk: Script = (request) => bulkReply(request, () => ({ status: 201 }));
  /** Answers everything else. */
  onOther: Script = () => json(200, {});
  /** The connection is reset as soon as a body has come so far. */
  dropsAboveBytes = Infinity;
  #arrived: (() => void)[] = [];

  private constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      let bytesSeen = 0;
      request.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        bytesSeen += chunk.length;
        if (bytesSeen > this.dropsAboveBytes) request.socket.resetAndDestroy();
      });
      request.on("error", () => {
        // The client went away: some tests want just that.
      });
      request.on("end", () => {
        const bytes = Buffer.concat(chunks);
        const seen: SeenRequest = {
          method: request.method ?? "",
          url: request.url ?? "",
          headers: request.headers,
          body: (request.headers["content-encoding"] === "gzip" ? gunzipSync(bytes) : bytes).toString(),
        };
        const isBulk = seen.url.startsWith("/_bulk");
        (isBulk ? this.bulks : this.others).push(seen);
        const reply = (isBulk ? this.onBulk : this.onOther)(seen);
        if (typeof reply === "function") reply(response);
        else {
          response.writeHead(reply.status, reply.headers);
          response.end(typeof reply.body === "object" ? JSON.stringify(reply.body) : reply.body);
        }
        for (const wake of this.#arrived.splice(0)) wake();
      });
    });
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  static async listen(port = 0): Promise<ScriptedPeer> {
    const peer = new ScriptedPeer();
    peer.#server.listen(port, "127.0.0.1");
    await once(peer.#server, "listening");
    return peer;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Resolves when so many bulk requests have arrived. */
  async untilBulks(count: number): Promise<void> {
    while (this.bulks.length < count) await new Promise<void>((resolve) => this.#arrived.push(resolve));
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
