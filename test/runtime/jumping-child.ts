/**
 * A process whose wall clock is set by a file that libfaketime reads: run by `clock-jumps.test.ts`, which says where the
 * folder and that file are. Says in the end what it has seen, as JSON.
 */
import { writeFileSync } from "node:fs";
import { type Clock, systemClock } from "../../src/clock.js";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { awayTarget } from "../support/store-rig.js";

const [folder, timeFile] = process.argv.slice(2) as [string, string];
/** Ten minutes of an even clock are too long for a test: it says itself when the clock can be trusted. */
let isTrusted = false;
const clock: Clock = {
  elapsedMs: () => systemClock.elapsedMs(),
  wallMs: () => systemClock.wallMs(),
  after: (ms, then) => systemClock.after(ms, then),
  bootId: systemClock.bootId,
  get isWallTrusted() {
    return isTrusted;
  },
};

function until(holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => void (holds() ? resolve() : setTimeout(look, 10));
    look();
  });
}

async function run(): Promise<void> {
  const runtime = await Runtime.open({ folder, flush: DEFAULT_FLUSH, clock });
  const flush = { ...DEFAULT_FLUSH, backlogAgeMs: 3_600_000 };
  const exporter = await runtime.openExporter({ id: "a", target: awayTarget(), flush });
  const { log } = exporter.queue;
  const wroteAfterMs: number[] = [];
  const walls: number[] = [];
  for (const [n, time] of ["@1970-01-01 00:01:00", "@2099-01-01 00:00:00", "@1999-01-01 00:00:00", "+0"].entries()) {
    writeFileSync(timeFile, `${time}\n`);
    walls.push(clock.wallMs());
    const since = clock.elapsedMs();
    exporter.send(n, {}, () => undefined);
    await until(() => log.unwrittenBytes === 0);
    wroteAfterMs.push(clock.elapsedMs() - since);
  }
  const { waiting } = exporter.status();
  isTrusted = true;
  await new Promise((resolve) => setTimeout(resolve, 1_100)); // the log asks once a second
  const seen: { n: number; acceptedAtMs: number }[] = [];
  for await (const { bytes, acceptedAtMs } of exporter.queue.consumer("a").unconfirmed()) {
    seen.push({ n: JSON.parse(bytes.toString()) as number, acceptedAtMs });
  }
  await runtime.close();
  process.stdout.write(JSON.stringify({ wroteAfterMs, waiting, walls, seen }));
}

void run();
