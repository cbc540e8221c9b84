/**
 * The library as its users get it: the tarball that npm would publish, installed in a folder of its own, used by
 * CommonJS, ES modules and TypeScript. The programs are those of the documentation.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { packageModules } from "../support/node-red-install.js";
import { output, projectFolder } from "../support/servers-cache.js";
import { programsIn } from "./docs.js";

const NAME = "node-red-contrib-resilient-exporters";

describe("the packed library", () => {
  let folder: string;

  before(async function () {
    // Builds and installs, the first time from the registry.
    this.timeout(300_000);
    const modules = await packageModules();
    folder = mkdtempSync(join(tmpdir(), "resilient-library-"));
    symlinkSync(modules, join(folder, "node_modules"));
    for (const document of ["library.md", "targets.md", "from-python.md"]) {
      for (const [name, code] of programsIn(document)) write(name, code);
    }
  });
  after(() => {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });
  beforeEach(() => rmSync(join(folder, "data"), { recursive: true, force: true }));

  function write(name: string, code: string): void {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, code);
  }

  /** Runs a program in the folder; it must end by itself. */
  function run(name: string, ...args: string[]): Promise<string> {
    return output(process.execPath, [name, ...args], folder);
  }

  function lines(name: string): string[] {
    return readFileSync(join(folder, "data", name), "utf8")
      .split("\n")
      .slice(0, -1);
  }

  it("works from an ES module, as the documentation begins, and needs nothing else installed (seed defect 1)", async () => {
    await run("getting-started.mjs");

    assert.deepEqual(lines("readings.ndjson"), ['{"sensor":"attic","celsius":21.5}', "a list", "is many records"]);
  });

  it("works from CommonJS, with a pool whose member has a transform", async () => {
    await run("pool.cjs");

    assert.deepEqual(lines("all.ndjson"), ['{"sensor":"attic","celsius":21.5}', '{"sensor":"cellar","celsius":12}']);
    assert.deepEqual(lines("warm.ndjson"), ['{"sensor":"attic","celsius":21.5,"warm":true}']);
  });

  it("shows, takes and forgets dead letters as documented", async () => {
    assert.equal(await run("dead-letters.mjs"), "three file-full\n1\n");
    assert.deepEqual(lines("small.txt"), ["one", "two"]);
  });

  it("has what the documentation shows to those who come from Python", async () => {
    await run("default-pool.mjs");
    await run("from-python.mjs");

    assert.deepEqual(lines("default.ndjson"), ['{"metric":2}']);
  });

  it("names each export to ES modules that it gives to CommonJS", async () => {
    write("names.mjs", `import * as all from "${NAME}"; console.log(JSON.stringify(Object.keys(all)));`);
    write("names.cjs", `console.log(JSON.stringify(Object.keys(require("${NAME}"))));`);

    const [esm, cjs] = await Promise.all([run("names.mjs"), run("names.cjs")]);
    const named = (JSON.parse(esm) as string[]).filter(
      (name) => !["default", "module.exports", "__esModule"].includes(name),
    );

    assert.deepEqual(named.sort(), (JSON.parse(cjs) as string[]).sort());
    for (const name of ["FileExporter", "MongoDBExporter", "ElasticsearchExporter", "ExporterPool", "Exporter"]) {
      assert.ok(named.includes(name), name);
    }
  });

  it("has types for a strict program, and the programs of the documentation do what they say", async () => {
    write("package.json", "{}");
    write(
      "tsconfig.json",
      JSON.stringify({
        compilerOptions: {
          module: "node20",
          target: "es2023",
          strict: true,
          exactOptionalPropertyTypes: true,
          noUncheckedIndexedAccess: true,
          typeRoots: [join(projectFolder, "node_modules", "@types")],
          types: ["node"],
          outDir: "built",
          rootDir: ".",
        },
        include: ["*.ts"],
      }),
    );
    write(
      "wrong.ts",
      `import { ExporterPool, FileExporter, MongoDBExporter } from "${NAME}";
      // @ts-expect-error: no such option
      export const a = new FileExporter({ file: "x", max_lines: 3 });
      // @ts-expect-error: no such choice
      export const b = new FileExporter({ file: "x", flush: { overflow: "never" } });
      // @ts-expect-error: a collection is needed
      export const c = new MongoDBExporter({ database: "x" });
      // @ts-expect-error: no exporter
      export const d = new ExporterPool({ exporters: [1] });
      // @ts-expect-error: routing is text
      export const e = () => d.send(1, { collection: 7 });`,
    );

    await output(
      process.execPath,
      [join(projectFolder, "node_modules", "typescript", "bin", "tsc"), "-p", "."],
      folder,
    );

    const received: string[] = [];
    const server = createServer((request, response) => {
      request.setEncoding("utf8").on("data", (text: string) => received.push(text));
      request.on("end", () => response.end("{}"));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    write(
      "built/main.js",
      `const pool = require("./use-webhook.js").makePool(process.argv[2]);
      pool.send([{ n: 1 }, { n: 2 }]).then(() => pool.close());`,
    );
    await run("built/main.js", `http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    server.close();

    const payloads = received.join("").split("\n").slice(0, -1);
    assert.deepEqual(
      payloads.map((line) => (JSON.parse(line) as { payload: unknown }).payload),
      [{ n: 1 }, { n: 2 }],
    );
    assert.deepEqual(lines("copy.ndjson"), ['{"n":1}', '{"n":2}']);
  });

  describe("loads", () => {
    /** The packages that a program has loaded when it has sent something, and its memory in MiB. */
    async function loadedBy(make: string): Promise<{ packages: string[]; megabytes: number }> {
      write(
        "loads.cjs",
        `const library = require("${NAME}");
        const exporter = ${make};
        const sent = exporter === undefined ? Promise.resolve() : exporter.send({ n: 1 }).then(() => exporter.sendUnsent());
        sent.then(() => exporter?.close()).then(() => {
          const folders = Object.keys(require.cache).map((path) => path.split("node_modules/").at(-1).split("/"));
          const names = folders.map(([scope, name]) => (scope.startsWith("@") ? scope + "/" + name : scope));
          const packages = [...new Set(names)].filter((name) => name !== "" && name !== "${NAME}").sort();
          console.log(JSON.stringify({ packages, megabytes: process.memoryUsage().rss / 2 ** 20 }));
        });`,
      );
      return JSON.parse(await run("loads.cjs")) as { packages: string[]; megabytes: number };
    }

    const DRIVERS = ["mongodb", "@elastic/elasticsearch", "bson", "jsonata", "node-red"];
    const RUNTIME = `runtime: { folder: "data/queues" }`;

    it("no Node-RED and no driver to write a file, so that it costs little memory", async () => {
      const { packages, megabytes } = await loadedBy(`new library.FileExporter({ file: "data/x", ${RUNTIME} })`);
      const driver = await loadedBy("void require('@elastic/elasticsearch')");

      assert.deepEqual(
        packages.filter((name) => DRIVERS.includes(name)),
        [],
      );
      assert.deepEqual(
        packages.filter((name) => !["fs-extra", "graceful-fs", "jsonfile", "universalify"].includes(name)),
        ["iconv-lite", "loads.cjs", "safer-buffer"].filter((name) => packages.includes(name)),
      );
      assert.ok(megabytes < driver.megabytes - 10, `${megabytes} MiB, and ${driver.megabytes} with one driver`);
    });

    it("the driver of MongoDB alone for MongoDB, when it is used and not before", async () => {
      const place = `connection: { hosts: "127.0.0.1:9", selectTimeoutMs: 200 }, database: "a", collection: "b"`;
      const used = await loadedBy(`new library.MongoDBExporter({ ${place}, ${RUNTIME} })`);
      const made = await loadedBy(`void new library.MongoDBExporter({ ${place}, ${RUNTIME} })`);

      assert.deepEqual(
        used.packages.filter((name) => DRIVERS.includes(name)),
        ["bson", "mongodb"],
      );
      assert.deepEqual(
        made.packages.filter((name) => DRIVERS.includes(name)),
        [],
      );
    });

    it("the client of Elasticsearch alone for Elasticsearch", async () => {
      const { packages } = await loadedBy(
        `new library.ElasticsearchExporter({ index: "i", connection: { nodes: "http://127.0.0.1:9" }, ${RUNTIME} })`,
      );

      assert.deepEqual(
        packages.filter((name) => DRIVERS.includes(name)),
        ["@elastic/elasticsearch"],
      );
    });
  });

  it("comes back to a program that waits for it, and keeps none alive that does not", async () => {
    write(
      "waits.mjs",
      `import { FileExporter } from "${NAME}";
      const exporter = new FileExporter({
        file: "data/waits.txt",
        runtime: { folder: "data/queues" },
        flush: { durability: "delivered", batchWaitMs: 300 },
      });
      await exporter.send("waited for");
      console.log("back");`,
    );

    assert.equal(await run("waits.mjs"), "back\n");
    assert.deepEqual(lines("waits.txt"), ["waited for"]);
  });

  it("delivers in the next run what a program that just ended, or was killed, had left (seed defects 6, 7 and 8)", async () => {
    write(
      "leaves.cjs",
      `const { FileExporter } = require("${NAME}");
      const [, , text, end] = process.argv;
      const exporter = new FileExporter({
        file: "data/leaves.txt",
        runtime: { folder: "data/queues" },
        flush: { sending: "onRequest", durability: end === "kill" ? "everyMessage" : "interval" },
      });
      exporter.send(text).then(async () => {
        if (end === "kill") process.kill(process.pid, "SIGKILL");
        if (end === "send") console.log(JSON.stringify(await exporter.sendUnsent()));
      });`,
    );
    await run("leaves.cjs", "one", "end");
    await assert.rejects(promisify(execFile)(process.execPath, ["leaves.cjs", "two", "kill"], { cwd: folder }), {
      signal: "SIGKILL",
    });

    const report = JSON.parse(await run("leaves.cjs", "three", "send")) as object;

    assert.deepEqual(report, { end: "tried", delivered: 3, duplicates: 0, rejected: 0, dropped: 0, waiting: 0 });
    assert.deepEqual(lines("leaves.txt"), ["one", "two", "three"]);
  });
});
