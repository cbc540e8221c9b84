/** Records that count as accepted only when they survive a power cut: concurrent ones share a sync. */
import { AwayTarget, openEngine } from "../engine.js";
import { atLeast, type Figure, type Measured, skipped } from "../figure.js";
import { compare, perSecond, rateUntil } from "../measure.js";
import { sqliteOrReason } from "../peers/sqlite.js";
import { readings1k } from "../readings.js";

const IN_FLIGHT = 256;
const REACH = 20;
const ROUTING = {};

async function everyMessage(): Promise<Measured[]> {
  const readings = readings1k();
  const peer = await sqliteOrReason("FULL", readings);
  if ("why" in peer) return [skipped("x", `>= ${REACH}`, peer.why)];
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
  const { rates, ratios } = await compare([senders, () => peer.sqlite.insert(300)], 5, 2);
  await close();
  peer.sqlite.close();
  const beside = `SQLite, WAL, FULL, a row each: ${perSecond(rates[1]!)}, here ${perSecond(rates[0]!)}`;
  return [atLeast(ratios[1]!, REACH, "x", beside)];
}

export const figures: readonly Figure[] = [
  {
    name: "every-message",
    what: `1 KiB records synced one by one, ${IN_FLIGHT} in flight`,
    limitS: 120,
    measure: everyMessage,
  },
];
