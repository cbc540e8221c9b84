import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { FaultProxy } from "./fault-proxy.js";

describe("The fault proxy", () => {
  let echo: Server;
  let proxy: FaultProxy;
  const served = new Set<Socket>();
  let heardBytes = 0;

  beforeEach(async () => {
    heardBytes = 0;
    echo = createServer((socket) => {
      served.add(socket);
      socket.on("error", () => {
        // A reset is what many of these tests are about.
      });
      socket.on("data", (chunk) => {
        heardBytes += chunk.length;
        socket.write(chunk);
      });
    }).listen(0, "127.0.0.1");
    await once(echo, "listening");
    proxy = await FaultProxy.listen((echo.address() as AddressInfo).port);
  });

  afterEach(async () => {
    await proxy.close();
    for (const socket of served) socket.destroy();
    served.clear();
    echo.close();
    await once(echo, "close");
  });

  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  async function client(): Promise<Socket> {
    const socket = connect(proxy.port, "127.0.0.1");
    await once(socket, "connect");
    return socket;
  }

  async function read(socket: Socket, bytes: number): Promise<Buffer> {
    let got = Buffer.alloc(0);
    while (got.length < bytes) {
      const [chunk] = (await once(socket, "data")) as [Buffer];
      got = Buffer.concat([got, chunk]);
    }
    return got;
  }

  const failureOf = async (socket: Socket): Promise<string | undefined> => {
    const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
    return error.code;
  };

  it("passes bytes on unchanged when nothing is wrong", async () => {
    const socket = await client();
    const sent = Buffer.alloc(700_000, "abcdefg");

    socket.write(sent);

    assert.ok(sent.equals(await read(socket, sent.length)));
    socket.destroy();
  });

  it("refuses while told to, and listens on the same port again", async () => {
    await proxy.set({ accept: "refuse" });
    assert.equal(await failureOf(connect(proxy.port, "127.0.0.1")), "ECONNREFUSED");

    await proxy.set({});

    const socket = await client();
    socket.write("x");
    assert.equal(String(await read(socket, 1)), "x");
    socket.destroy();
  });

  it("resets open connections", async () => {
    const socket = await client();
    socket.write("x");
    await read(socket, 1);
    const failure = failureOf(socket);

    proxy.resetAll();

    assert.equal(await failure, "ECONNRESET");
  });

  it("holds answers back during a stall and gives them afterwards", async () => {
    const socket = await client();
    await proxy.set({ stall: "down" });
    let arrived = 0;
    socket.on("data", (chunk) => (arrived += chunk.length));

    socket.write("hello");
    while (heardBytes < 5) await turn();
    assert.equal(arrived, 0);
    const answer = once(socket, "data");
    await proxy.set({});

    assert.equal(String((await answer)[0]), "hello");
    socket.destroy();
  });

  it("cuts after exactly so many bytes", async () => {
    const socket = await client();
    await proxy.set({ cut: { direction: "up", afterBytes: 7 } });

    socket.write("0123456789");

    assert.equal(await failureOf(socket), "ECONNRESET");
    while (heardBytes < 7) await turn();
    assert.equal(heardBytes, 7);
  });

  it("loses the answer to one request although the server has heard it", async () => {
    const socket = await client();
    const lost = proxy.loseAnswerTo("mark");
    socket.write("first");
    await read(socket, 5);

    socket.write("with mark");

    assert.equal(await failureOf(socket), "ECONNRESET");
    await lost;
    assert.equal(heardBytes, 14);
  });

  it("adds latency both ways and limits the bandwidth", async () => {
    await proxy.set({ latencyMs: 60, bytesPerSecond: 20_000 });
    const socket = await client();
    const startedAt = performance.now();

    socket.write(Buffer.alloc(2_000));
    await read(socket, 2_000);

    const took = performance.now() - startedAt;
    assert.ok(took >= 170, `took ${took} ms`);
    socket.destroy();
  });
});
