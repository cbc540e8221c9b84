import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { join } from "node:path";
import type { ClientOptions } from "@elastic/elasticsearch";
import { Connection } from "../../../src/targets/elasticsearch/connection.js";
import { checkElasticsearchOptions, type ElasticsearchOptions } from "../../../src/targets/elasticsearch/options.js";
import { TargetConfigError, TargetUnavailableError } from "../../../src/targets/target.js";
import { tempFolder } from "../../support/temp-folder.js";
import { record } from "./records.js";
import { ScriptedPeer } from "./scripted-peer.js";
import { CLIENTS, closeTargets, kindsOf, makeTarget, never, openTarget } from "./targets.js";

type ConnectionOptions = NonNullable<ElasticsearchOptions["connection"]>;

for (const client of CLIENTS) {
  describe(`The connection to Elasticsearch (${client.name})`, () => {
    const parts = { loadDriver: client.load };

    before(async () => {
      await client.load();
    });
    afterEach(closeTargets);

    /** What the client is made with. */
    async function made(options: ConnectionOptions): Promise<ClientOptions> {
      const driver = await client.load();
      let given: ClientOptions | undefined;
      class Watched extends driver.Client {
        constructor(clientOptions: ClientOptions) {
          given = { ...clientOptions };
          super(clientOptions);
        }
      }
      const settings = checkElasticsearchOptions({ index: "i", connection: options }).connection;
      const connection = await Connection.open(settings, { ...driver, Client: Watched });
      await connection.close();
      return given!;
    }

    for (const [what, options, expected] of [
      ["basic", { auth: { kind: "basic", username: "u", password: "p" } }, { username: "u", password: "p" }],
      ["an encoded API key", { auth: { kind: "apiKey", apiKey: "ZW5jb2RlZA==" } }, { apiKey: "ZW5jb2RlZA==" }],
      [
        "an API key of two parts",
        { auth: { kind: "apiKey", apiKey: "id:se" } },
        { apiKey: { id: "id", api_key: "se" } },
      ],
      ["a bearer token", { auth: { kind: "bearer", token: "t" } }, { bearer: "t" }],
      ["no login", {}, undefined],
    ] as const) {
      it(`logs in with ${what}`, async () => {
        assert.deepEqual((await made(options)).auth, expected);
      });
    }

    it("finds the address in a cloud id", async () => {
      const cloudId = `name:${Buffer.from("eu.example.org$abc123$kibana").toString("base64")}`;

      const options = await made({ cloudId });

      assert.deepEqual(options.cloud, { id: cloudId });
      assert.equal(options.nodes, undefined);
    });

    it("can be made for a serverless project", async () => {
      assert.equal((await made({ nodes: "https://p.es.io", serverless: true })).serverMode, "serverless");
    });

    it("reads certificates from files, and says which one it cannot read", async () => {
      const file = join(tempFolder(), "ca.pem");
      const pem = "-----BEGIN CERTIFICATE-----\nxyz\n-----END CERTIFICATE-----\n";
      writeFileSync(file, pem);

      const options = await made({ nodes: "https://h", tls: { ca: file } });

      assert.equal((options.tls as { ca?: string }).ca, pem);
      const missing = makeTarget({ connection: { nodes: "https://h", tls: { ca: `${file}.missing` } } }, parts);
      await assert.rejects(missing.open(never), (error: Error) => {
        assert.ok(error instanceof TargetConfigError);
        assert.match(error.message, /file of the ca cannot be read/u);
        return true;
      });
    });

    describe("through a proxy", () => {
      let peer: ScriptedPeer;
      let proxy: Server;
      const seen: IncomingMessage[] = [];
      const sockets = new Set<Socket>();

      beforeEach(async () => {
        peer = await ScriptedPeer.listen();
        seen.length = 0;
        proxy = createServer();
        proxy.on("connect", (request: IncomingMessage, socket: Socket) => {
          seen.push(request);
          sockets.add(socket);
          if (request.headers["proxy-authorization"] === undefined) {
            socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
            return;
          }
          const upstream = connect(peer.port, "127.0.0.1", () => {
            socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
            upstream.pipe(socket).pipe(upstream);
          });
          upstream.on("error", () => socket.destroy());
          socket.on("error", () => upstream.destroy());
        });
        proxy.listen(0, "127.0.0.1");
        await once(proxy, "listening");
      });
      afterEach(async () => {
        await closeTargets();
        for (const socket of sockets) socket.destroy();
        proxy.close();
        await once(proxy, "close");
        await peer.close();
      });

      function through(login: string): string {
        return `http://${login}127.0.0.1:${(proxy.address() as AddressInfo).port}`;
      }

      it("delivers", async () => {
        const target = await openTarget({ connection: { nodes: peer.url, proxy: through("u:p@") } }, parts);

        const { outcomes } = await target.deliver([record({})], never);

        assert.deepEqual(kindsOf(outcomes), ["delivered"]);
        assert.equal(seen[0]?.url, `127.0.0.1:${peer.port}`);
      });

      it("waits when the proxy wants a login that it has not", async () => {
        const target = makeTarget({ connection: { nodes: peer.url, proxy: through("") } }, parts);

        await assert.rejects(target.open(never), TargetUnavailableError);
      });
    });
  });
}
