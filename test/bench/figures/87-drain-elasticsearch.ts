/** A backlog on its way into Elasticsearch, beside the client's own bulk helper over the same objects in memory. */
import { rmSync } from "node:fs";
import { Client } from "@elastic/elasticsearch";
import { startElasticsearch, stopElasticsearch } from "../../servers/elasticsearch.js";
import { AwayTarget, benchFolder, engine, openEngine, sendAll } from "../engine.js";
import { atLeast, atMost, type Figure, type Measured } from "../figure.js";
import { compare, median, perSecond, rateUntil } from "../measure.js";
import { readings100 } from "../readings.js";

const COUNT = 100_000;

async function drainElasticsearch(): Promise<Measured[]> {
  const server = await startElasticsearch("9.5.3", { security: false });
  const node = server.url.href;
  const client = new Client({ node });
  let run = 0;
  const cpu: [number[], number[]] = [[], []];
  const timed = async (side: 0 | 1, work: () => Promise<void>): Promise<number> => {
    const before = process.cpuUsage();
    const rate = await rateUntil(COUNT, work);
    const { user, system } = process.cpuUsage(before);
    cpu[side].push(user + system);
    return rate;
  };
  const drain = async (): Promise<number> => {
    const folder = benchFolder();
    const filled = await openEngine({ target: new AwayTarget(), folder, flush: { overflow: "refuse" } });
    await sendAll(filled.exporter, readings100(), COUNT);
    await filled.close();
    const settings = engine.checkElasticsearchOptions({ connection: { nodes: node }, index: `ours${run++}` });
    const rate = await timed(0, async () => {
      const { delivered, close } = await openEngine({
        target: new engine.ElasticsearchTarget(settings),
        folder,
      });
      await delivered();
      await close();
    });
    rmSync(folder, { recursive: true });
    return rate;
  };
  const helper = async (): Promise<number> => {
    const payloads = readings100();
    const datasource = Array.from({ length: COUNT }, (_, i) => ({ ...payloads[i % payloads.length] }));
    const index = `theirs${run++}`;
    return timed(1, async () => {
      await client.helpers.bulk({ datasource, onDocument: () => ({ create: { _index: index } }) });
    });
  };
  try {
    const { rates, ratios } = await compare([drain, helper], 5, 1);
    const peer = `helpers.bulk with its defaults: ${perSecond(rates[1]!)}, here ${perSecond(rates[0]!)}`;
    // The first of each is the warm-up.
    const [ours, theirs] = cpu.map((times) => median(times.slice(1)) / COUNT) as [number, number];
    const cpuPeer = `CPU of our process per record: helpers.bulk ${theirs.toFixed(1)} us, here ${ours.toFixed(1)} us`;
    return [atLeast(ratios[1]!, 1, "x", peer), atMost(ours / theirs, 0.3, "x CPU", cpuPeer)];
  } finally {
    await client.close();
    await stopElasticsearch();
  }
}

export const figures: readonly Figure[] = [
  { name: "drain-elasticsearch", what: `drains ${COUNT} records to Elasticsearch 9.5`, measure: drainElasticsearch },
];
