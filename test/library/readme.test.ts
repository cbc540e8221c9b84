/**
 * The examples of the README of resilient-exporters 0.1.6 (Python), and what else it promises, on files and on a target
 * of the user's own. Those that need servers are in `readme-servers.test.ts`.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { ExporterPool, FileExporter } from "../../src/index.js";
import { tempFolder } from "../support/temp-folder.js";
import { CONFIRMED, Program, Shelf } from "./shelf.js";

/** The transform of that README. */
function halved(data: unknown): unknown {
  const reading = data as { metric: number };
  reading.metric = (reading.metric / 2) * 0.5;
  return reading;
}

describe("the examples of the Python package", () => {
  let program: Program;

  beforeEach(() => {
    program = new Program();
  });
  afterEach(() => program.end());

  function fileExporter(
    name: string,
    options: Partial<ConstructorParameters<typeof FileExporter>[0]> = {},
  ): FileExporter {
    return program.use(
      new FileExporter({ file: program.path(name), runtime: program.runtime, flush: CONFIRMED, ...options }),
    );
  }

  it("store a list in a file, a line for each value", async () => {
    const exporter = fileExporter("mydata.txt", { maxLines: 100 });

    await exporter.send(["value1", "value2"]);

    assert.deepEqual(program.lines("mydata.txt"), ["value1", "value2"]);
  });

  it("keep the newest lines of a file that is full (keep_new_data)", async () => {
    const exporter = fileExporter("mydata.txt", { maxLines: 10, whenFull: "keepNew" });

    for (let n = 0; n < 25; n++) await exporter.send({ n });

    const lines = program.lines("mydata.txt");
    assert.ok(lines.length <= 10 && lines.length >= 9, `${lines.length} lines`);
    assert.equal(lines.at(-1), '{"n":24}');
    assert.deepEqual(
      lines,
      Array.from({ length: lines.length }, (_, i) => `{"n":${25 - lines.length + i}}`),
    );
  });

  it("transform data before it is sent, once, and leave the sender's own as it is", async () => {
    const exporter = fileExporter("mydata.txt", { transform: halved });
    const mydata = { metric: 2 };

    await exporter.send(mydata);

    assert.deepEqual(program.lines("mydata.txt"), ['{"metric":0.5}']);
    assert.deepEqual(mydata, { metric: 2 });
  });

  it("have the transform of a pool supersede those of its exporters", async () => {
    const [plain, own] = [new Shelf(), new Shelf()];
    const exporters = [
      program.shelfExporter(plain, { name: "plain" }),
      program.shelfExporter(own, { name: "own", transform: () => "never" }),
    ];
    const { runtime } = program;
    const pool = program.use(new ExporterPool({ exporters, runtime, flush: CONFIRMED, transform: halved }));

    await pool.send({ metric: 2 });

    assert.deepEqual(plain.payloads, [{ metric: 0.5 }]);
    assert.deepEqual(own.payloads, [{ metric: 0.5 }]);
  });

  it("have exporters of a pool without a transform run their own", async () => {
    const [plain, own] = [new Shelf(), new Shelf()];
    const exporters = [
      program.shelfExporter(plain, { name: "plain" }),
      program.shelfExporter(own, { name: "own", transform: halved }),
    ];
    const pool = program.use(new ExporterPool({ exporters, runtime: program.runtime, flush: CONFIRMED }));

    await pool.send({ metric: 2 });

    assert.deepEqual(plain.payloads, [{ metric: 2 }]);
    assert.deepEqual(own.payloads, [{ metric: 0.5 }]);
  });

  it("send to a pool inside a pool, each target once though it is reached twice", async () => {
    const [here, there] = [new Shelf(), new Shelf()];
    const twice = program.shelfExporter(here, { name: "here" });
    const { runtime } = program;
    const inner = program.use(
      new ExporterPool({ name: "inner", exporters: [twice, program.shelfExporter(there, { name: "there" })], runtime }),
    );
    const outer = program.use(new ExporterPool({ exporters: [inner, twice], runtime, flush: CONFIRMED }));

    await outer.send([{ n: 1 }, { n: 2 }]);

    assert.deepEqual(here.payloads, [{ n: 1 }, { n: 2 }]);
    assert.deepEqual(there.payloads, [{ n: 1 }, { n: 2 }]);
  });

  it("keep what could not be sent on disk (use_memory=False), for the next life of the program", async () => {
    const shelf = new Shelf();
    shelf.isUp = false;
    const exporters = [program.shelfExporter(shelf)];
    const flush = { durability: "everyMessage" } as const;
    const pool = program.use(new ExporterPool({ exporters, runtime: program.runtime, flush }));
    await pool.send([{ n: 1 }, { n: 2 }]);
    await pool.close();
    assert.deepEqual(shelf.items, []);

    shelf.isUp = true;
    const again = program.use(
      new ExporterPool({ exporters: [program.shelfExporter(shelf)], runtime: program.runtime }),
    );
    await again.ready();
    const reports = await again.sendUnsent();

    assert.deepEqual(shelf.payloads, [{ n: 1 }, { n: 2 }]);
    assert.equal(reports.get("shelf")?.end, "tried");
  });

  it("keep it in memory alone when that is wanted (use_memory=True): no record touches the disk", async () => {
    const shelf = new Shelf();
    shelf.isUp = false;
    const exporter = program.shelfExporter(shelf, { flush: { durability: "memory", writeIntervalMs: 10 } });

    await exporter.send([{ n: 1 }, { n: 2 }]);
    await exporter.close();

    const files = readdirSync(program.runtime.folder, { recursive: true, encoding: "utf8" });
    assert.deepEqual(
      files.filter((file) => file.endsWith(".seg")),
      [],
    );
  });

  it("send on request alone (manual_reexport), and end when the target is down", async () => {
    const shelf = new Shelf();
    const flush = { durability: "interval", sending: "onRequest" } as const;
    const exporter = program.shelfExporter(shelf, { flush });
    await exporter.send([{ n: 1 }, { n: 2 }]);
    assert.equal(exporter.hasUnsent, true);

    shelf.isUp = false;
    const down = await exporter.sendUnsent();
    shelf.isUp = true;
    const up = await exporter.sendUnsent();

    assert.deepEqual([down.end, down.delivered, down.waiting], ["unavailable", 0, 2]);
    assert.deepEqual([up.end, up.delivered, up.waiting], ["tried", 2, 0]);
    assert.equal(exporter.hasUnsent, false);
    assert.deepEqual(shelf.payloads, [{ n: 1 }, { n: 2 }]);
  });

  it("drop what could not be sent at once (save_unsent_data=False), and count it", async () => {
    const shelf = new Shelf();
    shelf.isUp = false;
    const exporter = program.shelfExporter(shelf, { flush: { ...CONFIRMED, keepUnsent: false } });

    await exporter.send({ n: 1 });
    const { dropped, waiting } = await exporter.status();

    assert.deepEqual([dropped, waiting], [1, 0]);
  });

  it("offer a pool that is ready to use: its members come while it runs", async () => {
    const pool = program.use(new ExporterPool({ runtime: program.runtime, flush: CONFIRMED }));
    await assert.rejects(pool.send({ n: 0 }), { code: "no-members" });
    await pool.addExporter(fileExporter("mydata.txt"));

    await pool.send({ n: 1 });
    const shelf = new Shelf();
    await pool.addExporter(program.shelfExporter(shelf));
    await pool.send({ n: 2 });

    assert.deepEqual(program.lines("mydata.txt"), ['{"n":1}', '{"n":2}']);
    assert.deepEqual(shelf.payloads, [{ n: 2 }]);
    assert.equal(pool.length, 2);
    assert.deepEqual([...pool], pool.exporters);
  });

  it("let a user subclass the base Exporter", async () => {
    const shelf = new Shelf();
    const exporter = program.shelfExporter(shelf);

    await exporter.send({ n: 1 }, { topic: "attic" });

    assert.deepEqual(
      shelf.items.map(({ payload, routing }) => ({ payload, routing })),
      [{ payload: { n: 1 }, routing: { topic: "attic" } }],
    );
  });

  it("overwrite a file at the start of the program (append=False), and not again while it runs", async () => {
    await fileExporter("mydata.txt", { name: "before" }).send("before");
    const exporter = fileExporter("mydata.txt", { mode: "overwrite" });

    await exporter.send("one");
    await exporter.letGo();
    await exporter.takeUp();
    await exporter.send("two");

    assert.deepEqual(program.lines("mydata.txt"), ["one", "two"]);
  });

  it("leave nothing in the working folder (seed defect 28)", async () => {
    const before = process.cwd();
    const own = tempFolder(); // others work in that of the project
    process.chdir(own);
    try {
      await fileExporter("mydata.txt").send("value");
    } finally {
      process.chdir(before);
    }

    assert.deepEqual(readdirSync(own), []);
    assert.ok(existsSync(program.path("mydata.txt")));
  });
});
