/** One member of a pool is away and falls far behind. Ten millions of records: `npm run soak -- --pool-lag 10000000`. */
import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type LagFigures, type LagOptions, violationsOf } from "../soak/pool-lag.js";
import { tempFolder } from "../support/temp-folder.js";

const RECORDS = 200_000;
const LIMIT = 150_000;
/** CPU time, not the clock: other work on the machine does not count, but takes its caches. */
const CPU_MARGIN = 2;

describe("a member of a pool that falls far behind", () => {
  it("costs the others nothing, takes no memory, and loses by its own limit alone", async () => {
    const payloads = Array.from({ length: 100 }, (_, i) => ({ sensor: `boiler ${i % 7}`, celsius: i / 10, ok: true }));

    const figures = await lagOf({
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

async function lagOf(options: LagOptions): Promise<LagFigures> {
  const child = fork(join(__dirname, "pool-lag-child.ts"), { execArgv: ["--import", "tsx"] });
  const ended = once(child, "exit").then(([code]) => assert.fail(`it ended with ${String(code)}`));
  child.send(options);
  const [figures] = (await Promise.race([once(child, "message"), ended])) as [LagFigures];
  if (child.exitCode === null) await once(child, "exit");
  return figures;
}
