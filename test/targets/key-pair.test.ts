import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkElasticsearchOptions } from "../../src/targets/elasticsearch/options.js";
import { ElasticsearchTarget } from "../../src/targets/elasticsearch/target.js";
import type { KeyPair } from "../../src/targets/key-pair.js";
import { checkMongoOptions } from "../../src/targets/mongodb/options.js";
import { MongoTarget } from "../../src/targets/mongodb/target.js";
import { TargetConfigError, type Target } from "../../src/targets/target.js";
import { tempFolder } from "../support/temp-folder.js";

const PASSPHRASE = "r0se & thorn%";
const { signal } = new AbortController();

const PLACE = { database: "plant", collection: "readings" };
const NOBODY_THERE = { uri: "mongodb://127.0.0.1:1", selectTimeoutMs: 100 };

const KINDS: readonly (readonly [string, (tls: KeyPair) => Target])[] = [
  [
    "MongoDB",
    (tls) => new MongoTarget(checkMongoOptions({ ...PLACE, connection: { ...NOBODY_THERE, tls: true, ...tls } })),
  ],
  [
    "Elasticsearch",
    (tls) =>
      new ElasticsearchTarget(
        checkElasticsearchOptions({ index: "i", connection: { nodes: "https://127.0.0.1:1", tls } }),
      ),
  ],
];

describe("A client certificate", () => {
  let cert: string;
  let key: string;

  before(() => {
    const folder = tempFolder();
    const [keyFile, certFile] = [join(folder, "key"), join(folder, "cert")];
    const subject = ["-subj", "/CN=client", "-days", "2", "-passout", `pass:${PASSPHRASE}`];
    execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-keyout", keyFile, "-out", certFile, ...subject], {
      stdio: "pipe",
    });
    cert = readFileSync(certFile, "utf8");
    key = readFileSync(keyFile, "utf8");
  });

  for (const [kind, targetWith] of KINDS) {
    async function failure(tls: KeyPair): Promise<Error> {
      const target = targetWith(tls);
      const error: unknown = await target.open(signal).catch((thrown: unknown) => thrown);
      await target.close();
      assert.ok(error instanceof Error);
      return error;
    }

    it(`with an encrypted key is used with its passphrase, and waits for the server (${kind})`, async () => {
      assert.equal((await failure({ cert, key, passphrase: PASSPHRASE })).name, "TargetUnavailableError");
    });

    it(`that cannot be used is the settings' fault, in words, and no server that is away (${kind})`, async () => {
      const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
      const other = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
      const noKey = "-----BEGIN PRIVATE KEY-----\nbm9uZQ==\n-----END PRIVATE KEY-----\n";
      for (const [tls, words] of [
        [{ cert, key }, /passphrase of the key is wrong or missing/],
        [{ cert, key, passphrase: "nettle" }, /passphrase of the key is wrong or missing/],
        [{ cert, key: other }, /belongs to another certificate/],
        [{ cert, key: noKey }, /no PEM that can be read/],
      ] as const) {
        const error = await failure(tls);

        assert.ok(error instanceof TargetConfigError, error.message);
        assert.match(error.message, words);
        assert.doesNotMatch(error.message, /nettle/);
      }
    });
  }
});
