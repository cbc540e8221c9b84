/**
 * What went wrong in the Python package resilient-exporters 0.1.6, found by reading and running it, and must not here.
 * Its defects are numbered; those that are not in this file have their number in the name of a test elsewhere.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { ExporterPool, FileExporter, type FileExporterOptions } from "../../src/index.js";
import { CONFIRMED, Program, Shelf } from "./shelf.js";

const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

/** On disk when `send` resolves, and sent only when asked: so that a test decides when. */
const LATER = { durability: "everyMessage", sending: "onRequest" } as const;

describe("defects of the Python package", () => {
  let program: Program;

  beforeEach(() => {
    program = new Program();
  });
  afterEach(() => program.end());

  function fileExporter(options: Omit<FileExporterOptions, "file">): FileExporter {
    return program.use(
      new FileExporter({ file: program.path("data.txt"), runtime: program.runtime, flush: CONFIRMED, ...options }),
    );
  }

  it("seed defect 9: the lines that were in the file before count, and so does each line of a text", async () => {
    writeFileSync(
      program.path("data.txt"),
      upTo(50)
        .map((n) => `old ${n}\n`)
        .join(""),
    );
    const exporter = fileExporter({ maxLines: 100, whenFull: "refuseNew" });

    await exporter.send(upTo(40).map((n) => `new ${n}`));
    await exporter.send("three\nline\nbreaks\n");
    await exporter.send(upTo(20).map((n) => `over ${n}`));

    assert.ok(program.lines("data.txt").length <= 100, `${program.lines("data.txt").length} lines`);
    assert.ok(program.lines("data.txt").includes("new 39"));
  });

  it("seed defect 10: what a full file refuses waits nowhere for ever; it is a dead letter, and asking to send ends", async () => {
    const exporter = fileExporter({ maxLines: 1, whenFull: "refuseNew" });

    await exporter.send(upTo(1_000).map((n) => `line ${n}`));
    const report = await exporter.sendUnsent();

    assert.deepEqual([report.end, report.waiting, exporter.hasUnsent], ["tried", 0, false]);
    assert.equal(await exporter.deadLetters.count(), 999);
    assert.deepEqual(program.lines("data.txt"), ["line 0"]);
  });

  it("seed defect 11: sending what waits ends while the target is down, after one look, and one poisoned record stops nobody", async () => {
    const shelf = new Shelf();
    shelf.isUp = false;
    shelf.refuses = (payload) => (payload === 3 ? { code: "poison", message: "never" } : undefined);
    const exporter = program.shelfExporter(shelf, { flush: LATER });
    await exporter.send(upTo(100));

    const down = await exporter.sendUnsent();
    assert.deepEqual([down.end, down.waiting], ["unavailable", 100]);
    assert.ok(shelf.attempts <= 2, `${shelf.attempts} attempts`);

    shelf.isUp = true;
    const up = await exporter.sendUnsent();
    assert.deepEqual([up.end, up.delivered, up.rejected, up.waiting], ["tried", 99, 1, 0]);
  });

  it("seed defect 12: a backlog of 20,000 records goes in batches, without a probe or a call inside a call for each", async () => {
    const shelf = new Shelf();
    shelf.isUp = false;
    const exporter = program.shelfExporter(shelf, { flush: LATER });
    for (let n = 0; n < 20_000; n += 1_000) await exporter.send(upTo(1_000).map((i) => n + i));

    shelf.isUp = true;
    await exporter.sendUnsent();

    assert.deepEqual(shelf.payloads, upTo(20_000));
    assert.ok(shelf.attempts < 500, `${shelf.attempts} calls`);
  });

  it("seed defect 16: two pools of the default name inside a pool are two pools, and their targets get each record once", async () => {
    const shelves = upTo(4).map(() => new Shelf());
    const exporters = shelves.map((shelf, i) => program.shelfExporter(shelf, { name: `shelf ${i}` }));
    const inner = [exporters.slice(0, 2), exporters.slice(2)].map((two) =>
      program.use(new ExporterPool({ exporters: two, runtime: program.runtime })),
    );
    const pool = program.use(new ExporterPool({ exporters: inner, runtime: program.runtime, flush: CONFIRMED }));

    await pool.send([1, 2]);

    assert.deepEqual(
      shelves.map(({ payloads }) => payloads),
      upTo(4).map(() => [1, 2]),
    );
  });

  it("seed defect 19: an answer that is lost after the write makes no second document", async () => {
    const shelf = new Shelf();
    shelf.losesAnswer = true;
    const exporter = program.shelfExporter(shelf, { flush: LATER });
    await exporter.send([1, 2, 3]);

    const lost = await exporter.sendUnsent();
    const again = await exporter.sendUnsent();

    assert.equal(lost.end, "unavailable");
    assert.deepEqual([again.delivered, again.duplicates, again.waiting], [0, 3, 0]);
    assert.deepEqual(shelf.payloads, [1, 2, 3]);
  });

  it("seed defect 22: a full queue keeps the newest, and says how many it gave up", async () => {
    const shelf = new Shelf();
    const exporter = program.shelfExporter(shelf, { flush: { ...LATER, backlogRecords: 10 } });
    for (const n of upTo(20)) await exporter.send(n);

    const { dropped, waiting } = await exporter.status();
    await exporter.sendUnsent();

    assert.equal(dropped + waiting, 20);
    assert.ok(waiting <= 10 && waiting > 0, `${waiting} wait`);
    assert.deepEqual(shelf.payloads, upTo(20).slice(20 - waiting));
  });

  it("seed defect 23: what waited is sent first, in the order it came, also after a restart", async () => {
    const shelf = new Shelf();
    const before = program.shelfExporter(shelf, { flush: LATER });
    for (const n of upTo(500)) void before.send(n);
    await before.send(500);
    await before.close();

    const after = program.shelfExporter(shelf, { flush: LATER });
    await after.send(501);
    await after.sendUnsent();

    assert.deepEqual(shelf.payloads, upTo(502));
  });

  it("seed defect 24: records of one and the same time are as many as were sent, whatever the clock does", async () => {
    const shelf = new Shelf();
    const exporter = program.shelfExporter(shelf, { flush: LATER });
    const { now } = Date;
    try {
      Date.now = () => 0; // as on a board without a clock battery
      for (const n of upTo(50)) await exporter.send(n);
      Date.now = () => now() - 3_600_000; // and set back
      for (const n of upTo(50)) await exporter.send(50 + n);
    } finally {
      Date.now = now;
    }
    await exporter.close();

    const after = program.shelfExporter(shelf, { flush: LATER });
    await after.ready();
    await after.sendUnsent();

    assert.deepEqual(shelf.payloads, upTo(100));
    assert.equal(new Set(shelf.items.map(({ id }) => id)).size, 100);
  });

  it("seed defect 25: a queue on disk survives that somebody prefers memory, and the way back", async () => {
    const shelf = new Shelf();
    const disk = program.shelfExporter(shelf, { flush: LATER });
    await disk.send(upTo(5));
    await disk.close();
    const memory = program.shelfExporter(shelf, { flush: { ...LATER, durability: "memory" } });
    await memory.ready();
    assert.equal(memory.hasUnsent, true);
    await memory.close();

    const again = program.shelfExporter(shelf, { flush: LATER });
    await again.ready();
    await again.sendUnsent();

    assert.deepEqual(shelf.payloads, upTo(5));
  });

  it("seed defect 26: an exporter that comes into a pool keeps what it had not sent, and so does one that is added", async () => {
    const shelves = [new Shelf(), new Shelf()];
    for (const [i, shelf] of shelves.entries()) {
      const before = program.shelfExporter(shelf, { name: `shelf ${i}`, flush: LATER });
      await before.send("before");
      await before.close();
    }

    const [first, second] = shelves.map((shelf, i) =>
      program.shelfExporter(shelf, { name: `shelf ${i}`, flush: LATER }),
    );
    const pool = program.use(new ExporterPool({ exporters: [first!], runtime: program.runtime, flush: LATER }));
    await pool.ready();
    await pool.addExporter(second!);
    await pool.send("after");
    await pool.sendUnsent();

    assert.deepEqual(
      shelves.map(({ payloads }) => new Set(payloads)),
      upTo(2).map(() => new Set(["after", "before"])),
    );
  });

  it("seed defect 27: a file whose oldest lines went goes on under its name", async () => {
    const exporter = fileExporter({ maxLines: 10, whenFull: "keepNew" });
    await exporter.send(upTo(10).map((n) => `line ${n}`));
    await exporter.send("one too many");
    await exporter.send("after");

    assert.deepEqual(program.lines("data.txt").slice(-2), ["one too many", "after"]);
  });

  it("seed defect 29: a file that somebody planted in the queue folder runs nothing and stops nothing", async () => {
    const shelf = new Shelf();
    const queue = join(program.runtime.folder, "logs", "shelf");
    mkdirSync(queue, { recursive: true });
    // A Python pickle that would run a program, under a name that a segment may have.
    const planted = Buffer.from("cos\nsystem\n(S'touch planted'\ntR.");
    writeFileSync(join(queue, "0000000001-000000000000-00000001.seg"), planted);
    const exporter = program.shelfExporter(shelf, { flush: LATER });

    await exporter.send(1);
    await exporter.sendUnsent();

    assert.deepEqual(shelf.payloads, [1]);
    assert.ok(!readdirSync(process.cwd()).includes("planted"));
  });

  it("seed defect 30: nobody is asked for the network while the target answers, and no send waits for such an answer", async () => {
    let asked = 0;
    const mute = createServer((socket) => {
      asked++;
      socket.destroy();
    }).listen(0, "127.0.0.1");
    await once(mute, "listening");
    const probe = `127.0.0.1:${(mute.address() as AddressInfo).port}`;
    const shelf = new Shelf();
    const exporter = program.shelfExporter(shelf, { runtime: { ...program.runtime, probe } });

    for (const n of upTo(100)) await exporter.send(n);

    mute.close();
    assert.deepEqual([asked, shelf.payloads.length], [0, 100]);
  });
});
