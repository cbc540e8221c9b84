/**
 * The ways to an Elasticsearch that a dialog offers beside an address and a password, and the kinds of destination, in a
 * real Node-RED against a real Elasticsearch with security and TLS.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { Agent, createServer as createTlsServer, request as httpsRequest } from "node:https";
import { connect, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { type ElasticsearchServer, START_TIMEOUT_MS, VERSIONS, sharedElasticsearch } from "../servers/elasticsearch.js";
import { type NodeRed, startNodeRed } from "../support/node-red.js";
import { skipBecause } from "../support/skip.js";
import { type Certificates, makeCertificates } from "./certificates.js";
import { elasticsearchNode, fanOut } from "./exporters.js";
import { TAB, heard, listeners, runtimeNode, send, until } from "./flows.js";
import { SPECIAL, traces } from "./secrets.js";

const NO_SECRETS = {
  username: "",
  password: "",
  apiKey: "",
  token: "",
  key: "",
  passphrase: "",
  proxyUser: "",
  proxyPassword: "",
};
const PROXY_LOGIN = { user: "pi@site", password: SPECIAL };

describe("the ways to Elasticsearch, in Node-RED", () => {
  let server: ElasticsearchServer;
  let nodeRed: NodeRed;
  let folder: string;
  let certificates: Certificates;
  let ca: string;
  let login: { readonly username: string; readonly password: string };
  let proxy: Proxy;
  let front: Front;

  before(async function () {
    this.timeout(START_TIMEOUT_MS);
    if (VERSIONS[0] === "given")
      skipBecause(this, "tokens and streams are made for this test, which a given server is spared");
    server = await sharedElasticsearch(VERSIONS[0] as string);
    ca = server.connection.tls?.ca ?? "";
    login = server.connection.auth as unknown as typeof login;
    folder = mkdtempSync(join(tmpdir(), "resilient-certificates-"));
    certificates = makeCertificates(folder, ["front", "pi"]);
    proxy = await Proxy.listen();
    front = await Front.listen(certificates, server, ca);
    nodeRed = await startNodeRed("5");
  });
  afterEach(function () {
    if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
  });
  after(async () => {
    await nodeRed?.remove();
    await proxy?.close();
    await front?.close();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  it("leads through a cloud id, a proxy, a pinned authority, a token and a client certificate", async () => {
    const index = "logs-ways-test";
    const address = `https://127.0.0.1:${server.url.port}`;
    const basic = { auth: "basic", nodes: address, credentials: { ...NO_SECRETS, ...login } };
    const oneLine = (name: string): string => certificates.text(name).replaceAll("\n", " ");
    const fingerprint = new X509Certificate(ca).fingerprint256;
    const token = await bearerToken();
    const pi = { ca: certificates.ca, cert: oneLine("pi.crt") };
    const proxied = {
      ...basic,
      proxy: proxy.url,
      credentials: { ...basic.credentials, proxyUser: PROXY_LOGIN.user, proxyPassword: PROXY_LOGIN.password },
    };
    const ways: Readonly<Record<string, object>> = {
      // The id of the deployment, then its domain: here the two halves of an address.
      cloud: {
        ...basic,
        connectBy: "cloudId",
        cloudId: `edge:${cloudPart("127", `0.0.1:${server.url.port}`)}`,
        tls: { ca },
      },
      proxy: { ...proxied, tls: { ca } },
      pinned: { ...basic, tls: { fingerprint } },
      pinnedProxy: { ...proxied, tls: { fingerprint: fingerprint.replaceAll(":", "").toLowerCase() } },
      token: { ...basic, auth: "bearer", tls: { ca }, credentials: { ...NO_SECRETS, token } },
      certificate: {
        ...basic,
        nodes: front.url,
        tls: pi,
        credentials: { ...basic.credentials, key: oneLine("pi.key") },
      },
    };
    const names = Object.keys(ways);
    await template(index, {});
    await nodeRed.deploy([
      TAB,
      runtimeNode(),
      fanOut(...names),
      ...names.map((id) => elasticsearchNode({ id, destination: "dataStream", index, ...ways[id] })),
      ...listeners(),
    ]);

    await send(nodeRed, ...names.map((way) => ({ to: way, payload: { way } })));
    let found: string[] = [];
    await until("all to be there", async () => {
      found = (await documents(index)).map(({ way }) => String(way));
      return found.length >= names.length;
    });

    assert.deepEqual(found.sort(), [...names].sort());
    const { user, password } = PROXY_LOGIN;
    const wanted = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
    assert.deepEqual([...new Set(proxy.logins)], [wanted]);
    assert.deepEqual([...front.clients], ["pi"]);
    const keyLine = certificates.text("pi.key").split("\n")[5] as string;
    assert.deepEqual(await traces(nodeRed, [token, keyLine, SPECIAL, login.password]), []);
  });

  it("are barred with a word of what is wrong, and the records wait", async () => {
    const base = {
      auth: "basic",
      nodes: `https://127.0.0.1:${server.url.port}`,
      credentials: { ...NO_SECRETS, ...login },
    };
    const cases: readonly (readonly [string, object, RegExp, RegExp])[] = [
      [
        "wrong fingerprint",
        { ...base, tls: { fingerprint: "ab".repeat(32) } },
        /^red ring to be mended/,
        /fingerprint/,
      ],
      [
        // This front just hangs up on whoever shows none.
        "no certificate",
        { ...base, nodes: front.url, tls: { ca: certificates.ca } },
        /^yellow ring target down/,
        /other side closed/,
      ],
      [
        "wrong token",
        { ...base, auth: "bearer", tls: { ca }, credentials: { ...NO_SECRETS, token: "no-such-token" } },
        /^red ring to be mended/,
        /401/,
      ],
      ["no proxy login", { ...base, tls: { ca }, proxy: proxy.url }, /^yellow ring target down/, /407|proxy/],
    ];
    for (const [what, more, status, line] of cases) {
      const from = nodeRed.lines.length;
      const before = (await heard(nodeRed)).statuses.length;
      await nodeRed.deploy([
        TAB,
        runtimeNode(),
        elasticsearchNode({ ...more, index: "barred" }),
        ...listeners(["exporter"]),
      ]);
      await send(nodeRed, { payload: { what } });
      const shown = async (): Promise<string> => (await heard(nodeRed)).statuses.slice(before).at(-1) ?? "";
      await until(`${what}: ${status}`, async () => status.test(await shown()));
      await nodeRed.waitFor(line, from);
    }

    await nodeRed.deploy([
      TAB,
      runtimeNode(),
      elasticsearchNode({ ...base, tls: { ca }, index: "barred" }),
      ...listeners(["exporter"]),
    ]);
    await until("what waited", async () => (await documents("barred")).length === cases.length);
  });

  it("end in a data stream by create, in a time series without an id, and in documents by the id of a message", async () => {
    await template("logs-ends-test", {});
    await template("metrics-ends-test", {
      settings: {
        "index.mode": "time_series",
        "index.routing_path": ["sensor"],
        "index.time_series.start_time": "2020-01-01T00:00:00Z",
        "index.time_series.end_time": "2099-01-01T00:00:00Z",
      },
      mappings: { properties: { sensor: { type: "keyword", time_series_dimension: true } } },
    });
    const common = { nodes: server.url.href, auth: "basic", tls: { ca }, credentials: { ...NO_SECRETS, ...login } };
    const byId = { index: "ends", docId: "room", docIdType: "msg", options: { op: "upsert", id: "message" } };
    await nodeRed.deploy([
      TAB,
      runtimeNode(),
      fanOut("stream", "series", "upsert"),
      elasticsearchNode({
        id: "stream",
        ...common,
        destination: "dataStream",
        index: "logs-ends-test",
        options: { timestampFrom: "at" },
      }),
      elasticsearchNode({
        id: "series",
        ...common,
        destination: "timeSeries",
        index: "metrics-ends-test",
        options: { timestampFrom: "at" },
      }),
      elasticsearchNode({ id: "upsert", ...common, ...byId }),
      ...listeners(),
    ]);
    const at = "2026-01-31T12:00:00.000Z";

    await send(nodeRed, { to: "stream", payload: [{ n: 1, at }, { n: 2 }] });
    const point = { at, sensor: "attic", celsius: 20 };
    await send(nodeRed, { to: "series", payload: [point, { ...point, sensor: "cellar" }] });
    await send(nodeRed, { to: "series", payload: { ...point, at: "1999-01-01T00:00:00Z" } });
    for (const celsius of [19, 20, 21]) await send(nodeRed, { to: "upsert", room: "attic", payload: { celsius } });
    await send(nodeRed, { to: "upsert", room: "attic", payload: { open: true } }, { to: "upsert", payload: {} });
    await until("all to be there", async () => {
      const [stream, series, ends] = await Promise.all(["logs-ends-test", "metrics-ends-test", "ends"].map(documents));
      return stream?.length === 2 && series?.length === 2 && ends?.[0]?.["open"] === true;
    });

    const [first] = (await documents("logs-ends-test")).filter(({ n }) => n === 1);
    assert.equal(first?.["@timestamp"], at);
    assert.equal((await documents("ends")).length, 1);
    assert.equal((await documents("ends"))[0]?.["celsius"], 21);
    await until("two to be caught", async () => (await heard(nodeRed)).caught.length === 2);
    const codes = (await heard(nodeRed)).caught.map(({ code }) => String(code)).sort();
    assert.deepEqual(codes, ["no-destination", "timestamp_error"]);
  });

  it("make so many indices by the names in messages as the dialog allows, and keep what is for others", async () => {
    const byTopic = { index: "topic", indexType: "msg", indexPrefix: "many-", dateSuffix: "-%Y" };
    const access = { auth: "basic", tls: { ca }, credentials: { ...NO_SECRETS, ...login } };
    const deploy = (maxDestinations: number): Promise<void> =>
      nodeRed.deploy([
        TAB,
        runtimeNode(),
        elasticsearchNode({ nodes: server.url.href, ...access, ...byTopic, options: { maxDestinations } }),
        ...listeners(["exporter"]),
      ]);
    const stored = async (): Promise<number> => (await documents("many-*")).length;

    await deploy(2);
    await send(nodeRed, ...["a", "b", "c", "d", "a"].map((topic, n) => ({ topic, payload: { n } })));
    await until("three", async () => (await stored()) === 3);
    await nodeRed.waitFor(/named 2 different destinations.* waits/);
    const held = "yellow dot held, 2 waiting";
    await until(held, async () => (await heard(nodeRed)).statuses.at(-1)?.startsWith(held) === true);
    assert.equal(await stored(), 3);

    await deploy(0);
    await until("all five", async () => (await stored()) === 5);
  });

  async function bearerToken(): Promise<string> {
    const { body } = await server.request("POST", "/_security/service/elastic/fleet-server/credential/token/ways");
    return (body as { token: { value: string } }).token.value;
  }

  async function template(name: string, more: object): Promise<void> {
    const body = { index_patterns: [name], data_stream: {}, priority: 950, template: more };
    await server.request("PUT", `/_index_template/${name}`, body);
  }

  async function documents(index: string): Promise<Record<string, unknown>[]> {
    await server.request("POST", `/${index}/_refresh`);
    const { status, body } = await server.request("POST", `/${index}/_search`, { size: 100 });
    // Not there yet, or its shards are still being made.
    if (status !== 200) return [];
    return (body as { hits: { hits: { _source: Record<string, unknown> }[] } }).hits.hits.map(({ _source }) => _source);
  }
});

function cloudPart(id: string, domain: string): string {
  return Buffer.from(`${domain}$${id}`).toString("base64");
}

/** A proxy that wants a login, and tunnels. */
class Proxy {
  readonly #server: Server = createServer();
  readonly #sockets = new Set<Socket>();
  readonly logins: (string | undefined)[] = [];

