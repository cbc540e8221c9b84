/** The command line as a user runs it: from the installed package, on folders that a killed process has left behind. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { crc32 } from "node:zlib";
import { BLOCK_HEADER_BYTES, BLOCK_KINDS } from "../../src/log/format/frame.js";
import { packageModules } from "../support/node-red-install.js";
import { projectFolder } from "../support/servers-cache.js";
import { tempFolder } from "../support/temp-folder.js";

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly notes: string;
}

describe("the command line", () => {
  let command: string;
  /** As the killed process left it; each test has a copy. */
  let left: string;
  let whileItRan: Ran;

  before(async function () {
    // Builds and installs, the first time from the registry.
    this.timeout(300_000);
    command = join(await packageModules(), ".bin", "resilient-exporters");
    left = mkdtempSync(join(tmpdir(), "resilient-cli-"));
    const script = join(__dirname, "killed-child.ts");
    const child = spawn(process.execPath, ["--import", "tsx", script, left], { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    whileItRan = run("inspect", left);
    child.kill("SIGKILL");
    await once(child, "close");
  });
  after(() => {
    if (left !== undefined) rmSync(left, { recursive: true, force: true });
  });

  function run(...args: string[]): Ran {
    const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8", cwd: tmpdir() });
    return { code: status, out: stdout, notes: stderr };
  }

  function copy(): string {
    const folder = join(tempFolder(), "queues");
    cpSync(left, folder, { recursive: true, filter: (path) => !statSync(path).isSocket() });
    return folder;
  }

  function segmentOf(folder: string, queue: string): string {
    return join(folder, queue, readdirSync(join(folder, queue))[0]!);
  }

  /** Changes a file. */
  function edit(path: string, change: (bytes: Buffer) => Buffer | void): void {
    const bytes = readFileSync(path);
    writeFileSync(path, change(bytes) ?? bytes);
  }

  function contentOf(folder: string): Record<string, string> {
    const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const paths = files.map((entry) => join(entry.parentPath, entry.name));
    return Object.fromEntries(paths.map((path) => [relative(folder, path), readFileSync(path, "hex")]));
  }

  function placesOf(text: string, bytes: Buffer): number[] {
    const places: number[] = [];
    for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) places.push(at);
    return places;
  }

  const linesOf = (ran: Ran): Record<string, unknown>[] =>
    ran.out
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  it("tells what waits, for whom, since when, and what was rejected, and changes nothing", () => {
    const folder = copy();
    const before = contentOf(folder);

    const { code, out } = run("inspect", folder);
    const json = JSON.parse(run("inspect", "--json", folder).out) as { queues: Record<string, unknown>[] };
    run("check", folder);
    run("export", folder);

    assert.equal(code, 0);
    assert.match(
      out,
      /^logs\/alone: 1 file, \d+ bytes on disk\n {2}waiting for alone: 100 records, 3\.1 KiB, oldest 20/m,
    );
    assert.match(out, /waiting for a: 6 records.*\n {2}waiting for b: 10 records/);
    assert.match(out, /^dead\/rejecting: .*\n {2}rejected: 1 record \(1 x 121\)/m);
    assert.deepEqual(
      json.queues.map(({ queue }) => queue),
      ["logs/alone", "logs/pool", "dead/rejecting"],
    );
    assert.deepEqual(contentOf(folder), before);
  });

  it("says that a folder is in use, and shows what is on its disk all the same", () => {
    assert.match(whileItRan.notes, /is in use: what its process holds in memory is not seen/);
    assert.match(whileItRan.out, /waiting for alone: 100 records/);
    assert.equal(whileItRan.code, 0);
  });

  it("gives out everything that anyone waits for, once, with what is needed to send it by other means", () => {
    const { code, out, notes } = run("export", left);

    const lines = linesOf({ code, out, notes });
    assert.equal(code, 0);
    assert.match(notes, /^110 records exported/m);
    assert.equal(new Set(lines.map(({ id }) => id)).size, 110);
    const { log, acceptedAt, routing, payload } = lines[0]!;
    assert.deepEqual(
      { log, routing, payload },
      {
        log: "alone",
        routing: { topic: "t" },
        payload: { n: { $numberInt: "0" }, at: { $date: { $numberLong: "0" } } },
      },
    );
    assert.ok(Math.abs(Date.parse(acceptedAt as string) - Date.now()) < 600_000);
  });

  it("gives out what one member of a pool has not had, as that member sees it", () => {
    const lines = linesOf(run("export", left, "--log", "pool", "--consumer", "a"));

    assert.deepEqual(
      lines.map(({ payload }) => payload),
      [4, 5, 6, 7, 8, 9].map((n) => ({ $numberInt: `${n}` })),
    );
    assert.deepEqual(lines[0]!["routing"], { file: "of a" });
  });

  it("gives out rejected records with their reason", () => {
    const [line, ...more] = linesOf(run("export", left, "--dead"));

    assert.deepEqual(more, []);
    assert.deepEqual([line!["code"], line!["message"], line!["payload"]], ["121", "no", { $numberInt: "1" }]);
  });

  it("writes into a new file that nobody else may read, and never over one", () => {
    const out = join(tempFolder(), "rescued.jsonl");

    assert.equal(run("export", left, "--out", out).code, 0);
    const again = run("export", left, "--out", out);

    assert.equal(readFileSync(out, "utf8").split("\n").length, 111);
    assert.equal(statSync(out).mode & 0o777, 0o600);
    assert.deepEqual([again.code, /is there already/.test(again.notes)], [2, true]);
  });

  it("ends quietly when whoever reads the export has heard enough", () => {
    const folder = copy();
    const { status, stderr } = spawnSync("sh", ["-c", `"${command}" export "${folder}" | true`], { encoding: "utf8" });

    assert.equal(status, 0);
    assert.doesNotMatch(stderr, /EPIPE|at /);
  });

  it("finds an intact folder intact", () => {
    const { code, out } = run("check", left);

    assert.equal(code, 0);
    assert.match(out, /^logs\/alone: 1 file, \d+ intact blocks, 100 records wanted$/m);
    assert.match(out, /^3 queues: no damage$/m);
  });

  it("tells a damaged block that somebody waits for, and exports the rest", () => {
    const folder = copy();
    edit(segmentOf(folder, "logs/alone"), (bytes) => {
      const records = placesOf("RXBK", bytes).find((at) => bytes.readUInt8(at + 20) === BLOCK_KINDS.records)!;
      bytes.writeUInt8(bytes.readUInt8(records + BLOCK_HEADER_BYTES) ^ 1, records + BLOCK_HEADER_BYTES);
    });

    const { code, out } = run("check", folder);

    assert.equal(code, 1);
    assert.match(out, /^logs\/alone: .* 20 records wanted, DAMAGED$/m);
    assert.match(out, /^ {2}\S+\.seg: \d+ bytes at \d+ cannot be read; somebody was waiting/m);
    assert.match(out, /^1 of 3 queues damaged/m);
    assert.equal(linesOf(run("export", folder, "--log", "alone")).length, 20);
  });

  it("exports what is intact though nobody knows any more who waits for it", () => {
    const folder = copy();
    edit(segmentOf(folder, "logs/alone"), (bytes) => {
      for (const at of placesOf("RXBK", bytes)) {
        if (bytes.readUInt8(at + 20) !== BLOCK_KINDS.records) bytes.fill(0, at, at + BLOCK_HEADER_BYTES);
      }
    });

    const checked = run("check", folder);

    assert.equal(checked.code, 1);
    assert.match(checked.out, /how far its readers were is lost/);
    assert.match(run("inspect", folder).out, /waiting for whoever had a place that was lost: 100 records/);
    assert.equal(linesOf(run("export", folder, "--log", "alone")).length, 100);
  });

  it("calls what a crash has cut off no damage", () => {
    const folder = copy();
    edit(segmentOf(folder, "logs/alone"), (bytes) =>
      Buffer.concat([bytes, Buffer.from("RXBK, and then the power went")]),
    );

    const { code, out } = run("check", folder);

    assert.equal(code, 0);
    assert.match(out, /29 bytes at \d+ cannot be read; as after a crash/);
  });

  it("does not touch a queue of a newer version, says so, and goes on with the others", () => {
    const folder = copy();
    const path = segmentOf(folder, "logs/alone");
    edit(path, (bytes) => {
      bytes.writeUInt8(200, 4);
      bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
    });
    const before = contentOf(folder);

    const ran = [run("inspect", folder), run("check", folder), run("export", folder)];

    assert.deepEqual(
      ran.map(({ code }) => code),
      [1, 1, 1],
    );
    assert.match(ran[0]!.out, /cannot be read: .*newer version/);
    assert.equal(linesOf(ran[2]!).length, 10);
    assert.deepEqual(contentOf(folder), before);
  });

  it("leaves files that belong to another queue, or to nobody, alone, and names them", () => {
    const folder = copy();
    const pool = segmentOf(folder, "logs/pool");
    const strange = join(folder, "logs", "alone", "0000000009-000000000000-00000001.seg");
    cpSync(pool, strange);
    writeFileSync(join(folder, "logs", "alone", "notes.txt"), "mine");

    const { code, out } = run("check", folder);

    assert.equal(code, 0);
    assert.match(out, /0000000009\S+ belongs to another queue or is a copy, and is left alone/);
    assert.match(out, /notes\.txt is no queue file/);
    assert.equal(linesOf(run("export", folder, "--log", "alone")).length, 100);
  });

  it("works on a folder that has been copied without the file of its identity", () => {
    const folder = copy();
    rmSync(join(folder, "queue.id"));

    assert.match(run("inspect", folder).out, /waiting for alone: 100 records/);
    assert.match(run("check", folder).out, /no damage/);
  });

  it("says what is wrong with what it was asked, and does nothing", () => {
    const empty = tempFolder();
    const userDir = tempFolder();
    mkdirSync(join(userDir, "resilient-exporters"));
    cpSync(copy(), join(userDir, "resilient-exporters", "rt"), { recursive: true });
    const cases: [string[], RegExp][] = [
      [["inspect"], /inspect takes one folder/],
      [["mend", left], /no command mend/],
      [["check", left, "--json"], /check does not take --json/],
      [["export", left, "--nope"], /nope/],
      [["export", left, "--log", "nobody"], /no logs\/nobody/],
      [["export", left, "--consumer", "nobody"], /Nobody named nobody waits/],
      [["inspect", empty], /is no queue folder/],
      [["inspect", join(empty, "absent")], /There is no folder/],
      [["inspect", userDir], /Perhaps you mean .*resilient-exporters\/rt\./],
      [["inspect", join(projectFolder, "package.json")], /is not a folder/],
    ];
    for (const [args, said] of cases) {
      const { code, out, notes } = run(...args);
      assert.deepEqual([code, out], [2, ""], args.join(" "));
      assert.match(notes, said);
      assert.doesNotMatch(notes, /^ {4}at /m);
    }
    assert.deepEqual(readdirSync(empty), []);
  });

  it("tells how it is used, and its version", () => {
    const { version } = JSON.parse(readFileSync(join(projectFolder, "package.json"), "utf8")) as { version: string };

    assert.match(run("--help").out, /inspect FOLDER.*check FOLDER.*export FOLDER/s);
    assert.equal(run("--version").out, `${version}\n`);
  });
});
