/** A backlog on its way into a file, beside writing the same bytes. */
import { rmSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { AwayTarget, benchFolder, engine, openEngine, sendAll } from "../engine.js";
import { atLeast, type Figure, type Measured } from "../figure.js";
import { compare, perSecond, rateUntil } from "../measure.js";
import { readings100 } from "../readings.js";

const COUNT = 500_000;
const PIECE_BYTES = 64 * 1024;

async function drainFile(): Promise<Measured[]> {
  const files = benchFolder();
  const [ours, theirs] = [join(files, "ours.jsonl"), join(files, "theirs.jsonl")];
  const drain = async (): Promise<number> => {
    const folder = benchFolder();
    const filled = await openEngine({ target: new AwayTarget(), folder, flush: { overflow: "refuse" } });
    await sendAll(filled.exporter, readings100(), COUNT);
    await filled.close();
    rmSync(ours, { force: true });
    const rate = await rateUntil(COUNT, async () => {
      const { delivered, close } = await openEngine({ target: new engine.FileTarget({ file: ours }), folder });
      await delivered();
      await close(); // syncs the file
    });
    rmSync(folder, { recursive: true });
    return rate;
  };
  let bytes: Buffer | undefined;
  const write = async (): Promise<number> => {
    const all = (bytes ??= await readFile(ours));
    rmSync(theirs, { force: true });
    return rateUntil(COUNT, async () => {
      const file = await open(theirs, "a");
      for (let at = 0; at < all.length; at += PIECE_BYTES) await file.write(all.subarray(at, at + PIECE_BYTES));
      await file.datasync();
      await file.close();
    });
  };
  const { rates, ratios } = await compare([drain, write], 5, 1);
  const peer = `the same lines, 64 KiB at a time, then fdatasync: ${perSecond(rates[1]!)}, here ${perSecond(rates[0]!)}`;
  return [atLeast(ratios[1]!, 0.5, "x", peer)];
}

export const figures: readonly Figure[] = [
  { name: "drain-file", what: `opens with ${COUNT} records queued and drains them to a file`, measure: drainFile },
];
