/** Real folders that were damaged: what is intact is delivered, what is lost is said and kept apart, nothing stops. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "node:zlib";
import fse from "fs-extra";
import { decode } from "../../src/codec.js";
import { type Files, systemFiles } from "../../src/files.js";
import { NewerFormatError } from "../../src/log/segments/recovery.js";
import { Runtime, type RuntimeEvent } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { FileTarget } from "../../src/targets/file/target.js";
import { seededRandom } from "../support/fake-clock.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { awayTarget, send } from "../support/store-rig.js";
import { tempFolder } from "../support/temp-folder.js";

/** `CORRUPTIONS=10000` for a long look. */
const CORRUPTIONS = Number(process.env["CORRUPTIONS"] ?? 150);
const RECORDS = 400;

interface Life {
  readonly events: readonly RuntimeEvent[];
  readonly found: readonly unknown[];
}

/** Opens the folder as a node would, reads all that waits, and closes. */
async function live(folder: string): Promise<Life> {
  const events: RuntimeEvent[] = [];
  const runtime = await Runtime.open({
    folder,
    flush: DEFAULT_FLUSH,
    onEvent: (event) => {
      // That its target is away is no news.
      if (event.kind !== "network" && event.kind !== "delivery") events.push(event);
    },
  });
  try {
    const exporter = await runtime.openExporter({ id: "a", target: awayTarget(), flush: DEFAULT_FLUSH });
    const found: unknown[] = [];
    for await (const record of exporter.queue.consumer("a").unconfirmed()) found.push(decode(record));
    return { events, found };
  } finally {
    await runtime.close();
  }
}

async function fill(folder: string, backlogBytes = 0): Promise<void> {
  const runtime = await Runtime.open({ folder, flush: DEFAULT_FLUSH });
  const flush = { ...DEFAULT_FLUSH, backlogBytes };
  const exporter = await runtime.openExporter({ id: "a", target: awayTarget(), flush });
  const random = seededRandom(7);
  for (let n = 0; n < RECORDS; n++) {
    // Of a kind that does not compress away, so that there are many blocks to hit.
    send(exporter, { n, noise: Array.from({ length: 20 }, () => random().toString(36)).join("") });
    if (n % 40 === 39) await exporter.queue.log.sync();
  }
  await runtime.close();
}

function segmentsOf(folder: string): string[] {
  const logs = join(folder, "logs", "a");
  return readdirSync(logs).map((name) => join(logs, name));
}

