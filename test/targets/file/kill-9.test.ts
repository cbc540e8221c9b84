import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { FileTarget } from "../../../src/targets/file/target.js";
import { tempFolder } from "../../support/temp-folder.js";
import { numberedPayload, numberedRecord } from "./numbered-record.js";

/** `KILLS=500` for a long look. A life takes half a second, most of it the start of a process. */
const KILLS = Number(process.env["KILLS"] ?? 12);

interface Cursor {
  next: number;
  state: string;
}

/** Starts a life, kills it at a random moment after its first word, and returns the cursor it stored last. */
async function lifeAndDeath(file: string, cursor: Cursor): Promise<Cursor> {
  const child = fork(join(__dirname, "killed-child.ts"), [file, String(cursor.next), cursor.state], {
    execArgv: ["--import", "tsx"],
  });
  let stored = cursor;
  let isDoomed = false;
  child.on("message", (message: Cursor) => {
    stored = message;
    if (isDoomed) return;
    isDoomed = true;
    setTimeout(() => child.kill("SIGKILL"), Math.random() * 40);
  });
  await once(child, "exit");
  return stored;
}

describe("A process killed while it appends", () => {
  it(`leaves each line in the file exactly once, in order, through ${KILLS} kills`, async function () {
    this.timeout(120_000 + KILLS * 3_000);
    const file = join(tempFolder(), "data.log");
    let cursor: Cursor = { next: 0, state: "" };
    for (let i = 0; i < KILLS; i++) cursor = await lifeAndDeath(file, cursor);

    const last = cursor.next + 3_000;
    const target = new FileTarget({ file });
    const signal = new AbortController().signal;
    let next = cursor.next;
    await target.open(signal, {
      state: Buffer.from(cursor.state, "hex"),
      async *records() {
        for (let n = next; n < last; n++) yield numberedRecord(n);
      },
      confirm: (upTo) => (next = upTo.offset + 1),
    });
    const rest = Array.from({ length: last - next }, (_, i) => numberedRecord(next + i));
    if (rest.length > 0) await target.deliver(rest, signal);
    await target.close();

    const lines = readFileSync(file, "utf8").split("\n");
    assert.equal(lines.pop(), "");
    assert.ok(lines.length >= last);
    lines.forEach((line, n) => assert.equal(line, JSON.stringify(numberedPayload(n))));
  });
});
