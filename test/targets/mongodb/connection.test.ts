/** Connecting, and failing to: against real sockets that refuse, stay mute, or are nowhere; and the wire double. */
import assert from "node:assert/strict";
import dns from "node:dns";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { inspect } from "node:util";
import { systemClock } from "../../../src/clock.js";
import { clientCount } from "../../../src/targets/mongodb/connection.js";
import { Deadline } from "../../../src/targets/mongodb/deadline.js";
import { testConnection } from "../../../src/targets/mongodb/test-connection.js";
import { TargetConfigError, TargetUnavailableError } from "../../../src/targets/target.js";
import { freePort } from "../../servers/mongodb.js";
import { FaultProxy } from "../../support/fault-proxy.js";
import { WireDouble } from "../../support/wire-double.js";
import { doubleRig, kinds, makeTarget, never, PATIENT, QUICK, records } from "./rig.js";

/** Beyond any deadline of these tests. */
const SOON_MS = 20_000;
const PASSWORD = `p@ss:w/ö?#[]!$&'()*+,;=%25"\\ ^{}|~<>\``;

describe("A MongoDB connection", () => {
  const undo: (() => Promise<void>)[] = [];

  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
  });

  function target(url: string, options: object = {}, connection: object = {}) {
    const made = makeTarget(url, options, connection);
    undo.push(() => made.close());
    return made;
  }

  it("that is refused at first is made by the same target when the server appears", async () => {
    const double = await WireDouble.listen();
    const { port } = double;
    await double.close();
    const waiting = target(`mongodb://127.0.0.1:${port}`, {}, { ...PATIENT, selectTimeoutMs: 600 });
    for (let attempt = 0; attempt < 2; attempt++) {
      await assert.rejects(waiting.open(never), (error) => unavailable(error, "ECONNREFUSED"));
    }

    const appeared = await WireDouble.listen(port);
    undo.push(() => appeared.close());
    await waiting.open(never);

    assert.deepEqual(kinds(await waiting.deliver(records(2), never)), ["delivered", "delivered"]);
  });

  it("to a host that the DNS does not know, or cannot be asked about, is unavailable", async () => {
    await assert.rejects(target("mongodb://no-such-host.invalid", {}, QUICK).open(never), TargetUnavailableError);
  });

  it("by mongodb+srv while no DNS answers is unavailable, each time it is asked for", async () => {
    const servers = dns.getServers();
    undo.push(async () => dns.setServers(servers));
    dns.setServers([`127.0.0.1:${await freePort()}`]);
    const offline = target("mongodb+srv://cluster.example.net", {}, { requestTimeoutMs: 1_500 });

    for (let attempt = 0; attempt < 2; attempt++) await assert.rejects(offline.open(never), TargetUnavailableError);
  });

  it("that the driver can make no sense of is the settings' fault", async () => {
    for (const [uri, connection] of [
      ["mongodb://h1,h2", { direct: true }],
      ["mongodb://h/?w=nonsense&replicaset=", {}],
      ["mongodb://h:99999999", {}],
      ["mongodb://h", { user: "u", mechanism: "SCRAM-SHA-256", ca: "/no/such/file.pem", tls: true }],
    ] as const) {
      await assert.rejects(target(uri, {}, connection).open(never), TargetConfigError, uri);
    }
    assert.equal(clientCount(), 0);
  });

  describe("to a peer that is not there although it accepts", () => {
    const peers: [string, (socket: Socket) => void][] = [
      ["never reads", (socket) => socket.pause()],
      ["reads but never answers", (socket) => socket.resume()],
      ["answers half a message", (socket) => socket.once("data", () => socket.write(Buffer.from([200, 0, 0, 0, 1])))],
      [
        "answers nonsense",
        (socket) => socket.once("data", () => socket.write("HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n")),
      ],
      ["hangs up", (socket) => socket.once("data", () => socket.end())],
    ];
    for (const [what, behave] of peers) {
      for (const tls of [false, true]) {
        it(`(${what}${tls ? ", TLS" : ""}) ends within the deadline`, async () => {
          const peer = await listen(behave);
          undo.push(() => peer.close());

          const opening = target(`mongodb://127.0.0.1:${peer.port}`, {}, { ...QUICK, tls }).open(never);

          await within(SOON_MS, assert.rejects(opening, isTargetError));
        });
      }
    }
  });

  it("is given up at once when the caller aborts, with the caller's reason", async () => {
    const peer = await listen((socket) => socket.resume());
    undo.push(() => peer.close());
    const abort = new AbortController();
    const opening = target(`mongodb://127.0.0.1:${peer.port}`, {}, { selectTimeoutMs: 30_000 }).open(abort.signal);

    abort.abort(new Error("stop"));

    await assert.rejects(opening, /stop/);
  });

  it("is shared by targets with equal settings, in whatever order they are given, and ends with the last", async () => {
    const double = await WireDouble.listen();
    undo.push(() => double.close());
    const login = { appName: "one", extra: { maxIdleTimeMS: 5_000, localThresholdMS: 5 } };
    const first = target(double.url, { collection: "a" }, login);
    const second = target(
      double.url,
      { collection: "b" },
      { extra: { localThresholdMS: 5, maxIdleTimeMS: 5_000 }, appName: "one" },
    );
    const other = target(double.url, {}, { appName: "two" });
    await Promise.all([first, second, other].map((one) => one.open(never)));
    assert.equal(clientCount(), 2);

    await first.close();
    await first.close();
    assert.deepEqual(kinds(await second.deliver(records(1), never)), ["delivered"]);

    await second.close();
    await other.close();
    assert.equal(clientCount(), 0);
  });

  it("is given back by a target that is closed while it opens", async () => {
    const double = await WireDouble.listen();
    undo.push(() => double.close());
    const hasty = target(double.url);
    const opening = assert.rejects(hasty.open(never), TargetUnavailableError);

    await hasty.close();

    await opening;
    assert.equal(clientCount(), 0);
  });

  it("of one target that times out does not disturb the neighbour on the same client", async () => {
    const double = await WireDouble.listen();
    undo.push(() => double.close());
    const deadline = { requestTimeoutMs: 2_000 };
    const slow = target(double.url, { collection: "slow" }, deadline);
    const quick = target(double.url, { collection: "quick" }, deadline);
    await slow.open(never);
    await quick.open(never);
    double.next("insert", "mute");
    const hanging = assert.rejects(slow.deliver(records(1), never), TargetUnavailableError);

    for (let n = 0; n < 20; n++) assert.deepEqual(kinds(await quick.deliver(records(1), never)).length, 1);

    await hanging;
    assert.deepEqual(kinds(await quick.deliver(records(1), never)), ["duplicate"]);
    assert.deepEqual(kinds(await slow.deliver(records(1), never)), ["delivered"]);
  });

  it("closes in time while the server hangs, and leaves the records in flight to be sent again", async () => {
    const rig = await doubleRig();
    undo.push(() => rig.close());
    const one = await rig.target({}, { requestTimeoutMs: 60_000 });
    rig.double.next("insert", "mute");
    const delivering = one.deliver(records(2), never);
    while (rig.double.count("insert") === 0) await new Promise((resolve) => setImmediate(resolve));

    await within(SOON_MS, one.close());

    assert.deepEqual(kinds(await delivering), ["retry", "retry"]);
    await assert.rejects(one.deliver(records(1), never), TargetUnavailableError);
    await assert.rejects(one.probe(never), TargetUnavailableError);
  });

  it("closes in time although the driver wants a new connection for its good-bye, and gets none", async () => {
    const double = await WireDouble.listen();
    undo.push(() => double.close());
    const proxy = await FaultProxy.listen(double.port);
    undo.push(() => proxy.close());
    const hours = { selectTimeoutMs: 60_000, connectTimeoutMs: 60_000, requestTimeoutMs: 60_000 };
    const one = target(`mongodb://127.0.0.1:${proxy.port}`, {}, hours);
    await one.open(never);
    double.next("insert", "mute");
    const delivering = one.deliver(records(1), never);
    while (double.count("insert") === 0) await new Promise((resolve) => setImmediate(resolve));
    await proxy.set({ accept: "mute" });

    await within(SOON_MS, one.close());

    assert.deepEqual(kinds(await delivering), ["retry"]);
  });

  it("tells its targets when the server comes back, before any probe", async () => {
    const double = await WireDouble.listen();
    const { port, url } = double;
    const waiting = target(url);
    await waiting.open(never);
    await double.close();
    await assert.rejects(waiting.deliver(records(1), never), TargetUnavailableError);
    const back = new Promise<void>((resolve) => void waiting.onReachable(resolve));

    const again = await WireDouble.listen(port);
    undo.push(() => again.close());

    // The driver looks every half second while an operation waits for a server.
    const probing = waiting.probe(never).catch(() => {});
    await within(SOON_MS, back);
    await probing;
  });

  it("has deadlines that allow for the bytes of a slow link, and end", async () => {
    const started = systemClock.elapsedMs();
    const deadline = new Deadline(systemClock, 50, never);

    await assert.rejects(deadline.limit(new Promise(() => {})), (error) => unavailable(error, "ETIMEDOUT"));

    assert.ok(systemClock.elapsedMs() - started >= 45);
    assert.equal(deadline.signal.aborted, true);
  });

  describe("with a password of every special character", () => {
    const secretForms = [
      PASSWORD,
      encodeURIComponent(PASSWORD),
      JSON.stringify(PASSWORD).slice(1, -1),
      "p@ss",
      "p%40ss",
    ];
    const showsNothing = (what: unknown): void => {
      const texts = [inspect(what, { depth: 30, showHidden: true }), String(what), JSON.stringify(what)];
      if (what instanceof Error) texts.push(what.stack ?? "", JSON.stringify(what, Object.getOwnPropertyNames(what)));
      for (const text of texts) {
        for (const form of secretForms) assert.ok(!text.includes(form), `${form} in ${text}`);
      }
    };

    it("shows it nowhere, whatever fails", async () => {
      const rig = await doubleRig();
      undo.push(() => rig.close());
      const login = { user: "root", password: PASSWORD };
      const uris = [
        // The first login is answered by a server that repeats what it was sent.
        `mongodb://root:${encodeURIComponent(PASSWORD)}@127.0.0.1:${rig.double.port}`,
        `mongodb://root:${PASSWORD}@127.0.0.1:${rig.double.port}`,
        `mongodb://root:${PASSWORD}@`,
        `mongodb://root:${PASSWORD}@127.0.0.1:1/?nonsense=1`,
        `mongodb://root:${PASSWORD}@h:0:0`,
        `mongodb+srv://root:${PASSWORD}@127.0.0.1:1`,
      ];
      rig.double.next("saslStart", { ok: 0, code: 18, errmsg: `bad credentials: root ${PASSWORD}` });
      const failures: unknown[] = [];
      for (const uri of uris) {
        try {
          await target(uri).open(never);
        } catch (error) {
          failures.push(error);
        }
        failures.push(await testConnection({ uri, ...QUICK }, never));
      }
      for (const connection of [login, { ...login, mechanism: "PLAIN" }, { ...login, direct: true, replicaSet: "r" }]) {
        failures.push(await testConnection({ uri: rig.double.url, ...QUICK, ...connection }, never));
        try {
          const made = target(rig.double.url, {}, connection);
          failures.push(made);
          await made.open(never);
        } catch (error) {
          failures.push(error);
        }
      }

      assert.ok(failures.length > 15);
      failures.forEach(showsNothing);
    });
  });
});

