/**
 * The MongoDB exporter in a real Node-RED, against a server that speaks MongoDB's protocol (FerretDB, which is not
 * mongod); what that server cannot say is said by a scripted double.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Document, MongoClient, type MongoClientOptions } from "mongodb";
import { MongoServer, needMongoServer } from "../servers/mongodb.js";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { type FlowNode, type NodeRed, startNodeRed } from "../support/node-red.js";
import { WireDouble } from "../support/wire-double.js";
import { mongodbNode } from "./exporters.js";
import { TAB, heard, listeners, runtimeNode, send, until } from "./flows.js";
import { SPECIAL, hasQueueFile, traces } from "./secrets.js";

const WAITING = 100_000;
/** Node-RED keeps credentials that a deploy does not mention. */
const NO_LOGIN = { user: "", password: "", passphrase: "" };
const QUICK = { selectTimeoutMs: 1_000, connectTimeoutMs: 1_000, requestTimeoutMs: 3_000 };

describe("the MongoDB exporter", () => {
  let plain: MongoServer;
  let secured: MongoServer;

  before(async function () {
    await needMongoServer(this);
    plain = await MongoServer.make();
    secured = await MongoServer.make({ password: SPECIAL, tls: "server" });
    await Promise.all([plain.start(), secured.start()]);
  });
  after(() => Promise.all([plain?.remove(), secured?.remove()]));

  for (const version of NODE_RED_VERSIONS) {
    describe(`in Node-RED ${version}`, function () {
      this.timeout(180_000);
      let nodeRed: NodeRed;
      const database = `plant${version.replace(".", "_")}`;

      before(async () => {
        const SECURED_URI = secured.url.replace("//", `//root:${encodeURIComponent(SPECIAL)}@`);
        nodeRed = await startNodeRed(version, { env: { SITE: "plant", SECURED_URI } });
      });
      afterEach(function () {
        if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
      });
      after(() => nodeRed?.remove());

      const deploy = (exporter: FlowNode): Promise<void> =>
        nodeRed.deploy([TAB, runtimeNode(), exporter, ...listeners(["exporter"])]);
      const lastStatus = async (): Promise<string> => (await heard(nodeRed)).statuses.at(-1) ?? "";

      it("stores each message once, behind the prefix of its collection, and refuses a name that is none", async () => {
        const names = { collection: "topic", collectionType: "msg", collectionPrefix: "readings_" };
        const options = { topicField: "room", acceptedAtField: "at", deviceField: "device", device: "${SITE}-1" };
        await deploy(mongodbNode({ uri: plain.url, database, ...names, options }));

        await send(
          nodeRed,
          { payload: { n: 1 }, topic: "attic" },
          { payload: { n: 2 }, topic: "sys$tem" },
          { payload: [{ n: 3 }, { n: 4 }], topic: "cellar" },
          { payload: { n: 5 } },
        );
        await until("three documents", async () => (await documents(plain, database, /^readings_/)).length === 3);

        const [first] = await documents(plain, database, /^readings_attic$/);
        assert.deepEqual({ n: first?.["n"], room: first?.["room"] }, { n: 1, room: "attic" });
        assert.ok(first?.["at"] instanceof Date);
        assert.equal(first["device"], "plant-1");
        const { caught, completed } = await heard(nodeRed);
        assert.deepEqual(
          caught.map(({ payload, code }) => [payload, code]),
          [
            [{ n: 2 }, "no-destination"],
            [{ n: 5 }, "no-destination"],
          ],
        );
        assert.match(caught[0]?.message ?? "", /collection name "readings_sys\$tem" contains "\$"/);
        assert.equal(completed.length, 2);
        await until("ready", async () => (await lastStatus()) === "green dot ready");
      });

      it("says in status and log what only the user can mend, and what mends itself", async () => {
        const double = await WireDouble.listen();
        const unauthorized = { ok: 0, code: 13, codeName: "Unauthorized", errmsg: "not authorized on plant" };
        for (let i = 0; i < 50; i++) double.next("insert", unauthorized);
        const tls = { on: true, ca: join(secured.folder, "ca.crt") };
        const right = { user: "root", password: SPECIAL };
        const cases: readonly (readonly [string, object, RegExp, RegExp])[] = [
          [
            "wrong password",
            { uri: secured.url, tls, credentials: { ...right, password: "wrong" } },
            /^red ring to be mended/,
            /does not accept the login/,
          ],
          [
            "unknown authority",
            { uri: secured.url, tls: { on: true }, credentials: right },
            /^red ring to be mended/,
            /certificate/,
          ],
          [
            "unknown host",
            { uri: "mongodb://nowhere.invalid", credentials: right },
            /^yellow ring target down/,
            /nowhere\.invalid/,
          ],
          ["read-only login", { uri: double.url, credentials: NO_LOGIN }, /^yellow dot held/, /not authorized/],
          [
            "not checked",
            { uri: secured.url, tls: { on: true, verify: false }, credentials: right },
            /^green dot ready, certificate not checked/,
            /./,
          ],
        ];
        try {
          let seen = 0;
          for (const [name, more, status, line] of cases) {
            const from = nodeRed.lines.length;
            await deploy(mongodbNode({ database, collection: "statuses", options: QUICK, ...more }));
            await send(nodeRed, { payload: { name } });
            // Not what the exporter before this one showed.
            const shown = async (): Promise<string> => (await heard(nodeRed)).statuses.slice(seen).at(-1) ?? "";
            await until(`${name}: ${status}`, async () => status.test(await shown()));
            await nodeRed.waitFor(line, from);
            seen = (await heard(nodeRed)).statuses.length;
          }
          // What waited for the password, the authority and the host is there now, each once.
          await until("what waited", async () => (await documents(secured, database, /^statuses$/)).length >= 4);
        } finally {
          await double.close();
        }
      });

      it("refuses every message, with the reason, while a variable that it needs has no value", async () => {
        await deploy(mongodbNode({ uri: "mongodb://${NO_SUCH_HOST}", credentials: NO_LOGIN }));
        const before = (await heard(nodeRed)).caught.length;

        await send(nodeRed, { payload: { n: 1 } });

        const caught = (await heard(nodeRed)).caught.slice(before);
        assert.deepEqual(
          caught.map(({ payload, code }) => [payload, code]),
          [[{ n: 1 }, "no-variable"]],
        );
        assert.match(caught[0]?.message ?? "", /NO_SUCH_HOST has no value/);
      });

      it("takes a URI with its login from a variable, and does not say that the flow holds a password", async () => {
        const from = nodeRed.lines.length;
        const tls = { on: true, ca: join(secured.folder, "ca.crt") };
        const place = { database, collection: "variable" };
        await deploy(mongodbNode({ uri: "${SECURED_URI}", ...place, tls, credentials: NO_LOGIN }));
        await send(nodeRed, { payload: { n: 1 } });

        await until("a document", async () => (await documents(secured, database, /^variable$/)).length === 1);
        assert.doesNotMatch(nodeRed.lines.slice(from).join("\n"), /flow holds a password/);
      });

      it("leaves no trace of its secrets", async () => {
        const passphrase = `${SPECIAL}passphrase`;
        const tls = { on: true, ca: readFileSync(join(secured.folder, "ca.crt"), "utf8").replaceAll("\n", " ") };
        const credentials = { user: "root", password: SPECIAL, passphrase };
        const node = mongodbNode({
          uri: secured.url,
          database,
          collection: "secrets",
          tls,
          options: QUICK,
          credentials,
        });
        await deploy(node);
        await send(nodeRed, { payload: { n: 1 } });
        const isThere = async (): Promise<boolean> =>
          (await documents(secured, database, /^secrets$/)).some((document) => document["n"] === 1);
        await until("a document", isThere);

        await deploy({ ...node, credentials: { ...credentials, password: `${SPECIAL}!` } });
        await send(nodeRed, { payload: { n: 2 } }, { payload: { _id: [1] } });
        await until("a refused login", async () => (await lastStatus()).startsWith("red ring to be mended"));
        await until("a queue file", () => hasQueueFile(nodeRed));
        assert.deepEqual(await traces(nodeRed, [SPECIAL, passphrase]), []);
        await deploy({ ...node, credentials });
        await until("a dead letter", async () => (await heard(nodeRed)).caught.some(({ rejection }) => rejection));

        assert.deepEqual(await traces(nodeRed, [SPECIAL, passphrase]), []);
      });

      it(`keeps ${WAITING} records while the server is down for the whole start, and drains by itself`, async () => {
        const server = await MongoServer.make();
        try {
          const flush = { durability: "everyMessage" };
          await deploy(mongodbNode({ uri: server.url, database, flush, options: QUICK, credentials: NO_LOGIN }));
          const before = (await heard(nodeRed)).completed.length;
          for (let first = 0; first < WAITING; first += 10_000) {
            const payload = Array.from({ length: 10_000 }, (_, i) => ({ n: first + i, celsius: (first + i) / 1_000 }));
            await send(nodeRed, { payload });
          }
          await until("all to be safe", async () => (await heard(nodeRed)).completed.length === before + 10, 60_000);
          await nodeRed.kill9();
          await nodeRed.restart();
          await until("an outage", async () => (await lastStatus()).includes(`${WAITING} waiting`), 60_000);

          await server.start();
          await until("ready", async () => (await lastStatus()).startsWith("green dot ready"), 120_000);
          const numbers = (await documents(server, database, /^readings$/)).map((document) => document["n"]);
          assert.deepEqual([numbers.length, new Set(numbers).size], [WAITING, WAITING]);
        } finally {
          await server.remove();
        }
      });
    });
  }
});

/** What is stored in the collections of such a name. */
async function documents(server: MongoServer, database: string, name: RegExp): Promise<Document[]> {
  const client = await MongoClient.connect(server.url, { directConnection: true, ...accessTo(server) });
  try {
    const collections = await client.db(database).listCollections({}, { nameOnly: true }).toArray();
    const matching = collections.filter((collection) => name.test(collection.name));
    const lists = await Promise.all(
      matching.map((collection) => client.db(database).collection(collection.name).find().toArray()),
    );
    return lists.flat();
  } finally {
    await client.close();
  }
}

/** Only the server with TLS has an authority, and wants a login. */
function accessTo(server: MongoServer): MongoClientOptions {
  const ca = join(server.folder, "ca.crt");
  if (!existsSync(ca)) return {};
  return { tls: true, tlsCAFile: ca, auth: { username: "root", password: SPECIAL } };
}
