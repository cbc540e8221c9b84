/**
 * A process with a small heap whose link fails in every way: run by `behind-faults.test.ts`. Arguments: folder, the
 * server's URL. Tells its parent when it has delivered once, sends what it has to send, tells that, too, and waits to hear
 * that the link is well again. Then it delivers all, and tells how much memory it used at most.
 */
import { once } from "node:events";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { checkElasticsearchOptions } from "../../src/targets/elasticsearch/options.js";
import { ElasticsearchTarget } from "../../src/targets/elasticsearch/target.js";

export interface Told {
  readonly grown: number;
  /** Of records, as the runtime counts them: the most at any time, and what it may be. */
  readonly used: number;
  readonly memoryBytes: number;
  readonly waited: number;
  readonly delivered: number;
  readonly dropped: number;
  readonly refused: number;
}

const COUNT = 100_000;
const TEXT = "x".repeat(200);
const LOOK_MS = 20;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function run(folder: string, url: string): Promise<void> {
  const flush = DEFAULT_FLUSH;
  const runtime = await Runtime.open({ folder, flush });
  const connection = { nodes: url, requestTimeoutMs: 1_000 };
  const target = new ElasticsearchTarget(checkElasticsearchOptions({ connection, index: "readings" }));
  const exporter = await runtime.openExporter({ id: "a", target, flush });
  let refused = 0;
  const send = (n: number): void =>
    exporter.send({ n, text: TEXT }, {}, (error) => (error === undefined ? undefined : refused++));
  const untilDelivered = async (): Promise<void> => {
    while (exporter.status().waiting > 0) await pause(LOOK_MS);
  };
  send(0);
  await untilDelivered();
  global.gc?.();
  let most = 0;
  let used = 0;
  const look = (): void => {
    most = Math.max(most, process.memoryUsage.rss());
    used = Math.max(used, runtime.used.memoryBytes);
  };
  look();
  const base = most;
  const looking = setInterval(look, LOOK_MS);
  process.send!("warm");
  const healed = once(process, "message");
  for (let n = 1; n < COUNT; n++) {
    send(n);
    if (n % 1_000 === 0) await pause(LOOK_MS);
  }
  const waited = exporter.status().waiting;
  process.send!("sent");
  await healed;
  exporter.resume();
  await untilDelivered();
  clearInterval(looking);
  const { delivered, dropped } = exporter.status();
  const { memoryBytes } = runtime.budgets;
  await runtime.close();
  const told: Told = { grown: most - base, used, memoryBytes, waited, delivered, dropped, refused };
  process.send!(told);
  process.disconnect();
}

const [folder, url] = process.argv.slice(2) as [string, string];
void run(folder, url);
