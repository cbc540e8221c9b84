/** One member of a pool is away and falls far behind. Ten millions of records: `npm run soak -- --pool-lag 10000000`. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { poolLag, violationsOf } from "../soak/pool-lag.js";
import { tempFolder } from "../support/temp-folder.js";

const RECORDS = 200_000;
const LIMIT = 150_000;
/** CPU time, not the clock: other work on the machine does not count, but takes its caches. A look through what waits costs far more. */
const CPU_MARGIN = 3;

describe("a member of a pool that falls far behind", () => {
  it("costs the others nothing, takes no memory, and loses by its own limit alone", async () => {
    const payloads = Array.from({ length: 100 }, (_, i) => ({ sensor: `boiler ${i % 7}`, celsius: i / 10, ok: true }));

    const figures = await poolLag({
      folder: join(tempFolder(), "queues"),
      records: RECORDS,
      limit: LIMIT,
      payloads,
      pacedMs: 300,
    });

    assert.deepEqual(violationsOf(figures, LIMIT), []);
    const { earlyCpuUs, lateCpuUs } = figures;
    assert.ok(lateCpuUs < earlyCpuUs * CPU_MARGIN, `${earlyCpuUs} us for each at first, ${lateCpuUs} far behind`);
  });
});