  static async listen(): Promise<Proxy> {
    const proxy = new Proxy();
    const server = proxy.#server;
    server.on("connection", (socket) => proxy.#sockets.add(socket));
    server.on("connect", (request: IncomingMessage, socket: Socket) => {
      const login = request.headers["proxy-authorization"];
      if (login === undefined) return void socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
      proxy.logins.push(login);
      const [host, port] = (request.url ?? "").split(":");
      const upstream = connect(Number(port), host, () => {
        socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
        upstream.pipe(socket).pipe(upstream);
      });
      proxy.#sockets.add(upstream);
      upstream.on("error", () => socket.destroy());
      socket.on("error", () => upstream.destroy());
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

/** Stands in front of a server, as a reverse proxy does, and lets in only who shows a certificate of its authority. */
class Front {
  readonly #server: ReturnType<typeof createTlsServer>;
  readonly #agent: Agent;
  /** Names on the certificates that were shown. */
  readonly clients = new Set<string>();

  private constructor(certificates: Certificates, { url }: ElasticsearchServer, ca: string) {
    const { text } = certificates;
    this.#agent = new Agent({ ca, keepAlive: true });
    const own = { key: text("front.key"), cert: text("front.crt"), ca: text("ca.crt") };
    this.#server = createTlsServer({ ...own, requestCert: true, rejectUnauthorized: true }, (incoming, outgoing) => {
      this.clients.add(String((incoming.socket as TLSSocket).getPeerCertificate().subject.CN));
      const { method, headers } = incoming;
      const passed = httpsRequest(
        new URL(incoming.url ?? "", url),
        { method, headers, agent: this.#agent },
        (answer) => {
          outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(outgoing);
        },
      );
      passed.on("error", () => outgoing.destroy());
      incoming.pipe(passed);
    });
  }

  static async listen(certificates: Certificates, server: ElasticsearchServer, ca: string): Promise<Front> {
    const front = new Front(certificates, server, ca);
    front.#server.listen(0, "127.0.0.1");
    await once(front.#server, "listening");
    return front;
  }

  get url(): string {
    return `https://localhost:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#agent.destroy();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}
