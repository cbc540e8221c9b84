/** Records that count as accepted only when they survive a power cut: concurrent ones share a sync. */
import { AwayTarget, openEngine } from "../engine.js";
import { atLeast, type Figure, type Measured, skipped } from "../figure.js";
import { compare, type Compared, perSecond, rateUntil, type Side } from "../measure.js";
import { buildPersistentQueue, persistentQueueOrReason } from "../peers/persistent-queue.js";
import { sqliteOrReason } from "../peers/sqlite.js";
import { readings1k } from "../readings.js";

const IN_FLIGHT = 256;
const REACH = 20;
const ROUTING = {};

async function everyMessage(): Promise<Measured[]> {
  const readings = readings1k();
  const sqlite = await sqliteOrReason("FULL", readings);
  const queue = await persistentQueueOrReason(readings);
  const { exporter, close } = await openEngine({ target: new AwayTarget(), flush: { durability: "everyMessage" } });
  const count = 40_000;
  /** So many senders, each sending its next when the one before is safe. */
  const senders = (): Promise<number> =>
    rateUntil(count, () => {
      return new Promise((resolve, reject) => {
        let sent = 0;
        let safe = 0;
        const next = (): void => {
          if (sent >= count) return;
          exporter.send(readings[sent++ % readings.length], ROUTING, (error) => {
            if (error !== undefined) return reject(error);
            if (++safe === count) resolve();
            else next();
          });
        };
        for (let i = 0; i < IN_FLIGHT; i++) next();
      });
    });
  const sides: Side[] = [senders];
  /** Adds the peer, and returns how to tell of it. */
  const beside = (name: string, insert: Side | undefined, why = ""): ((found: Compared) => Measured) => {
    if (insert === undefined) return () => skipped("x", `>= ${REACH}`, why);
    const i = sides.push(insert) - 1;
    return ({ rates, ratios }) =>
      atLeast(ratios[i]!, REACH, "x", `${name}: ${perSecond(rates[i]!)}, here ${perSecond(rates[0]!)}`);
  };
  const rows = [
    "why" in sqlite
      ? beside("", undefined, sqlite.why)
      : beside("SQLite, WAL, FULL, a row each", () => sqlite.sqlite.insert(300)),
    "why" in queue
      ? beside("", undefined, queue.why)
      : beside("node-persistent-queue, a job each", () => queue.queue.insert(100)),
  ];
  const compared = await compare(sides, 5, 2);
  await close();
  if ("sqlite" in sqlite) sqlite.sqlite.close();
  if ("queue" in queue) queue.queue.close();
  return rows.map((row) => row(compared));
}

export const figures: readonly Figure[] = [
  {
    name: "every-message",
    what: `1 KiB records synced one by one, ${IN_FLIGHT} in flight`,
    limitS: 120,
    prepare: buildPersistentQueue,
    measure: everyMessage,
  },
];
