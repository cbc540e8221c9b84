import assert from "node:assert/strict";
import { createServer as createHttp } from "node:http";
import type { RequestListener, Server } from "node:http";
import { createServer as createTcp } from "node:net";
import type { AddressInfo, Server as TcpServer, Socket } from "node:net";
import { systemClock } from "../../src/clock.js";
import { makeProbe, ProbeError } from "../../src/connectivity/probe.js";
import type { Probe } from "../../src/connectivity/probe.js";

/** For probes that are to run into it. */
const SHORT_MS = 300;

describe("A probe of the network", () => {
  let servers: (Server | TcpServer)[] = [];
  const sockets = new Set<Socket>();

  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    for (const server of servers) await new Promise((resolve) => server.close(resolve));
    servers = [];
  });

  async function listen(server: Server | TcpServer): Promise<number> {
    server.on("connection", (socket: Socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  }

  async function serving(
    listener: RequestListener,
    path = "/",
    expectBody?: string,
    timeoutMs?: number,
  ): Promise<Probe> {
    const port = await listen(createHttp(listener));
    return probing(`http://127.0.0.1:${port}${path}`, expectBody, timeoutMs);
  }

  function probing(endpoint: string, expectBody?: string, timeoutMs = 60_000): Probe {
    return makeProbe(endpoint, { clock: systemClock, timeoutMs, ...(expectBody !== undefined && { expectBody }) });
  }

  const look = (probe: Probe): Promise<void> => probe(new AbortController().signal);
  const code = (expected: string) => (error: unknown) => error instanceof ProbeError && error.code === expected;

  it("finds a port that accepts connections", async () => {
    const port = await listen(createTcp());

    await look(probing(`127.0.0.1:${port}`));
    await look(probing(`localhost:${port}`));
  });

  it("says unreachable when the connection is refused, and says why", async () => {
    const port = await listen(createTcp());
    await new Promise((resolve) => servers.pop()!.close(resolve));

    await assert.rejects(look(probing(`127.0.0.1:${port}`)), (error: unknown) => {
      return code("unreachable")(error) && /ECONNREFUSED/.test((error as Error).message);
    });
    await assert.rejects(look(probing(`http://127.0.0.1:${port}/`)), code("unreachable"));
  });

  it("says unreachable when the name does not resolve", async () => {
    await assert.rejects(look(probing("no-such-host.invalid:80", undefined, SHORT_MS)), (error: unknown) => {
      return code("unreachable")(error) || code("timeout")(error);
    });
  });

  it("takes any good answer of a URL", async () => {
    await look(await serving((_request, response) => response.end("hello")));
  });

  it("ends in time when a server accepts and says nothing", async () => {
    await assert.rejects(look(await serving(() => {}, "/", undefined, SHORT_MS)), code("timeout"));
  });

  it("ends in time when a body never ends", async () => {
    const probe = await serving((_request, response) => void response.write("not yet"), "/", "the end", SHORT_MS);

    await assert.rejects(look(probe), code("timeout"));
  });

  it("is not taken in by a portal that redirects", async () => {
    const probe = await serving((_request, response) => response.writeHead(302, { location: "http://portal/" }).end());

    await assert.rejects(look(probe), code("captive-portal"));
  });

  it("is not taken in by a portal that shows its own page", async () => {
    const portal: RequestListener = (_request, response) => response.end("<html>please log in</html>");

    await assert.rejects(look(await serving(portal, "/generate_204")), code("captive-portal"));
    await assert.rejects(look(await serving(portal, "/success.txt")), code("captive-portal"));
    await assert.rejects(look(await serving(portal, "/", "all is well")), code("captive-portal"));
  });

  it("knows what well-known endpoints answer", async () => {
    await look(await serving((_request, response) => response.writeHead(204).end(), "/generate_204"));
    await look(await serving((_request, response) => response.end("success\n"), "/success.txt"));
  });

  it("does not take an error page for the network", async () => {
    const probe = await serving((_request, response) => response.writeHead(503).end("down"));

    await assert.rejects(look(probe), code("unexpected-answer"));
  });

  it("ends when it is called off", async () => {
    const abort = new AbortController();
    const probe = await serving(() => abort.abort(new Error("closing")));

    await assert.rejects(probe(abort.signal), /closing/);
    await assert.rejects(probe(abort.signal), /closing/);
  });

  it("refuses what is neither a URL nor host:port, and a login in the URL", () => {
    for (const endpoint of [
      "",
      "example.org",
      "example.org:0",
      "example.org:70000",
      "ftp://example.org",
      "a b:80",
      "http://",
    ]) {
      assert.throws(() => probing(endpoint), TypeError, endpoint);
    }
    assert.throws(
      () => probing("http://me:secret@example.org/"),
      (error: unknown) => error instanceof TypeError && !error.message.includes("secret"),
    );
    probing("[::1]:80");
    probing("HTTPS://example.org");
  });
});
