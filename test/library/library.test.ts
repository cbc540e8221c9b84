/** What the library promises beside the examples: options, order, results, dead letters, members that come and go. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type DeadLetter,
  type DeliveryReport,
  ElasticsearchExporter,
  Exporter,
  ExporterPool,
  FileExporter,
  MongoDBExporter,
  type Target,
} from "../../src/index.js";
import { CONFIRMED, deferred, Program, Shelf, ShelfExporter } from "./shelf.js";

describe("the library", () => {
  let program: Program;

  beforeEach(() => {
    program = new Program();
  });
  afterEach(() => program.end());

  function pool(options: ConstructorParameters<typeof ExporterPool>[0] = {}): ExporterPool {
    return program.use(new ExporterPool({ runtime: program.runtime, flush: CONFIRMED, ...options }));
  }

  describe("refuses, when an exporter is made,", () => {
    const place = { database: "plant", collection: "readings" };
    const shelf = new Shelf();
    // As a program without types, or a file of settings, may give them.
    const wrong: readonly [string, () => unknown, RegExp][] = [
      ["no file", () => new FileExporter({}), /needs a file name/],
      [
        "an option of another name",
        () => new FileExporter({ target_file: "x" } as object),
        /target_file is not an option/,
      ],
      [
        "a misspelt choice",
        () => new FileExporter({ file: "x", whenFull: "keep" } as object),
        /whenFull must be one of/,
      ],
      [
        "a misspelt mode",
        () => new FileExporter({ file: "x", mode: "a+" } as object),
        /mode must be one of append, over/,
      ],
      ["half a line", () => new FileExporter({ file: "x", maxLines: 0.5 }), /maxLines must be a whole number/],
      ["a number as text", () => new FileExporter({ file: "x", maxLines: "9" } as object), /maxLines must be a number/],
      ["no database", () => new MongoDBExporter({ collection: "c" } as never), /database: is required/],
      ["a server's own database", () => new MongoDBExporter({ ...place, database: "admin" }), /server's own/],
      [
        "an unknown field",
        () => new MongoDBExporter({ ...place, default_db: "x" } as never),
        /default_db: is not an option/,
      ],
      [
        "an unknown field of a connection",
        () => new MongoDBExporter({ ...place, connection: { username: "x" } } as never),
        /connection\.username: is not an option/,
      ],
      [
        "capital letters in an index",
        () => new ElasticsearchExporter({ index: "Readings" }),
        /index has capital letters/,
      ],
      [
        "an option of Python",
        () => new ElasticsearchExporter({ index: "i", use_ssl: true } as never),
        /use_ssl is not/,
      ],
      [
        "a misspelt option of TLS",
        () => new ElasticsearchExporter({ index: "i", connection: { tls: { certfile: "x" } as object } }),
        /connection\.tls\.certfile is not an option/,
      ],
      [
        "a flush setting out of its range",
        () => new ShelfExporter(shelf, { flush: { concurrency: 99 } }),
        /concurrency must be/,
      ],
      [
        "an unknown flush setting",
        () => new ShelfExporter(shelf, { flush: { max_size: 1 } as object }),
        /"max_size" is not/,
      ],
      [
        "an unknown setting of the runtime",
        () => new ShelfExporter(shelf, { runtime: { path: "x" } as object }),
        /"path" is not/,
      ],
      ["a probe that is none", () => new ShelfExporter(shelf, { runtime: { probe: "ftp://x" } }), /runtime\.probe/],
      [
        "a transform that is none",
        () => new ShelfExporter(shelf, { transform: "x" as never }),
        /transform must be a function/,
      ],
      [
        "an expression that is none",
        () => new ShelfExporter(shelf, { transform: { jsonata: "(" } }),
        /does not compile/,
      ],
      [
        "a listener that is none",
        () => new ShelfExporter(shelf, { onReport: 1 as never }),
        /onReport must be a function/,
      ],
      ["a name that is empty", () => new ShelfExporter(shelf, { name: " " }), /name must be a text/],
      ["a member that is none", () => new ExporterPool({ exporters: [{} as never] }), /must be exporters or pools/],
      [
        "an option that a pool does not have",
        () => new ExporterPool({ num_threads: 2 } as object),
        /"num_threads" is not/,
      ],
      [
        "two members of one name",
        () => new ExporterPool({ exporters: [new ShelfExporter(shelf), new ShelfExporter(shelf)] }),
        /Two exporters of the pool are named "shelf"/,
      ],
    ];
    for (const [what, make, message] of wrong) {
      it(what, () => assert.throws(make, message));
    }
  });

  describe("a send", () => {
    it("keeps its place although the queue is still opening, and what it had although the sender goes on", async () => {
      const shelf = new Shelf();
      const exporter = program.shelfExporter(shelf);
      const reading = { n: 0 };

      const sends = Array.from({ length: 20 }, (_, n) => {
        reading.n = n;
        return exporter.send(reading);
      });
      await sends[0];
      sends.push(exporter.send({ n: 20 }));
      await Promise.all(sends);

      assert.deepEqual(
        shelf.payloads,
        Array.from({ length: 21 }, (_, n) => ({ n })),
      );
    });

    it("says what is wrong with routing that is none, instead of sending elsewhere", async () => {
      const exporter = program.shelfExporter(new Shelf());

      await assert.rejects(exporter.send({ n: 1 }, "plant" as never), /routing must be an object/);
      await assert.rejects(
        exporter.send({ n: 1 }, { collection: 7 } as never),
        /collection of the routing must be a text/,
      );
    });

    it("after the close is refused, and opens nothing", async () => {
      const exporter = program.shelfExporter(new Shelf());
      await exporter.close();

      await assert.rejects(exporter.send({ n: 1 }), { code: "closed" });

      assert.equal(existsSync(program.runtime.folder), false);
    });

    it("that finds the queue full hears of it when the user wants that", async () => {
      const shelf = new Shelf();
      shelf.isUp = false;
      const flush = { backlogRecords: 2, overflow: "refuse" } as const;
      const exporter = program.shelfExporter(shelf, { flush });
      await exporter.send([1, 2]);

      await assert.rejects(exporter.send(3), { name: "NotAcceptedError", code: "queue-full" });
    });
  });

  it("tells what became of each batch, with the ids under which it arrived", async () => {
    const shelf = new Shelf();
    shelf.refuses = (payload) => (payload === "bad" ? { code: "bad", message: "no" } : undefined);
    const reports: DeliveryReport[] = [];
    const rejected: unknown[] = [];
    const exporter = program.shelfExporter(shelf, {
      onReport: (report) => reports.push(report),
      onRejected: ({ payload, rejection }) => rejected.push([payload, rejection.code]),
    });

    await exporter.send(["good", "bad"]);

    assert.deepEqual(
      reports.flatMap(({ delivered }) => delivered),
      shelf.items.map(({ id }) => id),
    );
    assert.deepEqual(
      reports.flatMap((report) => report.rejected.map(({ rejection }) => rejection.code)),
      ["bad"],
    );
    assert.deepEqual(rejected, [["bad", "bad"]]);
  });

  it("goes on delivering although a listener of the program fails, and warns", async () => {
    const shelf = new Shelf();
    const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
    const exporter = program.shelfExporter(shelf, {
      onReport: () => {
        throw new Error("a bug of the program");
      },
    });

    await exporter.send(1);
    await exporter.send(2);

    assert.deepEqual(shelf.payloads, [1, 2]);
    assert.equal((await warned).message, "a bug of the program");
  });

  describe("dead letters", () => {
    async function letters(exporter: { deadLetters: { list(): AsyncIterable<DeadLetter> } }): Promise<DeadLetter[]> {
      const found: DeadLetter[] = [];
      for await (const letter of exporter.deadLetters.list()) found.push(letter);
      return found;
    }

    it("can be listed, exported, sent once more with the same id, and thrown away", async () => {
      const shelf = new Shelf();
      shelf.refuses = (payload) => ({ code: `no-${String(payload)}`, message: "not today" });
      const exporter = program.shelfExporter(shelf);
      await exporter.send(["a", "b", "c"], { topic: "attic" });

      const listed = await letters(exporter);
      assert.deepEqual(
        listed.map(({ payload, exporter: name, rejection, routing }) => [
          payload,
          name,
          rejection.code,
          { ...routing },
        ]),
        ["a", "b", "c"].map((payload) => [payload, "shelf", `no-${payload}`, { topic: "attic" }]),
      );
      const lines: unknown[] = [];
      for await (const line of exporter.deadLetters.exported({ code: "no-b" })) lines.push(JSON.parse(line));
      assert.deepEqual(
        lines.map((line) => (line as { payload: unknown }).payload),
        ["b"],
      );

      shelf.refuses = () => undefined;
      assert.equal(await exporter.deadLetters.requeue({ ids: [listed[0]!.id] }), 1);
      await exporter.sendUnsent();
      assert.deepEqual(
        shelf.items.map(({ id, payload }) => [id, payload]),
        [[listed[0]!.id, "a"]],
      );
      assert.equal(await exporter.deadLetters.discard({ code: "no-b" }), 1);
      assert.equal(await exporter.deadLetters.count(), 1);
    });

    it("of a pool are those of its members, of members with their own transform too, and of what it could not accept", async () => {
      const [first, second, third] = [new Shelf(), new Shelf(), new Shelf()];
      for (const shelf of [second, third]) shelf.refuses = () => ({ code: "full", message: "no room" });
      const all = pool({
        exporters: [
          program.shelfExporter(first, { name: "first" }),
          program.shelfExporter(second, { name: "second" }),
          program.shelfExporter(third, { name: "third", transform: (payload) => ({ third: payload }) }),
        ],
      });
      await all.send("a");
      const itself: unknown[] = [];
      itself.push(itself);
      await assert.rejects(all.send([itself]), { name: "PayloadError" });

      const found = (await letters(all)).map(({ exporter, payload }) => [exporter, payload]);
      // What cannot be encoded is refused by each queue it was meant for.
      assert.deepEqual(
        found.filter(([, payload]) => !/ref|Circular/i.test(JSON.stringify(payload))),
        [
          ["second", "a"],
          ["third", { third: "a" }],
        ],
      );
      assert.ok(found.some(([exporter]) => exporter === "pool"));

      second.refuses = third.refuses = () => undefined;
      await all.deadLetters.requeue({ code: "full" });
      await all.sendUnsent();

      assert.deepEqual([first.payloads[0], second.payloads[0], third.payloads[0]], ["a", "a", { third: "a" }]);
    });
  });

  describe("a pool", () => {
    it("lets a pool inside it keep a transform of its own, for its members", async () => {
      const [outside, inside] = [new Shelf(), new Shelf()];
      const inner = pool({
        name: "inner",
        exporters: [program.shelfExporter(inside, { name: "inside" })],
        transform: { jsonata: '{ "doubled": payload.n * 2 }' },
      });
      const outer = pool({ exporters: [program.shelfExporter(outside, { name: "outside" }), inner] });

      await outer.send({ n: 2 });

      assert.deepEqual(outside.payloads, [{ n: 2 }]);
      assert.deepEqual(inside.payloads, [{ doubled: 4 }]);
    });

    it("supersedes the transform of a pool inside it as well", async () => {
      const inside = new Shelf();
      const exporters = [program.shelfExporter(inside)];
      const inner = pool({ name: "inner", exporters, transform: () => "never" });
      const outer = pool({ exporters: [inner], transform: () => "outer" });

      await outer.send({ n: 2 });

      assert.deepEqual(inside.payloads, ["outer"]);
    });

    it("reaches who comes into a pool inside it while it runs, from the very next record", async () => {
      const [first, late] = [new Shelf(), new Shelf()];
      const inner = pool({ name: "inner", exporters: [program.shelfExporter(first, { name: "first" })] });
      const outer = pool({ exporters: [inner] });
      await outer.send(1);

      const added = inner.addExporter(program.shelfExporter(late, { name: "late" }));
      const sent = outer.send(2);
      await Promise.all([added, sent]);

      assert.deepEqual(first.payloads, [1, 2]);
      assert.deepEqual(late.payloads, [2]);
    });

    it("does not take a member whose name another one has there, in whatever pool, and goes on without", async () => {
      const shelf = new Shelf();
      const inner = pool({ name: "inner" });
      const outer = pool({ exporters: [inner, program.shelfExporter(shelf)] });

      await assert.rejects(inner.addExporter(program.shelfExporter(new Shelf())), /are named "shelf"/);
      await outer.send(1);

      assert.deepEqual(shelf.payloads, [1]);
      assert.equal(inner.length, 0);
    });

    it("takes who comes while it opens", async () => {
      const [first, late] = [new Shelf(), new Shelf()];
      const all = pool({ exporters: [program.shelfExporter(first, { name: "first" })] });

      const opening = all.ready();
      const added = all.addExporter(program.shelfExporter(late, { name: "late" }));
      await Promise.all([opening, added]);
      await all.send(1);

      assert.deepEqual([first.payloads, late.payloads], [[1], [1]]);
    });

    it("has the queues of its members in its own folder, unless they have one", async () => {
      const { folder } = program.runtime;
      const made = (name: string, options: object = {}): ShelfExporter =>
        program.use(new ShelfExporter(new Shelf(), { name, transform: (payload) => payload, ...options }));
      const inner = program.use(new ExporterPool({ name: "inner", flush: CONFIRMED, exporters: [made("deep")] }));
      const elsewhere = made("elsewhere", { runtime: { folder: program.path("elsewhere") } });
      const all = pool({ exporters: [made("apart"), inner, elsewhere] });

      await all.send(1);
      await all.close();

      assert.deepEqual(readdirSync(join(folder, "logs")).sort(), ["apart", "deep"]);
      assert.deepEqual(readdirSync(join(program.path("elsewhere"), "logs")), ["elsewhere"]);
    });

    it("is no member of itself, nor of a pool inside it", async () => {
      const inner = pool({ name: "inner" });
      const outer = pool({ exporters: [inner] });

      await assert.rejects(outer.addExporter(outer), /cannot be a member of itself/);
      await assert.rejects(inner.addExporter(outer), /cannot be a member of itself/);
    });

    it("gives a member its part of the routing, and all what is for all", async () => {
      const [attic, cellar, apart] = [new Shelf(), new Shelf(), new Shelf()];
      const all = pool({
        exporters: [
          program.shelfExporter(attic, { name: "attic" }),
          program.shelfExporter(cellar, { name: "cellar" }),
          program.shelfExporter(apart, { name: "apart", transform: (payload) => payload }),
        ],
      });

      await all.send(1, { topic: "t", collection: "all", "attic/collection": "up", "apart/collection": "own" });

      assert.deepEqual(
        [attic, cellar, apart].map(({ items }) => items[0]?.routing["collection"]),
        ["up", "all", "own"],
      );
      assert.deepEqual(
        [attic, cellar, apart].map(({ items }) => items[0]?.routing["topic"]),
        ["t", "t", "t"],
      );
    });

    it("lends its members the flush settings that they do not have", async () => {
      const [asked, free] = [new Shelf(), new Shelf()];
      let arrived = deferred();
      const all = pool({
        flush: { sending: "onRequest" },
        exporters: [
          program.shelfExporter(asked, { name: "asked", flush: { batchWaitMs: 0 } }),
          program.shelfExporter(free, {
            name: "free",
            flush: { sending: "automatic", batchWaitMs: 0 },
            onReport: () => arrived.resolve(),
          }),
        ],
      });

      for (const n of [1, 2, 3]) {
        arrived = deferred();
        await all.send(n);
        await arrived.promise;
      }
      assert.deepEqual([asked.attempts, free.payloads], [0, [1, 2, 3]]);
      const reports = await all.sendUnsent();

      assert.equal(reports.get("asked")?.delivered, 3);
    });

    it("tells of each member how it stands, pauses all and goes on", async () => {
      const [up, down] = [new Shelf(), new Shelf()];
      down.isUp = false;
      const all = pool({
        flush: { durability: "interval", batchWaitMs: 0 },
        exporters: [program.shelfExporter(up, { name: "up" }), program.shelfExporter(down, { name: "down" })],
      });
      await all.pause();
      await all.send([1, 2]);
      assert.deepEqual(up.payloads, []);
      await all.resume();
      await all.sendUnsent();

      const statuses = await all.statuses();
      assert.deepEqual(
        [...statuses].map(([name, { waiting, circuit }]) => [name, waiting, circuit]),
        [
          ["up", 0, "closed"],
          ["down", 2, "open"],
        ],
      );
      assert.equal(all.hasUnsent, true);
      assert.equal(await all.discard(), 2);
      assert.equal(all.hasUnsent, false);
    });
  });

  describe("one folder", () => {
    it("has one owner for each name, which says so to the second", async () => {
      const first = program.shelfExporter(new Shelf());
      const second = program.shelfExporter(new Shelf());
      await first.send(1);

      await assert.rejects(second.send(1), /are named "shelf": give each a name of its own/);
      await first.close();
      await second.send(1);
    });

    it("is not opened with two budgets: who gets another than was asked for hears of it", async () => {
      const runtime = { ...program.runtime, diskBytes: "64 MiB" };
      await program.shelfExporter(new Shelf(), { runtime }).send(1);

      const other = program.shelfExporter(new Shelf(), { name: "b", runtime: { ...runtime, diskBytes: "32 MiB" } });
      await assert.rejects(other.ready(), /are open with diskBytes 67108864, not 33554432/);
      await program.shelfExporter(new Shelf(), { name: "c" }).ready();
    });

    it("that cannot be opened is tried again at the next send", async () => {
      const shelf = new Shelf();
      writeFileSync(program.runtime.folder, "a file in its place");
      const exporter = program.shelfExporter(shelf);
      await assert.rejects(exporter.send(1), { code: "EEXIST" });

      rmSync(program.runtime.folder);
      await exporter.send(2);

      assert.deepEqual(shelf.payloads, [2]);
    });
  });

  it("delivers in its next life what was left, as soon as it is ready", async () => {
    const shelf = new Shelf();
    shelf.isUp = false;
    const flush = { batchWaitMs: 0 };
    const before = program.shelfExporter(shelf, { flush });
    await before.send({ n: 1 });
    await before.close();

    shelf.isUp = true;
    const arrived = deferred();
    const after = program.shelfExporter(shelf, { flush, onReport: arrived.resolve });
    await after.ready();
    await arrived.promise;

    assert.deepEqual(shelf.payloads, [{ n: 1 }]);
  });

  it("closes once, however often it is asked, and by `await using`", async () => {
    const exporter = program.shelfExporter(new Shelf());
    await exporter.send(1);

    const closes = [exporter.close(), exporter.close(), exporter[Symbol.asyncDispose]()];
    await Promise.all(closes);

    assert.equal(closes[0], closes[1]);
  });

  it("makes a new target each time that it takes the old one up again", async () => {
    let made = 0;
    const shelf = new Shelf();
    class Counting extends Exporter {
      protected override createTarget(): Target {
        made++;
        return shelf.target();
      }
    }
    const exporter = program.use(new Counting("counting", { runtime: program.runtime, flush: CONFIRMED }));

    await exporter.send(1);
    await exporter.letGo();
    const waits = exporter.send(2);
    assert.deepEqual(shelf.payloads, [1]);
    await exporter.takeUp();
    await waits;

    assert.deepEqual([made, shelf.payloads], [2, [1, 2]]);
  });
});
