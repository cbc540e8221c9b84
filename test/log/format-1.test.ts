/** Folders written by the first released format, as they are in the repository: every later version reads them exactly. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fse from "fs-extra";
import { decode } from "../../src/codec.js";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { type DescribedLog, readCase } from "../fixtures/read-format.js";
import { awayTarget } from "../support/store-rig.js";
import { tempFolder } from "../support/temp-folder.js";

const ROOT = join(__dirname, "..", "fixtures", "format-1");

function expectedOf(name: string): DescribedLog {
  return JSON.parse(readFileSync(join(ROOT, name, "expected.json"), "utf8")) as DescribedLog;
}

describe("a folder of format 1", () => {
  for (const name of ["plain", "compressed", "cursors", "carried"]) {
    it(`is read as it was written: ${name}`, async () => {
      const expected = expectedOf(name);

      const found = await readCase(join(ROOT, name, "log"), Object.keys(expected.consumers));

      assert.deepEqual(found, expected);
    });
  }

  it("holds what its name says, so that reading nothing does not pass", () => {
    const plain = expectedOf("plain").consumers["a"]!.records;
    assert.equal(plain.length, 62);
    assert.match(plain[60]!, /"\$numberLong":"1152921504606846976"/);
    assert.ok(readdirSync(join(ROOT, "plain", "log")).length > 1);
    assert.equal(expectedOf("compressed").consumers["a"]!.records.length, 300);
    const { ahead, behind } = expectedOf("cursors").consumers;
    assert.equal(ahead!.offset, 5);
    assert.equal(ahead!.state, "state");
    assert.equal(ahead!.records.length, 40 - 12);
    assert.equal(behind!.records.length, 39);
    assert.deepEqual(expectedOf("cursors").orphans, []);
    assert.equal(expectedOf("carried").consumers["a"]!.records.length, 20);
    assert.ok(expectedOf("carried").carried > 0);
  });

  it("is read as it was written: a whole runtime, with its dead letters", async () => {
    const folder = tempFolder();
    await fse.copy(join(ROOT, "runtime"), folder);
    const runtime = await Runtime.open({ folder, flush: DEFAULT_FLUSH });
    const exporter = await runtime.openExporter({ id: "a", target: awayTarget(), flush: DEFAULT_FLUSH });

    const payloads: unknown[] = [];
    for await (const record of exporter.queue.consumer("a").unconfirmed()) payloads.push(decode(record));
    const letters = [];
    for await (const letter of exporter.member.deadLetters.letters()) letters.push(letter);
    await runtime.close();

    const typed = { n: 2, at: new Date("2026-11-24T12:00:00Z") };
    assert.deepEqual(payloads, [{ n: 1 }, typed]);
    assert.deepEqual(
      letters.map(({ record, rejection, wasAccepted, routing }) => [
        decode(record),
        rejection,
        wasAccepted,
        routing["collection"],
      ]),
      [
        [{ n: 1 }, { code: "121", message: "Document failed validation", statusCode: 400 }, true, "readings"],
        [typed, { code: "121", message: "Document failed validation", statusCode: 400 }, true, "readings"],
        [{ n: 3 }, { code: "transform", message: "x is not defined" }, false, "other"],
      ],
    );
  });
});
