/**
 * A process that has records in memory and ends without closing anything: run by `exit.test.ts`.
 * Arguments: folder, how it ends, how many records.
 */
import { awayTarget } from "../support/store-rig.js";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";

const [folder, how, count] = process.argv.slice(2) as [string, string, string];
const records = Number(count);

async function run(): Promise<void> {
  const runtime = await Runtime.open({ folder, flush: DEFAULT_FLUSH });
  const durability = how === "memory" ? "memory" : "interval";
  // Far longer than the process lives: what is on disk afterwards was written at its end.
  const flush = { ...DEFAULT_FLUSH, durability, writeIntervalMs: 600_000 } as const;
  const exporter = await runtime.openExporter({ id: "a", target: awayTarget(), flush });
  const send = (from: number, to: number): void => {
    for (let n = from; n < to; n++) exporter.send({ n, text: `${n}`.repeat(20) }, {}, () => undefined);
  };
  switch (how) {
    case "throws":
      send(0, records);
      setImmediate(() => {
        throw new Error("a mistake in another node");
      });
      return;
    case "rejects":
      send(0, records);
      void Promise.reject(new Error("a promise of another node"));
      return;
    case "exits":
    case "memory":
      send(0, records);
      process.exit(3);
      break;
    case "in-a-round": {
      // Rounds are under way in the thread pool while the process ends, at one moment or another.
      send(0, records / 2);
      const round = exporter.queue.log.sync();
      send(records / 2, records);
      if (Number(process.argv[5]) > 0) await new Promise((resolve) => setTimeout(resolve, Number(process.argv[5])));
      void round;
      process.exit(3);
      break;
    }
    case "in-a-close":
      send(0, records);
      // Its last step alone, or all of it.
      void (Number(process.argv[5]) === 0 ? exporter.queue.close() : runtime.close());
      await new Promise((resolve) => setImmediate(resolve));
      if (Number(process.argv[5]) > 0) await new Promise((resolve) => setTimeout(resolve, Number(process.argv[5])));
      process.exit(3);
      break;
    default:
      throw new Error(`unknown end: ${how}`);
  }
}

void run();
