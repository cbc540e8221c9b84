/** Logging in, and certificates: against FerretDB, which is not mongod but checks both as it does. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { testConnection } from "../../../src/targets/mongodb/test-connection.js";
import { MongoServer, needMongoServer } from "../../servers/mongodb.js";
import { makeTarget, never, records } from "./rig.js";

const PATIENT = { selectTimeoutMs: 1_000, connectTimeoutMs: 1_000, requestTimeoutMs: 2_000 };

describe("MongoDB with login and TLS", () => {
  const password = `p@ss:w/ö?#[]!$&'()*+,;=%25"\\ ^{}|~<>\``;
  let server: MongoServer;
  let login: object;

  before(async function () {
    await needMongoServer(this);
    server = await MongoServer.make({ password, tls: "mutual" });
    await server.start();
    const file = (name: string): string => join(server.folder, name);
    login = {
      uri: server.url,
      ...PATIENT,
      user: "root",
      password,
      tls: true,
      ca: file("ca.crt"),
      cert: file("client.crt"),
      key: readFileSync(file("client.key"), "utf8"),
    };
  });

  after(() => server?.remove());

  it("delivers with a password of every special character, from a field or within the URI", async () => {
    const { user, password: _, ...rest } = login as { user: string; password: string };
    const uri = `mongodb://${user}:${encodeURIComponent(password)}@127.0.0.1:${server.port}`;
    for (const connection of [login, { ...rest, uri }]) {
      const target = makeTarget(server.url, { database: "tls" }, connection);
      await target.open(never);
      const answer = await target.deliver(records(2), never);
      await target.close();
      assert.ok(answer.outcomes.every((outcome) => outcome.kind === "delivered" || outcome.kind === "duplicate"));
    }
  });

  const wrong: [string, object, RegExp][] = [
    ["a wrong password", { password: "wrong" }, /does not accept the login/],
    ["no login", { user: undefined, password: undefined }, /may not write|not accept|works|authentication/i],
    ["no CA", { ca: undefined }, /certificate is not accepted/],
    ["a wrong CA", { ca: "other" }, /certificate is not accepted/],
    ["no client certificate", { cert: undefined, key: undefined }, /client certificate/],
    ["no TLS", { tls: false, ca: undefined, cert: undefined, key: undefined }, /TLS/],
    ["a CA file that is not there", { ca: "/no/such/ca.pem" }, /CA file cannot be read/],
  ];
  for (const [what, change, message] of wrong) {
    it(`says so of ${what}`, async () => {
      const changed = { ...login, ...change };
      if ((change as { ca?: string }).ca === "other") Object.assign(changed, { ca: await otherCa() });

      const result = await testConnection(changed, never, { database: "tls", collection: "readings" });

      assert.match(result.message, message, JSON.stringify(result));
      if (what !== "no login") assert.equal(result.ok, false);
    });
  }
});

/** The certificate of a CA that has nothing to do with the server under test, as PEM text. */
async function otherCa(): Promise<string> {
  const other = await MongoServer.make({ tls: "server" });
  await other.start();
  const ca = readFileSync(join(other.folder, "ca.crt"), "utf8");
  await other.remove();
  return ca;
}
