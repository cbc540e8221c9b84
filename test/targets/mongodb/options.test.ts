import assert from "node:assert/strict";
import fc from "fast-check";
import { checkMongoOptions, MongoOptionsError, splitUri } from "../../../src/targets/mongodb/options.js";

const PLACE = { database: "plant", collection: "readings" };

describe("MongoDB options", () => {
  it("have defaults for everything but the place", () => {
    const options = checkMongoOptions(PLACE);

    assert.equal(options.connection.uri, "mongodb://localhost:27017");
    assert.equal(options.mode, "insert");
    assert.equal(options.idKind, "uuid");
    assert.equal(options.writeConcern, "majority");
    assert.deepEqual(options.keyFields, ["_id"]);
    assert.equal(options.connection.selectTimeoutMs, 5_000);
  });

  const bad: [string, object][] = [
    ["database", { collection: "c" }],
    ["collection", { database: "d" }],
    ["database", { ...PLACE, database: "admin" }],
    ["collection", { ...PLACE, collection: "system.users" }],
    ["mode", { ...PLACE, mode: "upsert" }],
    ["mode", { ...PLACE, mode: "update", timeSeries: { timeField: "at" } }],
    ["keyFields", { ...PLACE, keyFields: [] }],
    ["maxDestinations", { ...PLACE, maxDestinations: -1 }],
    ["keyFields", { ...PLACE, keyFields: ["$where"] }],
    ["keyFields", { ...PLACE, keyFields: ["a", "a"] }],
    ["keyFields", { ...PLACE, keyFields: ["a..b"] }],
    ["timeSeries.timeField", { ...PLACE, timeSeries: {} }],
    ["granularity", { ...PLACE, timeSeries: { timeField: "at", granularity: "days" } }],
    ["fields.topic", { ...PLACE, fields: { topic: "$topic" } }],
    ["fields.topic", { ...PLACE, fields: { topic: "__proto__" } }],
    ["replaceKeys", { ...PLACE, replaceKeys: "yes" }],
    ["uri", { ...PLACE, connection: { uri: "http://localhost" } }],
    ["uri", { ...PLACE, connection: { uri: "mongodb://" } }],
    ["uri", { ...PLACE, connection: { uri: "mongodb://h/?w=0" } }],
    ["hosts", { ...PLACE, connection: { hosts: "h/db" } }],
    ["hosts", { ...PLACE, connection: { hosts: "u:p@h" } }],
    ["hosts", { ...PLACE, connection: { hosts: "h1,h2", srv: true } }],
    ["user", { ...PLACE, connection: { password: "secret" } }],
    ["cert", { ...PLACE, connection: { cert: "a" } }],
    ["selectTimeoutMs", { ...PLACE, connection: { selectTimeoutMs: 1 } }],
    ["requestTimeoutMs", { ...PLACE, connection: { requestTimeoutMs: Number.NaN } }],
    ["mechanism", { ...PLACE, connection: { mechanism: "MONGODB-AWS" } }],
    ["appName", { ...PLACE, connection: { appName: "ä".repeat(65) } }],
    ["extra.autoEncryption", { ...PLACE, connection: { extra: { autoEncryption: true } } }],
    ["extra.maxPoolSize", { ...PLACE, connection: { extra: { maxPoolSize: {} } } }],
  ];
  for (const [field, options] of bad) {
    it(`name ${field} when it is wrong in ${JSON.stringify(options)}`, () => {
      assert.throws(
        () => checkMongoOptions(options),
        (error) => error instanceof MongoOptionsError && error.field === field,
      );
    });
  }

  it("take hosts instead of a connection string", () => {
    const uriOf = (connection: object): string => checkMongoOptions({ ...PLACE, connection }).connection.uri;

    assert.equal(uriOf({ hosts: "h1:27018, [::1]" }), "mongodb://h1:27018,[::1]");
    assert.equal(uriOf({ hosts: "cluster.example.net", srv: true }), "mongodb+srv://cluster.example.net");
    assert.equal(uriOf({ uri: "mongodb://h", hosts: "ignored" }), "mongodb://h");
  });

  it("take nothing from what is no object", () => {
    for (const input of [undefined, null, 5, "x", []]) assert.throws(() => checkMongoOptions(input), MongoOptionsError);
  });

  it("do not repeat a password in the error that refuses them", () => {
    const uri = "mongodb://user:pa55word@";
    assert.throws(
      () => checkMongoOptions({ ...PLACE, connection: { uri } }),
      (error) => !String(error).includes("pa55word"),
    );
  });
});

describe("A connection string", () => {
  const cases: [string, object][] = [
    ["mongodb://h", { uri: "mongodb://h" }],
    ["mongodb://h1:1,h2:2/db?replicaSet=r", { uri: "mongodb://h1:1,h2:2/db?replicaSet=r" }],
    ["mongodb://u:p@h", { uri: "mongodb://h", user: "u", password: "p" }],
    ["mongodb+srv://u:p@h.net/db", { uri: "mongodb+srv://h.net/db", user: "u", password: "p" }],
    ["mongodb://u@h", { uri: "mongodb://h", user: "u" }],
    ["mongodb://u:p%40%2F%3A%25@h", { uri: "mongodb://h", user: "u", password: "p@/:%" }],
    ["mongodb://u:p@ss@h:1/db", { uri: "mongodb://h:1/db", user: "u", password: "p@ss" }],
    ["mongodb://u:p/w@h", { uri: "mongodb://h", user: "u", password: "p/w" }],
    ["mongodb://u:p?w@h/db?tls=true", { uri: "mongodb://h/db?tls=true", user: "u", password: "p?w" }],
    ["mongodb://u:p:w@h", { uri: "mongodb://h", user: "u", password: "p:w" }],
    ["mongodb://u:100%@h", { uri: "mongodb://h", user: "u", password: "100%" }],
    ["mongodb://u:p@[::1]:27017/db", { uri: "mongodb://[::1]:27017/db", user: "u", password: "p" }],
    ["mongodb://u:p@%2Ftmp%2Fmongodb.sock", { uri: "mongodb://%2Ftmp%2Fmongodb.sock", user: "u", password: "p" }],
    ["mongodb://h/db?tlsCAFile=a@b", { uri: "mongodb://h/db?tlsCAFile=a@b" }],
    ["mongodb://u:p@h/db?tlsCAFile=a@b", { uri: "mongodb://h/db?tlsCAFile=a@b", user: "u", password: "p" }],
    ["mongodb://h/?tls=true&tlsCertificateKeyFilePassword=p%40", { uri: "mongodb://h/?tls=true", passphrase: "p@" }],
    ["mongodb://h/?tlsCertificateKeyFilePassword=p&tls=true", { uri: "mongodb://h/?tls=true", passphrase: "p" }],
    ["http://u:p@h", { uri: "http://u:p@h" }],
  ];
  for (const [uri, expected] of cases) {
    it(`${uri} is taken apart`, () => {
      assert.deepEqual(splitUri(uri), expected);
    });
  }

  it("gives back any escaped user and password, and keeps nothing of them", () => {
    const text = fc.string({ unit: "grapheme", minLength: 1 });
    fc.assert(
      fc.property(text, text, (user, password) => {
        const credentials = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
        assert.deepEqual(splitUri(`mongodb://${credentials}@h1:1,h2/db?tls=true`), {
          uri: "mongodb://h1:1,h2/db?tls=true",
          user,
          password,
        });
      }),
    );
  });
});
