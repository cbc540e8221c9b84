/**
 * Answers bulk requests as Elasticsearch does, at a speed that is told by messages from its parent: an HTTP peer whose
 * capacity is known. Not Elasticsearch: it keeps nothing. Says its port, and when asked how many records it has taken.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { systemClock } from "../../../src/clock.js";
import { Rate } from "../../support/rate.js";

export type ToPeer = { readonly perSecond: number } | "taken";
export type FromPeer = { readonly port: number } | { readonly taken: number };

const NEW_LINE = 0x0a;

const rate = new Rate(systemClock, 1);
let taken = 0;

function linesIn(body: Buffer): number {
  let lines = 0;
  for (let at = body.indexOf(NEW_LINE); at >= 0; at = body.indexOf(NEW_LINE, at + 1)) lines++;
  return lines;
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const sent = Buffer.concat(chunks);
    const body = request.headers["content-encoding"] === "gzip" ? gunzipSync(sent) : sent;
    const count = request.url?.startsWith("/_bulk") === true ? linesIn(body) / 2 : 0;
    void rate.do(count).then(() => {
      taken += count;
      response.writeHead(200, { "x-elastic-product": "Elasticsearch", "content-type": "application/json" });
      const items = new Array(count).fill('{"create":{"status":201}}').join();
      response.end(count === 0 ? "{}" : `{"errors":false,"items":[${items}]}`);
    });
  });
});

process.on("message", (message: ToPeer) => {
  if (message === "taken") tell({ taken });
  else rate.perSecond = message.perSecond;
});
process.on("disconnect", () => process.exit());
server.listen(0, "127.0.0.1", () => tell({ port: (server.address() as AddressInfo).port }));

function tell(message: FromPeer): void {
  process.send!(message);
}
