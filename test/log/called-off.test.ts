/** A delivery calls off its `take` whenever something changes: that must not cost what was read already. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { systemClock } from "../../src/clock.js";
import { type Files, systemFiles } from "../../src/files.js";
import { deflateCompression } from "../../src/log/format/compression.js";
import { Log } from "../../src/log/log.js";
import { tempFolder } from "../support/temp-folder.js";

const RECORDS = 10_000;
const LIMITS = { records: 700, bytes: 1024 * 1024 };

describe("a take that is called off", () => {
  it("does not make the queue read its files again from the start", async () => {
    const folder = tempFolder();
    const before = await openLog(folder, systemFiles);
    for (let i = 0; i < RECORDS; i++) before.append(`{"reading":${i},"text":"${randomBytes(20).toString("hex")}"}`, {});
    await before.close();
    let opened = 0;
    const counting: Files = {
      ...systemFiles,
      open: (path) => {
        opened++;
        return systemFiles.open(path);
      },
    };
    const log = await openLog(folder, counting);
    const consumer = log.consumer("reader");
    opened = 0;

    const offsets: number[] = [];
    for (let turn = 0; offsets.length < RECORDS; turn++) {
      const controller = new AbortController();
      const taking = consumer.take(LIMITS, controller.signal);
      if (turn % 2 === 0) controller.abort(new Error("something else is to be done"));
      const records = await taking.catch((error: unknown) => {
        assert.ok(controller.signal.aborted, String(error));
        return [];
      });
      offsets.push(...records.map(({ offset }) => offset));
      consumer.confirm(records);
    }
    await log.close();

    assert.deepEqual(
      offsets,
      Array.from({ length: RECORDS }, (_, i) => i),
    );
    assert.ok(opened <= 2, `the files of the queue were opened ${opened} times`);
  });
});

function openLog(folder: string, files: Files): Promise<Log> {
  return Log.open({
    folder: `${folder}/log`,
    logId: Buffer.alloc(16, 1),
    files,
    clock: systemClock,
    random: randomBytes,
    compression: deflateCompression,
    consumers: ["reader"],
    segmentBytes: 8 * 1024 * 1024,
    persistent: true,
    onLoss: async (loss) => assert.fail(JSON.stringify(loss)),
  });
}
