/** What the editor's html does with secrets, run without a browser and held against the engine. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { splitUri } from "../../../src/targets/mongodb/options.js";

interface Split {
  readonly address: string;
  readonly user?: string;
  readonly password?: string;
}

describe("addresses typed into a dialog", () => {
  const { splitLogin } = pluginOf<{ splitLogin(address: string): Split }>("connection.html");

  it("lose the login that the engine would find in them, and no other", () => {
    const part = fc.string({ unit: fc.constantFrom(...Array.from("ab1@:/?#[]!$&'()*+,;=%. ü")), maxLength: 12 });
    const host = fc.constantFrom("h", "h:27017", "h1:1,h2", "[::1]:27017", "h/db", "h/db?replicaSet=rs0", "h/?a=b@c");
    const login = fc.tuple(part, part).map(([user, password]) => `${user}:${password}@`);

    fc.assert(
      fc.property(fc.oneof(login, fc.constant(""), part), host, (before, behind) => {
        const uri = `mongodb://${before}${behind}`;
        const { uri: rest, user, password } = splitUri(uri);

        const split = splitLogin(uri);

        assert.equal(split.address, rest);
        assert.equal(split.user ?? "", user ?? "");
        assert.equal(split.password, password);
      }),
      // Found by seed -1770654698.
      { examples: [["a/", "h/?a=b@c"]] },
    );
  });

  it("lose a login before a path as well, and keep an address that has none", () => {
    assert.deepEqual(
      { ...splitLogin("https://elastic:a@b:c/d@es.example:9200/base/path") },
      {
        address: "https://es.example:9200/base/path",
        user: "elastic",
        password: "a@b:c/d",
      },
    );
    for (const address of ["http://localhost:9200", "localhost:9200", "${ADDRESS}", "http://${HOST}:9200"])
      assert.equal(splitLogin(address).address, address);
  });
});

/** The functions of an editor plugin. */
function pluginOf<T>(file: string): T {
  const html = readFileSync(join(__dirname, "..", "..", "..", "nodes", "shared", file), "utf8");
  const [, script] = /<script type="text\/javascript">([\s\S]*?)<\/script>/.exec(html)!;
  let plugin: unknown;
  const registerPlugin = (_id: string, definition: unknown): void => void (plugin = definition);
  runInNewContext(script!, { RED: { plugins: { registerPlugin } }, decodeURIComponent });
  return plugin as T;
}