describe("a damaged folder", function () {
  this.timeout(120_000 + CORRUPTIONS * 60);
  let folder: string;

  beforeEach(() => {
    folder = join(tempFolder(), "queues");
  });

  it("loses one block to bad bytes, says which, and keeps a copy of them", async () => {
    await fill(folder);
    const path = segmentsOf(folder)[0]!;
    const bytes = readFileSync(path);
    const at = bytes.indexOf("RXBK", bytes.length >>> 1);
    const end = bytes.indexOf("RXBK", at + 4);
    bytes.fill(0xee, at + 60, at + 90);
    writeFileSync(path, bytes);

    const { events, found } = await live(folder);

    const losses = events.filter((event) => event.kind === "loss");
    assert.equal(losses.length, 1);
    const { loss } = losses[0]!;
    assert.deepEqual([loss.path, loss.from, loss.bytes], [path, at, end - at]);
    assert.ok(found.length >= RECORDS - 41 && found.length < RECORDS, `${found.length} are left`);
    const copies = readdirSync(join(folder, "quarantine"), { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    assert.equal(copies.length, 1);
    const copy = readFileSync(join(copies[0]!.parentPath, copies[0]!.name));
    assert.deepEqual(copy, bytes.subarray(at, end));
  });

  it("has a copy of what is broken before its file can go, however long that takes", async () => {
    await fill(folder);
    const path = segmentsOf(folder)[0]!;
    const bytes = readFileSync(path);
    const at = bytes.indexOf("RXBK", bytes.length >>> 1);
    bytes.fill(0xee, at + 60, at + 90);
    writeFileSync(path, bytes);
    const place = join(folder, "quarantine");
    // The first look at the folder of copies takes half a second.
    const files: Files = Object.assign(Object.create(systemFiles) as Files, {
      list: async (where: string) => {
        if (where.startsWith(place)) await sleep(500);
        return systemFiles.list(where);
      },
    });
    const events: RuntimeEvent[] = [];
    const runtime = await Runtime.open({ folder, flush: DEFAULT_FLUSH, files, onEvent: (event) => events.push(event) });
    const target = new ScriptedTarget();
    await runtime.openExporter({ id: "a", target, flush: DEFAULT_FLUSH });

    while (target.arrived.length < RECORDS / 2) await sleep(5);
    await runtime.close();

    const [own] = readdirSync(place);
    const [copy] = readdirSync(join(place, own!));
    assert.deepEqual(readFileSync(join(place, own!, copy!)).subarray(60, 90), Buffer.alloc(30, 0xee));
    assert.deepEqual(
      events.filter(({ kind }) => kind === "unreadable"),
      [],
    );
  });

  it("is opened although a folder and a pipe have the names of its files", async () => {
    await fill(folder);
    const logs = join(folder, "logs", "a");
    mkdirSync(join(logs, "0000000099-000000000000-00000001.seg"));
    execFileSync("mkfifo", [join(logs, "0000000001-000000000000-00000002.seg")]);

    const { events, found } = await live(folder);

    assert.equal(found.length, RECORDS);
    assert.deepEqual(events, []);
  });

  it("is read whole although one of its files was copied beside itself, or all were given other names", async () => {
    await fill(folder, 512 * 1024);
    const paths = segmentsOf(folder);
    assert.ok(paths.length >= 2, `${paths.length} files`);
    const copy = paths[0]!.replace(/[0-9a-f]{8}\.seg$/, "ffffffff.seg");
    copyFileSync(paths[0]!, copy);

    const copied = await live(folder);

    assert.equal(copied.found.length, RECORDS);
    assert.deepEqual(
      copied.events.map((event) => [event.kind, "path" in event && event.path]),
      [["foreign", copy]],
    );
    assert.ok(existsSync(copy));
    rmSync(copy);
    const last = paths.length - 1;
    segmentsOf(folder).forEach((path, i) =>
      renameSync(path, path.replace(/\d{10}-[0-9a-f]{12}/, `${String(last - i + 1).padStart(10, "0")}-000000000000`)),
    );

    const renamed = await live(folder);

    assert.deepEqual(renamed.found, copied.found);
    assert.deepEqual(renamed.events, []);
  });

  it("does not fill the disk with copies of what is broken", async () => {
    await fill(folder);
    const place = join(folder, "quarantine");
    const { events } = await live(folder);
    assert.deepEqual(
      events.filter(({ kind }) => kind === "loss"),
      [],
    );
    assert.ok(!existsSync(place));
    // Sixteen megabytes are there already: of earlier damage to this queue.
    const path = segmentsOf(folder)[0]!;
    const bytes = readFileSync(path);
    bytes.fill(0, 200, 2_000);
    writeFileSync(path, bytes);
    await live(folder);
    const [own] = readdirSync(place);
    writeFileSync(join(place, own!, "earlier.bad"), Buffer.alloc(16 * 1024 * 1024));
    const before = readdirSync(join(place, own!)).length;
    bytes.fill(0, 9_000, 12_000);
    writeFileSync(path, bytes);

    await live(folder);

    assert.equal(readdirSync(join(place, own!)).length, before);
  });

  it(`never stops, invents or hides anything, whatever single place is hit (${CORRUPTIONS} times)`, async () => {
    const pristine = join(tempFolder(), "queues");
    await fill(pristine, 512 * 1024);
    const random = seededRandom(1);
    let harmed = 0;
    for (let i = 0; i < CORRUPTIONS; i++) {
      fse.emptyDirSync(dirname(folder));
      fse.copySync(pristine, folder, { filter: (path) => !path.endsWith(".sock") });
      const paths = segmentsOf(folder);
      const path = paths[Math.floor(random() * paths.length)]!;
      const bytes = readFileSync(path);
      const at = Math.floor(random() * bytes.length);
      const kind = Math.floor(random() * 3);
      if (kind === 0) bytes[at]! ^= 1 << Math.floor(random() * 8);
      else if (kind === 1) bytes.fill(0, at, Math.min(at + 512, bytes.length));
      else bytes.writeUInt32LE(0xffff_ffff, Math.min(at, bytes.length - 4)); // lengths are hit too
      writeFileSync(path, bytes);

      const { events, found } = await live(folder);

      const told = events.filter((event) => event.kind === "loss" || event.kind === "torn");
      const numbers = found.map((payload) => (payload as { n: number }).n);
      const where = `${relative(folder, path)} at ${at}, kind ${kind}, round ${i}`;
      assert.deepEqual(
        numbers,
        [...new Set(numbers)].sort((a, b) => a - b),
        where,
      );
      if (numbers.length < RECORDS) {
        harmed++;
        assert.ok(told.length > 0, `${RECORDS - numbers.length} records are gone and nothing was said: ${where}`);
      }
      assert.ok(numbers.length >= RECORDS - 90, `${numbers.length} left: ${where}`);
    }
    assert.ok(harmed > CORRUPTIONS / 4, `${harmed} did harm`);
  });

  it("is refused untouched when a newer version has written it", async () => {
    await fill(folder);
    const path = segmentsOf(folder)[0]!;
    const bytes = readFileSync(path);
    bytes.writeUInt8(2, 4);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
    writeFileSync(path, bytes);

    await assert.rejects(live(folder), NewerFormatError);

    assert.deepEqual(readFileSync(path), bytes);
    assert.equal(segmentsOf(folder).length, 1);
  });

  it("is the same queue when the file with its identity is emptied, zeroed or gone", async () => {
    await fill(folder);
    const path = join(folder, "queue.id");
    for (const harm of [
      () => writeFileSync(path, ""),
      () => writeFileSync(path, Buffer.alloc(16)),
      () => writeFileSync(path, "short"),
      () => fse.removeSync(path),
    ]) {
      harm();

      const { found, events } = await live(folder);

      assert.equal(found.length, RECORDS);
      assert.deepEqual(events, []);
      assert.equal(readFileSync(path).length, 16);
    }
  });

  it("is the same queue on another machine, or under another path", async () => {
    await fill(folder);
    const elsewhere = join(tempFolder(), "restored");
    mkdirSync(elsewhere);
    fse.copySync(folder, elsewhere, { filter: (path) => !path.endsWith(".sock") });

    assert.equal((await live(elsewhere)).found.length, RECORDS);
  });

  it("puts a record that cannot be decoded among the dead letters and goes on (Vector would not start: InvalidProtobufPayload)", async () => {
    const runtime = await Runtime.open({ folder, flush: DEFAULT_FLUSH });
    const out = join(tempFolder(), "out.log");
    const exporter = await runtime.openExporter({
      id: "a",
      target: () => new FileTarget({ file: out }),
      flush: DEFAULT_FLUSH,
    });
    send(exporter, { n: 1 });
    exporter.queue.log.append({ codec: 1, bytes: Buffer.from("no document at all") }, {});
    send(exporter, { n: 2 });

    while (exporter.status().waiting > 0) await new Promise((resolve) => setTimeout(resolve, 10));

    assert.equal(readFileSync(out, "utf8"), '{"n":1}\n{"n":2}\n');
    assert.equal(exporter.status().deadLetters, 1);
    await runtime.close();
  });
});
