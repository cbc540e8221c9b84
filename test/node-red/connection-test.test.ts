/** The other end of "Test connection", asked over HTTP as a browser, another site or a stranger would. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, type Server, createServer } from "node:net";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { type NodeRed, startNodeRed } from "../support/node-red.js";
import { elasticsearchNode, mongodbNode } from "./exporters.js";
import { TAB, runtimeNode } from "./flows.js";

/** Longest wait for an answer: 10 s, and what a busy machine adds. */
const MAX_ANSWER_MS = 30_000;
const SECRET = "a stored secret";

interface Report {
  readonly ok: boolean;
  readonly messages: readonly string[];
}

for (const version of NODE_RED_VERSIONS) {
  describe(`a test of a connection in Node-RED ${version}`, () => {
    let nodeRed: NodeRed;
    let mute: Server;
    let muteUrl: string;
    let callers = 0;

    before(async () => {
      // Accepts whoever comes, and never says a word.
      mute = createServer(() => callers++).listen(0, "127.0.0.1");
      await once(mute, "listening");
      muteUrl = `127.0.0.1:${(mute.address() as AddressInfo).port}`;
      nodeRed = await startNodeRed(version);
      await nodeRed.deploy([
        TAB,
        runtimeNode(),
        mongodbNode({ id: "mongodb", credentials: { user: "root", password: SECRET, key: SECRET } }),
        elasticsearchNode({ id: "elasticsearch", auth: "basic", credentials: { username: "u", password: SECRET } }),
      ]);
    });
    after(async () => {
      mute?.close();
      await nodeRed?.remove();
    });

    function ask(
      type: string,
      body: object,
      headers: object = { "content-type": "application/json" },
    ): Promise<Response> {
      const url = `${nodeRed.url}/resilient-exporters/test/${type}`;
      return fetch(url, { method: "POST", headers: { ...headers }, body: JSON.stringify(body) });
    }

    for (const [type, id, config] of [
      ["resilient-mongodb", "mongodb", (address: string) => mongodbNode({ uri: `mongodb://${address}` })],
      [
        "resilient-elasticsearch",
        "elasticsearch",
        (address: string) => elasticsearchNode({ nodes: address, auth: "basic" }),
      ],
    ] as const) {
      describe(type, () => {
        it("does not send a stored secret to another address", async () => {
          const before = callers;

          const response = await ask(type, { id, config: config(muteUrl), credentials: { password: "__PWRD__" } });

          const { ok, messages } = (await response.json()) as Report;
          assert.equal(ok, false);
          assert.match(messages[0] ?? "", /type the password or key again/);
          assert.equal(callers, before, "it was called all the same");
        });

        it("does not send the secret of another node", async () => {
          const other = id === "mongodb" ? "elasticsearch" : "mongodb";
          const deployed = (await nodeRed.flows()).find((node) => node.id === id);

          for (const claimed of [other, "nobody", "__proto__"]) {
            const response = await ask(type, { id: claimed, config: deployed, credentials: { password: "__PWRD__" } });

            const { ok, messages } = (await response.json()) as Report;
            assert.equal(ok, false);
            assert.match(messages[0] ?? "", /type the password or key again/);
          }
        });

        it("ends in time with a server that never answers, and says so without the secret", async () => {
          const before = callers;
          const startedAt = performance.now();

          const credentials = { user: "root", username: "u", password: SECRET };
          const response = await ask(type, { id, config: config(muteUrl), credentials });

          const report = (await response.json()) as Report;
          assert.equal(report.ok, false);
          assert.ok(callers > before, "it was not called");
          assert.ok(performance.now() - startedAt < MAX_ANSWER_MS, report.messages.join(" "));
          assert.ok(!JSON.stringify(report).includes(SECRET));
        });

        it("answers settings that make no sense with what is wrong", async () => {
          for (const body of [
            {},
            { config: [] },
            { config: { ...config("not an address: at all") }, credentials: 7 },
          ]) {
            const response = await ask(type, { id: 5, ...body });

            assert.equal(response.status, 200);
            assert.equal(
              ((await response.json()) as Report).messages.every((message) => message.length > 0),
              true,
            );
          }
        });

        it("is not for forms of other sites, nor for a GET", async () => {
          const form = await ask(type, {}, { "content-type": "application/x-www-form-urlencoded" });
          const text = await ask(type, {}, { "content-type": "text/plain" });
          const got = await fetch(`${nodeRed.url}/resilient-exporters/test/${type}`);

          assert.deepEqual([form.status, text.status, got.status], [415, 415, 404]);
        });
      });
    }
  });

  describe(`a test of a connection in Node-RED ${version} with users`, () => {
    let nodeRed: NodeRed;

    before(async () => {
      const adminAuth = { type: "credentials", users: [], default: { permissions: "read" } };
      nodeRed = await startNodeRed(version, { settings: { adminAuth } });
    });
    after(() => nodeRed?.remove());

    it("is not for those who may only read", async () => {
      for (const type of ["resilient-mongodb", "resilient-elasticsearch"]) {
        const headers = { "content-type": "application/json" };
        const url = `${nodeRed.url}/resilient-exporters/test/${type}`;

        const { status } = await fetch(url, { method: "POST", headers, body: "{}" });

        assert.equal(status, 401);
      }
    });
  });
}
