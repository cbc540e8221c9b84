/** Processes that end with records in memory, without closing anything: all of them are there in the next life. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { awayTarget } from "../support/store-rig.js";
import { tempFolder } from "../support/temp-folder.js";

const RECORDS = 20_000;
/** So few that no round is due before the close. */
const FEW = 5_000;

async function lifeAndEnd(folder: string, how: string, ...rest: (string | number)[]): Promise<string> {
  const args = ["--import", "tsx", join(__dirname, "ending-child.ts"), folder, how, ...rest.map(String)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const [code] = (await once(child, "close")) as [number];
  assert.notEqual(code, 0, said);
  return said;
}

async function numbersIn(folder: string): Promise<number[]> {
  const runtime = await Runtime.open({ folder, flush: DEFAULT_FLUSH });
  const exporter = await runtime.openExporter({ id: "a", target: awayTarget(), flush: DEFAULT_FLUSH });
  const numbers: number[] = [];
  for await (const { bytes } of exporter.queue.consumer("a").unconfirmed()) {
    numbers.push((JSON.parse(bytes.toString()) as { n: number }).n);
  }
  assert.equal(exporter.status().waiting, numbers.length);
  await runtime.close();
  return numbers;
}

describe("a process that ends with records in memory", () => {
  let folder: string;

  beforeEach(() => {
    folder = join(tempFolder(), "queues");
  });

  async function assertAll(records = RECORDS): Promise<void> {
    assert.deepEqual(
      await numbersIn(folder),
      Array.from({ length: records }, (_, n) => n),
    );
  }

  it("loses none when another node throws", async () => {
    const said = await lifeAndEnd(folder, "throws", RECORDS);

    assert.match(said, /a mistake in another node/);
    await assertAll();
  });

  it("loses none when a promise of another node is rejected and nobody hears it", async () => {
    await lifeAndEnd(folder, "rejects", RECORDS);

    await assertAll();
  });

  it("loses none when somebody calls process.exit", async () => {
    await lifeAndEnd(folder, "exits", RECORDS);

    await assertAll();
  });

  it("loses and doubles none though a round was under way, at whatever step", async () => {
    for (const waitMs of [0, 1, 3, 10, 40]) {
      folder = join(tempFolder(), "queues");
      await lifeAndEnd(folder, "in-a-round", RECORDS, waitMs);

      await assertAll();
    }
  });

  it("loses none though the runtime was just being closed", async () => {
    for (const waitMs of [0, 2, 8]) {
      folder = join(tempFolder(), "queues");
      await lifeAndEnd(folder, "in-a-close", FEW, waitMs);

      await assertAll(FEW);
    }
  });

  it("loses them where the user wants them in memory only", async () => {
    await lifeAndEnd(folder, "memory", RECORDS);

    assert.deepEqual(await numbersIn(folder), []);
    assert.deepEqual(readdirSync(folder).sort(), ["queue.id"]);
  });
});
