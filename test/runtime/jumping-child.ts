/**
 * A process whose wall clock is set by a file that libfaketime reads: run by `clock-jumps.test.ts`, which says where the
 * folder and that file are. Says in the end what it has seen, as JSON.
 */
import { existsSync, writeFileSync } from "node:fs";
import { type Clock, systemClock, WallWatch } from "../../src/clock.js";
import type { LogRecord } from "../../src/record.js";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { awayTarget } from "../support/store-rig.js";

const [folder, timeFile] = process.argv.slice(2) as [string, string];
/** Ten minutes of an even clock are too long for a test: a time server says when it has set the clock, by this file. */
const setFile = `${timeFile}.set`;
const watch = new WallWatch(() => existsSync(setFile));
const clock: Clock = {
  elapsedMs: () => systemClock.elapsedMs(),
  wallMs: () => systemClock.wallMs(),
  after: (ms, then) => systemClock.after(ms, then),
  bootId: systemClock.bootId,
  get isWallTrusted() {
    return watch.look(systemClock.elapsedMs(), systemClock.wallMs());
  },
};

/** What is printed. */
export interface Found {
  readonly wroteAfterMs: readonly number[];
  /** What waited for each exporter before the clock was set for good. */
  readonly kept: readonly number[];
  readonly walls: readonly number[];
  /** What the one whose target is away has, after that. */
  readonly seen: readonly Seen[];
  /** Of the one that waits for the clock: what it had sent before, and in all. */
  readonly sentTooEarly: number;
  readonly delivered: readonly Seen[];
}

function until(holds: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => void (holds() ? resolve() : setTimeout(look, 10));
    look();
  });
}

interface Seen {
  readonly n: number;
  readonly acceptedAtMs: number;
  readonly isDoubtful: boolean;
}

function seenOf({ bytes, acceptedAtMs, isTimeDoubtful }: LogRecord): Seen {
  return { n: JSON.parse(bytes.toString()) as number, acceptedAtMs, isDoubtful: isTimeDoubtful === true };
}

/** Notes what arrives. */
class Witness extends ScriptedTarget {
  readonly seen: Seen[] = [];
  override store(records: readonly LogRecord[]) {
    this.seen.push(...records.map(seenOf));
    return super.store(records);
  }
}

async function run(): Promise<void> {
  const runtime = await Runtime.open({ folder, flush: DEFAULT_FLUSH, clock });
  const flush = { ...DEFAULT_FLUSH, backlogAgeMs: 3_600_000 };
  const exporter = await runtime.openExporter({ id: "a", target: awayTarget(), flush });
  const { log } = exporter.queue;
  const witness = new Witness();
  const waiting = await runtime.openExporter({ id: "b", target: witness, flush: { ...flush, waitForClock: true } });
  const wroteAfterMs: number[] = [];
  const walls: number[] = [];
  for (const [n, time] of ["@1970-01-01 00:01:00", "@2099-01-01 00:00:00", "@1999-01-01 00:00:00", "+0"].entries()) {
    writeFileSync(timeFile, `${time}\n`);
    walls.push(clock.wallMs());
    const since = clock.elapsedMs();
    exporter.send(n, {}, () => undefined);
    waiting.send(n, {}, () => undefined);
    await until(() => log.unwrittenBytes === 0);
    wroteAfterMs.push(clock.elapsedMs() - since);
  }
  const kept = [exporter.status().waiting, waiting.status().waiting];
  const sentTooEarly = witness.seen.length;
  writeFileSync(setFile, "");
  await until(() => witness.seen.length === walls.length);
  await new Promise((resolve) => setTimeout(resolve, 1_100)); // a log asks once a second
  const seen: Seen[] = [];
  for await (const record of exporter.queue.consumer("a").unconfirmed()) seen.push(seenOf(record));
  await runtime.close();
  process.stdout.write(
    JSON.stringify({ wroteAfterMs, kept, walls, seen, sentTooEarly, delivered: witness.seen } satisfies Found),
  );
}

void run();
