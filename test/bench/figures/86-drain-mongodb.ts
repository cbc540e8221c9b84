/**
 * A backlog on its way into MongoDB, beside a loop of insertMany over the same objects in memory. The server is FerretDB,
 * which is not mongod; `MONGODB_URL` names another.
 */
import { rmSync } from "node:fs";
import { MongoClient } from "mongodb";
import { MongoServer } from "../../servers/mongodb.js";
import { AwayTarget, benchFolder, engine, openEngine, sendAll } from "../engine.js";
import { atLeast, type Figure, type Measured } from "../figure.js";
import { compare, perSecond, rateUntil } from "../measure.js";
import { readings100 } from "../readings.js";

const COUNT = 200_000;
const BATCH = 1_000;

async function drainMongodb(): Promise<Measured[]> {
  const given = process.env["MONGODB_URL"];
  const server = given === undefined ? await MongoServer.make() : undefined;
  await server?.start();
  const uri = given ?? server!.url;
  const client = await new MongoClient(uri).connect();
  const database = client.db("bench");
  let run = 0;
  const drain = async (): Promise<number> => {
    const folder = benchFolder();
    const filled = await openEngine({ target: new AwayTarget(), folder, flush: { overflow: "refuse" } });
    await sendAll(filled.exporter, readings100(), COUNT);
    await filled.close();
    const options = { connection: { uri }, database: "bench", collection: `ours${run++}` };
    const rate = await rateUntil(COUNT, async () => {
      const target = new engine.MongoTarget(engine.checkMongoOptions(options));
      const { delivered, close } = await openEngine({ target, folder });
      await delivered();
      await close();
    });
    rmSync(folder, { recursive: true });
    return rate;
  };
  const loop = async (): Promise<number> => {
    const payloads = readings100();
    const objects = Array.from({ length: COUNT }, (_, i) => ({ ...payloads[i % payloads.length] }));
    const collection = database.collection(`theirs${run++}`);
    return rateUntil(COUNT, async () => {
      for (let at = 0; at < COUNT; at += BATCH) {
        await collection.insertMany(objects.slice(at, at + BATCH), { ordered: false });
      }
    });
  };
  try {
    const { rates, ratios } = await compare([drain, loop], 5, 1);
    const which = given === undefined ? "FerretDB (not mongod)" : "the given server";
    const peer = `insertMany of ${BATCH} in a loop, ${which}: ${perSecond(rates[1]!)}, here ${perSecond(rates[0]!)}`;
    return [atLeast(ratios[1]!, 0.95, "x", peer)];
  } finally {
    await database.dropDatabase();
    await client.close();
    await server?.remove();
  }
}

export const figures: readonly Figure[] = [
  { name: "drain-mongodb", what: `drains ${COUNT} records to MongoDB`, measure: drainMongodb },
];
