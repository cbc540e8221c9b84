/** Several who read the same place of a log at the same time: two people who list dead letters, say. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { systemFiles } from "../../src/files.js";
import type { Loss } from "../../src/log/segments/recovery.js";
import { tempFolder } from "../support/temp-folder.js";
import { openLog } from "./open-log.js";

describe("two who read one place of a log at the same time", () => {
  it("both get every record, and no damage is seen where there is none", async () => {
    const folder = join(tempFolder(), "log");
    const losses: Loss[] = [];
    const log = await openLog(systemFiles, {
      folder,
      segmentBytes: 20_000,
      onLoss: async (loss) => void losses.push(loss),
    });
    for (let n = 0; n < 600; n++) {
      log.append(JSON.stringify({ n, text: "x".repeat(100) }), {});
      if (n % 20 === 19) await log.sync();
    }
    const read = async (): Promise<number> => {
      let count = 0;
      for await (const { offset } of log.consumer("a").unconfirmed()) assert.equal(offset, count++);
      return count;
    };

    const counts = await Promise.all([read(), read(), read()]);

    assert.deepEqual(counts, [600, 600, 600]);
    assert.deepEqual(losses, []);
    await log.close();
  });
});
