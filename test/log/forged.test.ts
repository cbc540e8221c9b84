/** Blocks whose crc holds and whose body is no body of records: made by a faulty writer, or put there by somebody. */
import assert from "node:assert/strict";
import { appendFileSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { systemFiles } from "../../src/files.js";
import { BLOCK_KINDS, FLAG_DEFLATED, parseSegmentName } from "../../src/log/format/frame.js";
import type { Log } from "../../src/log/log.js";
import type { Loss } from "../../src/log/segments/recovery.js";
import { frameBlocks } from "../../src/log/segments/segment.js";
import { deflateCompression } from "../../src/log/format/compression.js";
import { tempFolder } from "../support/temp-folder.js";
import { openLog } from "./open-log.js";

const COUNT = 20;

describe("a block whose crc holds and whose body is none", () => {
  let folder: string;
  let losses: Loss[];

  const open = (): Promise<Log> =>
    openLog(systemFiles, {
      folder,
      segmentBytes: 1e6,
      compression: deflateCompression,
      onLoss: async (it) => void losses.push(it),
    });

  beforeEach(async () => {
    folder = join(tempFolder(), "log");
    losses = [];
    const log = await open();
    for (let n = 0; n < COUNT; n++) log.append(JSON.stringify({ n }), {});
    await log.close();
  });

  function appendForged(stored: Buffer, flags: number): void {
    const name = readdirSync(folder).at(-1)!;
    const path = join(folder, name);
    const { length } = readFileSync(path);
    const head = { kind: BLOCK_KINDS.records, flags, count: 1, origin: COUNT, span: 0, baseTimeMs: 1e12 };
    const { epoch } = parseSegmentName(name)!;
    appendFileSync(path, frameBlocks([{ ...head, rawLength: 5_000, stored }], epoch, length, 0));
  }

  async function read(log: Log): Promise<number[]> {
    const found: number[] = [];
    for await (const { bytes } of log.consumer("a").unconfirmed()) {
      found.push((JSON.parse(bytes.toString()) as { n: number }).n);
    }
    return found;
  }

  for (const [what, flags] of [
    ["is no body of records", 0],
    ["does not inflate", FLAG_DEFLATED],
  ] as const) {
    it(`does not keep a queue from opening, nor the other records from their targets: ${what}`, async () => {
      appendForged(Buffer.alloc(5_000, 0xee), flags);

      const log = await open();
      log.append(JSON.stringify({ n: COUNT }), {});
      const first = await read(log);
      await log.close();
      const again = await open();
      const second = await read(again);
      await again.close();

      const all = Array.from({ length: COUNT + 1 }, (_, n) => n);
      assert.deepEqual(first, all);
      assert.deepEqual(second, all);
      assert.ok(losses.length <= 1, "it is told of once");
    });
  }
});