describe("Testing a MongoDB connection", () => {
  let double: WireDouble;
  const place = { database: "plant", collection: "readings" };

  beforeEach(async () => {
    double = await WireDouble.listen();
  });

  afterEach(() => double.close());

  it("says that it works, and what is there", async () => {
    double.next("buildInfo", { version: "8.0.4" });
    double.next("hello", { ...double.hello, setName: "rs0" });
    const result = await testConnection({ uri: double.url, ...PATIENT, direct: true }, never);

    assert.equal(result.ok, true);
    assert.match(result.details.join(" "), /version 8\.0\.4/);
  });

  it("says what is wrong with the settings, and with names", async () => {
    const badUri = await testConnection({ uri: "localhost" }, never);
    const badName = await testConnection({ uri: double.url }, never, { database: "admin", collection: "x" });

    assert.deepEqual([badUri.ok, badName.ok], [false, false]);
    assert.match(badUri.message, /mongodb:\/\//);
    assert.match(badName.message, /server's own/);
  });

  it("says that nothing listens, and that a name is unknown", async () => {
    const port = await freePort();
    const refused = await testConnection({ uri: `mongodb://127.0.0.1:${port}`, ...QUICK }, never);
    const unknown = await testConnection({ uri: "mongodb://no-such-host.invalid", ...QUICK }, never);

    assert.match(refused.message, /nothing listens there/i);
    assert.match(unknown.message, /host name is not known|DNS does not answer|no usable server/i);
    assert.deepEqual([refused.ok, unknown.ok], [false, false]);
  });

  it("says that a secondary takes no writes", async () => {
    double.hello = { ...double.hello, isWritablePrimary: false, secondary: true, setName: "rs0", hosts: [] };
    const result = await testConnection({ uri: double.url, ...PATIENT, direct: true }, never);

    assert.equal(result.ok, false);
    assert.match(result.message, /not the primary/);
  });

  it("says when the login may not write there", async () => {
    const privileges = (collection: string) => ({
      authInfo: {
        authenticatedUserPrivileges: [{ resource: { db: "plant", collection }, actions: ["find", "insert"] }],
      },
    });
    const connection = { uri: double.url, ...PATIENT, mechanism: "MONGODB-X509", user: "CN=pi" };
    double.next("connectionStatus", privileges("other"));
    const no = await testConnection(connection, never, place);
    double.next("connectionStatus", privileges(""));
    const yes = await testConnection(connection, never, place);

    assert.match(no.message, /grant it the role readWrite/);
    assert.equal(no.ok, false);
    assert.match(yes.message, /may be written to/);
  });

  it("ends when the caller gives up", async () => {
    const abort = new AbortController();
    double.next("ping", () => {
      abort.abort(new Error("the page was left"));
      return "mute";
    });

    await assert.rejects(testConnection({ uri: double.url, ...PATIENT }, abort.signal), /the page was left/);
  });
});

interface Peer {
  readonly port: number;
  close(): Promise<void>;
}

async function listen(behave: (socket: Socket) => void): Promise<Peer> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {
      // The driver hangs up as it likes.
    });
    behave(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function isTargetError(error: unknown): boolean {
  return error instanceof TargetUnavailableError || error instanceof TargetConfigError;
}

function unavailable(error: unknown, code: string): boolean {
  assert.ok(error instanceof TargetUnavailableError, String(error));
  assert.equal(error.code, code);
  return true;
}

async function within<T>(ms: number, ends: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`still not ended after ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([ends, late]);
  } finally {
    clearTimeout(timer);
  }
}
