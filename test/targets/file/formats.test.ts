import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import type { FileTargetOptions } from "../../../src/targets/file/options.js";
import { FileTarget } from "../../../src/targets/file/target.js";
import { tempFolder } from "../../support/temp-folder.js";
import { LogModel } from "./log-model.js";

async function written(
  options: Partial<FileTargetOptions>,
  payloads: readonly unknown[],
  before = "",
): Promise<Buffer> {
  const file = join(tempFolder(), "data.out");
  if (before !== "") fs.writeFileSync(file, before);
  const log = new LogModel();
  for (const payload of payloads) log.add(payload);
  const target = new FileTarget({ file, ...options });
  await log.open(target);
  await log.deliverAll(target);
  await target.close();
  return fs.readFileSync(file);
}

/** A reader of RFC 4180, as strict as it needs to be here. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\n]*))([,\n])/g)) {
    row.push(quoted === undefined ? plain! : quoted.replaceAll('""', '"'));
    if (end === "\n") {
      rows.push(row);
      row = [];
    }
  }
  return rows;
}

describe("The format of a file", () => {
  it("json: puts text in quotes, so that each line is JSON", async () => {
    const bytes = await written({ format: "json" }, ["a\nb", 1, { x: null }, [1]]);

    assert.equal(bytes.toString(), '"a\\nb"\n1\n{"x":null}\n[1]\n');
  });

  it("is the same for payloads that lie together as for each by itself, whatever they are", async () => {
    const payload = fc.oneof(fc.string({ maxLength: 40 }), fc.jsonValue({ maxDepth: 1 }), fc.constant(2n ** 60n));
    await fc.assert(
      fc.asyncProperty(
        fc.array(payload, { minLength: 1, maxLength: 120 }),
        fc.constantFrom<Partial<FileTargetOptions>>(
          { format: "json" },
          { format: "text" },
          { format: "csv", csv: { columns: ["a"] } },
          { format: "json", encoding: "utf16le" },
        ),
        async (payloads, options) => {
          const limit = { maxBytes: 1e9, whenFull: "refuseNew" as const }; // with a limit each line is looked at

          assert.deepEqual(await written(options, payloads), await written({ ...options, ...limit }, payloads));
        },
      ),
      { numRuns: 60 },
    );
  });

  it("csv: writes the chosen columns under their names, nested ones by path", async () => {
    const bytes = await written({ format: "csv", csv: { columns: ["time", "reading.celsius", "note"] } }, [
      { time: 1, reading: { celsius: -2.5 }, note: 'says "hi", twice' },
      { time: 2, other: true, note: "two\nlines" },
      { time: { at: 3 }, "reading.celsius": 4, note: null },
      [1, 2, 3],
      7,
    ]);

    assert.equal(
      bytes.toString(),
      'time,reading.celsius,note\n1,-2.5,"says ""hi"", twice"\n2,,"two\nlines"\n"{""at"":3}",4,\n1,2,3\n7,,\n',
    );
  });

  it("csv: any text comes back as it was", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.string(), fc.string()), { minLength: 1, maxLength: 5 }), async (rows) => {
        const bytes = await written(
          { format: "csv", csv: { columns: ["a", "b"], header: false } },
          rows.map(([a, b]) => ({ a, b })),
        );

        assert.deepEqual(parseCsv(bytes.toString()), rows);
      }),
      { numRuns: 60 },
    );
  });

  it("csv: a row whose only column is empty is still a row", async () => {
    assert.equal((await written({ format: "csv", csv: { columns: ["a"], header: false } }, [{}])).toString(), '""\n');
  });

  it("csv: writes no second header into a file that has one", async () => {
    assert.equal(
      (await written({ format: "csv", csv: { columns: ["a"] } }, [{ a: 2 }], "a\n1\n")).toString(),
      "a\n1\n2\n",
    );
  });

  it("csv: leaves formulas as they are, or disarms them when asked, and numbers never", async () => {
    const payloads = [{ a: "=1+1" }, { a: -5 }, { a: "-x" }];
    const csv = { columns: ["a"], header: false };

    assert.equal((await written({ format: "csv", csv }, payloads)).toString(), "=1+1\n-5\n-x\n");
    assert.equal(
      (await written({ format: "csv", csv: { ...csv, formulaSafe: true } }, payloads)).toString(),
      "'=1+1\n-5\n'-x\n",
    );
  });

  it("csv: does not take a column from a prototype", async () => {
    const bytes = await written({ format: "csv", csv: { columns: ["constructor", "a.length"], header: false } }, [
      { a: "x" },
    ]);

    assert.equal(bytes.toString(), ",\n");
  });

  it("writes the encoding that was chosen, line ends too, and appends to it", async () => {
    assert.deepEqual(await written({ encoding: "latin1" }, ["é", "€"]), Buffer.from("\xe9\n?\n", "latin1"));
    assert.deepEqual(await written({ encoding: "utf16le" }, ["é", "x"]), Buffer.from("é\nx\n", "utf16le"));
    assert.deepEqual(
      await written({ encoding: "Shift_JIS" }, [{ t: "温" }]),
      Buffer.from([...Buffer.from('{"t":"'), 0x89, 0xb7, ...Buffer.from('"}\n')]),
    );
  });

  it("keeps the newest lines of two-byte text, though its letters hold bytes like a line end", async () => {
    const text = "\u0a0a\u040a\u0a00";
    const bytes = await written(
      { encoding: "utf16le", maxLines: 3 },
      Array.from({ length: 7 }, (_, i) => text + i),
    );

    const kept = bytes.toString("utf16le").split("\n").slice(0, -1);
    assert.deepEqual(
      kept,
      ["4", "5", "6"].slice(-kept.length).map((i) => text + i),
    );
  });

  it("writes Buffers as their bytes, or as the text that was chosen", async () => {
    const raw = Buffer.from([0xff, 0x00, 0x61]);

    assert.deepEqual(await written({}, [raw]), Buffer.concat([raw, Buffer.from("\n")]));
    assert.equal((await written({ buffers: "hex" }, [raw])).toString(), "ff0061\n");
    assert.equal((await written({ buffers: "base64" }, [raw])).toString(), "/wBh\n");
    assert.equal((await written({ format: "json" }, [raw])).toString(), '"/wBh"\n');
  });

  it("refuses settings that make no sense, and says which", () => {
    const refuses = (options: FileTargetOptions, code: string): void =>
      assert.throws(() => new FileTarget(options), { name: "TargetConfigError", code });

    refuses({}, "file-name-missing");
    refuses({ file: "x\0y" }, "file-name");
    refuses({ file: "x", encoding: "klingon" }, "file-encoding");
    for (const encoding of ["hex", "base64"]) refuses({ file: "x", encoding }, "file-encoding");
    refuses({ file: "x", format: "csv" }, "file-columns");
    refuses({ file: "x", format: "csv", csv: { columns: ["a"], separator: ";;" } }, "file-separator");
    refuses({ file: "x", maxLines: -1 }, "file-option");
    refuses({ file: "x", rotate: { keepFiles: 0 } }, "file-option");
  });
});
