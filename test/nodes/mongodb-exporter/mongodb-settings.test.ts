import assert from "node:assert/strict";
import {
  checkMongoSettings,
  hasSecretInUri,
  isUnverified,
  mongoConnection,
  mongoDocuments,
  mongoPlace,
} from "../../../nodes/mongodb-exporter/mongodb-settings.js";
import { checkMongoConnection, checkMongoOptions } from "../../../src/targets/mongodb/options.js";

const asIs = (text: string): string => text;
const dialog = { connectBy: "uri", uri: "mongodb://localhost:27017" };

function connectionOf(config: Record<string, unknown>, credentials = {}): Record<string, unknown> {
  return mongoConnection(config, checkMongoSettings(config, asIs).settings, credentials, asIs);
}

describe("the dialog of a MongoDB exporter", () => {
  it("gives what the target takes when it was left alone", () => {
    const { settings, problems } = checkMongoSettings(dialog, asIs);

    const options = checkMongoOptions({
      ...mongoDocuments(settings),
      connection: connectionOf(dialog),
      database: "plant",
      collection: "readings",
    });

    assert.deepEqual(problems, []);
    assert.equal(options.connection.uri, "mongodb://localhost:27017");
    assert.deepEqual([options.mode, options.idKind, options.writeConcern], ["insert", "uuid", "majority"]);
    assert.equal(options.timeSeries, undefined);
  });

  it("takes hosts in the place of a URI", () => {
    const config = { ...dialog, connectBy: "hosts", hosts: "h1:27017, h2", options: { replicaSet: "rs0" } };

    const { uri, replicaSet } = checkMongoConnection(connectionOf(config));

    assert.deepEqual([uri, replicaSet], ["mongodb://h1:27017,h2", "rs0"]);
  });

  it("fills in variables within texts, and tells which one is missing", () => {
    const resolve = (text: string): string => text.replace("${HOST}", "db.example");
    const config = {
      ...dialog,
      uri: "mongodb://${HOST}:1",
      options: { appName: "on ${HOST}", requestTimeoutMs: "5 s" },
    };

    const { settings } = checkMongoSettings(config, resolve);
    const { uri, appName, requestTimeoutMs } = mongoConnection(config, settings, {}, resolve);

    assert.deepEqual([uri, appName, requestTimeoutMs], ["mongodb://db.example:1", "on db.example", 5_000]);
  });

  it("makes a time series of whole seconds", () => {
    const { settings } = checkMongoSettings(
      { options: { timeSeries: true, metaField: "m", expireAfterMs: "1.4 s" } },
      asIs,
    );

    const { timeSeries } = mongoDocuments(settings);

    assert.deepEqual(timeSeries, { timeField: "at", metaField: "m", expireAfterSeconds: 1 });
  });

  it("says what extra options look like when they are no JSON", () => {
    assert.throws(() => connectionOf({ ...dialog, options: { extra: "maxPoolSize=3" } }), /must be a JSON object/);
  });

  it("notices a password that stands in the URI of the flow, and takes no variable for one", () => {
    for (const [uri, expected] of [
      ["mongodb://u:p@h", true],
      ["mongodb://u:p${MORE}@h", true],
      ["mongodb://h/?tlsCertificateKeyFilePassword=p", true],
      ["mongodb://u:${PASSWORD}@h", false],
      ["mongodb://u@h", false],
      ["${URI}", false],
    ] as const) {
      assert.equal(hasSecretInUri({ uri }), expected, uri);
    }
  });

  it("knows every way to leave certificates unchecked", () => {
    assert.equal(isUnverified(connectionOf(dialog)), false);
    for (const more of [
      { tls: { verify: false } },
      { uri: "mongodb://h/?tls=true&tlsAllowInvalidCertificates=true" },
      { uri: "mongodb://h/?tlsInsecure=true" },
      { options: { extra: '{"tlsAllowInvalidHostnames":true}' } },
    ])
      assert.equal(isUnverified(connectionOf({ ...dialog, ...more })), true, JSON.stringify(more));
  });

  it("is another place for secrets when address or protection differ, and the same when only waits do", () => {
    const place = mongoPlace(dialog, asIs);

    for (const more of [
      { uri: "mongodb://other" },
      { connectBy: "hosts", hosts: "localhost:27017" },
      { tls: { on: true } },
      { tls: { verify: false } },
      { tls: { ca: "/other.pem" } },
      { options: { mechanism: "PLAIN" } },
      { options: { direct: true } },
    ])
      assert.notEqual(mongoPlace({ ...dialog, ...more }, asIs), place, JSON.stringify(more));
    for (const more of [
      { options: { selectTimeoutMs: 100 } },
      { collection: "other" },
      { uri: "mongodb://u:p@localhost:27017" },
    ])
      assert.equal(mongoPlace({ ...dialog, ...more }, asIs), place, JSON.stringify(more));
  });
});
