/** Queues whose node is gone: listed, counted, adopted, exported, discarded; never deleted by themselves. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { Exporter } from "../../src/runtime/exporter.js";
import type { LogRecord } from "../../src/record.js";
import type { Queue } from "../../src/runtime/queue.js";
import { Runtime, type RuntimeOptions } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { decode } from "../../src/codec.js";
import { awayTarget, send } from "../support/store-rig.js";
import { tempFolder } from "../support/temp-folder.js";

describe("a queue whose node is gone", () => {
  let folder: string;
  let runtime: Runtime;

  beforeEach(async () => {
    folder = join(tempFolder(), "queues");
    runtime = await open();
  });
  afterEach(() => runtime.close());

  function open(options: Partial<RuntimeOptions> = {}): Promise<Runtime> {
    return Runtime.open({ folder, flush: DEFAULT_FLUSH, ...options });
  }

  function exporter(id: string): Promise<Exporter> {
    return runtime.openExporter({ id, target: awayTarget(), flush: DEFAULT_FLUSH });
  }

  /** Leaves so many records under that id, and begins a new life. */
  async function leave(id: string, count: number): Promise<void> {
    const left = await exporter(id);
    for (let n = 0; n < count; n++) send(left, { n, of: id });
    await runtime.close();
    runtime = await open();
  }

  async function payloadsIn(of: Exporter): Promise<unknown[]> {
    const payloads: unknown[] = [];
    for await (const record of of.queue.consumer(of.id).unconfirmed()) payloads.push(decode(record));
    return payloads;
  }

  function filesOf(id: string): string[] {
    return readdirSync(join(folder, "logs", id));
  }

  it("is listed with its size, its records and the age of the oldest, and counted in the budget", async () => {
    const before = Date.now();
    await leave("gone", 10);
    await exporter("here");

    const orphans = await runtime.orphans();

    assert.equal(orphans.length, 1);
    const { id, bytes, records, oldestAcceptedAtMs } = orphans[0]!;
    assert.deepEqual([id, records], ["gone", 10]);
    assert.ok(bytes > 100 && bytes < 2_000);
    assert.ok(oldestAcceptedAtMs! >= before && oldestAcceptedAtMs! <= Date.now());
    assert.equal(runtime.used.diskBytes, bytes);
  });

  it("is not listed while its node is there, and is again when that has left", async () => {
    await leave("a", 3);
    const there = await exporter("a");
    assert.deepEqual(await runtime.orphans(), []);

    await there.close();

    assert.deepEqual(
      (await runtime.orphans()).map(({ id, records }) => [id, records]),
      [["a", 3]],
    );
  });

  it("stays as it is through many lives and listings", async () => {
    await leave("gone", 10);
    const before = filesOf("gone").map((name) => readFileSync(join(folder, "logs", "gone", name)).toString("hex"));

    for (let life = 0; life < 3; life++) {
      await exporter("here");
      await runtime.orphans();
      await runtime.close();
      runtime = await open();
    }

    const after = filesOf("gone").map((name) => readFileSync(join(folder, "logs", "gone", name)).toString("hex"));
    assert.deepEqual(after, before);
  });

  it("gives all it has to the queue that adopts it, with the ids the records had", async () => {
    await leave("gone", 1_200);
    const exported = [];
    for await (const line of runtime.exportOrphan("gone")) exported.push((JSON.parse(line) as { id: string }).id);
    const heir = await exporter("heir");
    send(heir, "own");

    const moved = await runtime.adoptOrphan("gone", heir);

    assert.equal(moved, 1_200);
    const ids: string[] = [];
    for await (const { id } of heir.queue.consumer("heir").unconfirmed()) ids.push(id.toString("hex"));
    assert.deepEqual(
      ids.slice(1),
      exported.map((id) => id.replaceAll("-", "")),
    );
    assert.deepEqual(await runtime.orphans(), []);
    assert.deepEqual(filesOf("gone"), []);
  });

  it("tells who wanted it adopted, and ends nothing else, when its heir gives up what it has just been given", async () => {
    const left = await exporter("gone");
    for (let n = 0; n < 400; n++) send(left, randomBytes(2_000).toString("hex")); // a few of them in each block
    await runtime.close();
    runtime = await open();
    const heir = await exporter("heir");
    let taken = 0;
    const take = async (record: LogRecord): Promise<void> => {
      const safe = heir.queue.take(record);
      // Where the heir has a limit of its own, any message that comes may have it drop its oldest.
      if (++taken === 100) heir.queue.log.dropBelow(heir.queue.log.nextOffset);
      return safe;
    };

    const adopting = runtime.adoptOrphan("gone", { queue: { take } as Queue });

    await assert.rejects(adopting, { code: "dropped" });
    assert.equal((await runtime.orphans())[0]?.records, 400);
  });

  it("is exported as lines that name every type", async () => {
    const left = await exporter("gone");
    send(left, { at: new Date(0), n: 1 }, { collection: "c" });
    await runtime.close();
    runtime = await open();

    const lines: string[] = [];
    for await (const line of runtime.exportOrphan("gone")) lines.push(line);

    assert.equal(lines.length, 1);
    const { routing, payload } = JSON.parse(lines[0]!) as { routing: unknown; payload: unknown };
    assert.deepEqual(routing, { collection: "c" });
    assert.deepEqual(payload, { at: { $date: { $numberLong: "0" } }, n: { $numberInt: "1" } });
  });

  it("gives what any of its members still waits for, though the one furthest behind has had it", async () => {
    const pool = await runtime.openPool({ id: "gone", flush: DEFAULT_FLUSH });
    for (const id of ["a", "b"]) await pool.addMember({ id, target: awayTarget(), flush: DEFAULT_FLUSH });
    for (let n = 0; n < 10; n++) pool.send(n, {}, () => undefined);
    pool.queue.log.consumer("a").skip(5, 7);
    pool.queue.log.consumer("b").skip(0, 3);
    await runtime.close();
    runtime = await open();
    const heir = await exporter("heir");

    const exported: number[] = [];
    for await (const line of runtime.exportOrphan("gone")) {
      const { payload } = JSON.parse(line) as { payload: { $numberInt: string } };
      exported.push(Number(payload.$numberInt));
    }
    await runtime.adoptOrphan("gone", heir);

    assert.deepEqual(exported, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.deepEqual(await payloadsIn(heir), exported);
  });

  it("is gone when it is discarded, and only it", async () => {
    await leave("gone", 5);
    await leave("other", 5);

    await runtime.discardOrphan("gone");

    assert.deepEqual(
      (await runtime.orphans()).map(({ id }) => id),
      ["other"],
    );
  });

  it("cannot be discarded, adopted or exported while its node is there", async () => {
    await leave("a", 3);
    const there = await exporter("a");
    const heir = await exporter("heir");

    await assert.rejects(runtime.discardOrphan("a"), /has its node/);
    await assert.rejects(runtime.adoptOrphan("a", heir), /has its node/);
    await assert.rejects(runtime.exportOrphan("a").next(), /has its node/);
    assert.equal((await payloadsIn(there)).length, 3);
  });

  it("makes the node that comes back wait for an export of it, but no other node", async () => {
    await leave("gone", 3);
    const lines = runtime.exportOrphan("gone");
    await lines.next();

    const back = exporter("gone");
    await exporter("other"); // is opened though somebody has stopped reading
    let isBack = false;
    void back.then(() => (isBack = true));
    assert.equal(isBack, false);
    await lines.return(undefined);

    assert.equal((await payloadsIn(await back)).length, 3);
  });

  it("is listed with the reason when it cannot be read, and kept", async () => {
    await leave("gone", 3);
    const path = join(folder, "logs", "gone", filesOf("gone")[0]!);
    const bytes = readFileSync(path);
    bytes.writeUInt8(200, 4); // a format of the future
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
    writeFileSync(path, bytes);
    await leave("readable", 2);

    const orphans = await runtime.orphans();

    assert.match(orphans.find(({ id }) => id === "gone")!.problem!, /newer version/);
    assert.equal(orphans.find(({ id }) => id === "readable")!.records, 2);
    assert.deepEqual(readFileSync(path), bytes);
  });

  it("gives up nothing that is intact when all of its cursors are destroyed", async () => {
    await leave("gone", 200);
    const path = join(folder, "logs", "gone", filesOf("gone")[0]!);
    const bytes = readFileSync(path);
    for (let at = bytes.indexOf("RXBK"); at >= 0; at = bytes.indexOf("RXBK", at + 1)) {
      if (bytes.readUInt8(at + 20) !== 3) bytes.fill(0, at, at + 48); // no snapshot, no cursor block
    }
    writeFileSync(path, bytes);
    const heir = await exporter("heir");

    const moved = await runtime.adoptOrphan("gone", heir);

    assert.equal(moved, 200);
    assert.equal((await payloadsIn(heir)).length, 200);
  });

  it("keeps files of yet another queue that somebody has put there", async () => {
    await leave("gone", 3);
    const elsewhere = join(tempFolder(), "queues");
    const other = await Runtime.open({ folder: elsewhere, flush: DEFAULT_FLUSH });
    const stranger = await other.openExporter({ id: "x", target: awayTarget(), flush: DEFAULT_FLUSH });
    send(stranger, 1);
    await other.close();
    const name = readdirSync(join(elsewhere, "logs", "x"))[0]!;
    const copied = name.replace("0000000001", "0000000009");
    copyFileSync(join(elsewhere, "logs", "x", name), join(folder, "logs", "gone", copied));
    const heir = await exporter("heir");

    await runtime.adoptOrphan("gone", heir);

    assert.deepEqual(filesOf("gone").includes(copied), true);
  });

  it("is found again under any name, however long or odd", async () => {
    for (const id of ["../../etc", "Grüße an alle", "x".repeat(300), "A/B", "mongodb plant.readings"]) {
      await leave(id, 1);
    }

    const orphans = await runtime.orphans();

    assert.equal(orphans.length, 5);
    assert.ok(orphans.every(({ records }) => records === 1));
    for (const { id } of orphans) await runtime.discardOrphan(id);
    assert.deepEqual(await runtime.orphans(), []);
  });

  it("is opened by a node that comes while the earlier one is still closing, when that has finished", async () => {
    const first = await exporter("a");
    for (let n = 0; n < 5_000; n++) send(first, { n });

    const closing = first.close();
    const again = await exporter("a");

    await closing;
    assert.equal((await payloadsIn(again)).length, 5_000);
    assert.equal(again.status().waiting, 5_000);
  });

  it("counts each byte once, however many nodes are opened at the same time", async () => {
    for (const id of ["a", "b", "c", "d"]) await leave(id, 50);

    await Promise.all(["a", "b", "c", "d"].map(exporter));

    let bytes = 0;
    for (const id of ["a", "b", "c", "d"]) {
      for (const name of filesOf(id)) bytes += readFileSync(join(folder, "logs", id, name)).length;
    }
    assert.equal(runtime.used.diskBytes, bytes);
  });

  it("takes no more of a small disk than that has, and leaves some to others", async () => {
    await runtime.close();
    mkdirSync(folder, { recursive: true });
    const { systemFiles } = await import("../../src/files.js");
    const small = { ...systemFiles, room: () => Promise.resolve({ freeBytes: 200 * 2 ** 20, totalBytes: 2 ** 30 }) };

    runtime = await open({ files: small });

    assert.equal(runtime.budgets.diskBytes, 136 * 2 ** 20);
  });
});
