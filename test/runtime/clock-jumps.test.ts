/** A wall clock that is wrong, is set, jumps: nothing is deleted, order and durations hold, times are right in the end. */
import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { LogRecord } from "../../src/record.js";
import { FakeClock } from "../support/fake-clock.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { SimDisk } from "../support/sim-disk.js";
import { skipBecause } from "../support/skip.js";
import { send, StoreRig } from "../support/store-rig.js";
import { tempFolder } from "../support/temp-folder.js";
import type { Found } from "./jumping-child.js";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const RIGHT_MS = Date.UTC(2026, 10, 24, 12);

/** A board without a battery: it begins in 1970, and knows it. */
function wrongClock(boot = 1): FakeClock {
  const clock = new FakeClock(1_000);
  clock.isWallTrusted = false;
  clock.bootId.fill(boot);
  return clock;
}

/** A time server sets the clock, and it runs evenly from then on. */
async function setRight(clock: FakeClock): Promise<void> {
  clock.setWall(RIGHT_MS);
  await clock.advance(11 * 60_000);
  clock.isWallTrusted = true;
}

class Witness extends ScriptedTarget {
  readonly seen: {
    readonly n: number;
    readonly acceptedAtMs: number;
    readonly id: string;
    readonly isDoubtful: boolean | undefined;
  }[] = [];

  override store(records: readonly LogRecord[]) {
    for (const { bytes, acceptedAtMs, id, isTimeDoubtful: isDoubtful } of records) {
      this.seen.push({ n: JSON.parse(bytes.toString()) as number, acceptedAtMs, id: id.toString("hex"), isDoubtful });
    }
    return super.store(records);
  }
}

function awayWitness(): Witness {
  const target = new Witness();
  target.isUp = false;
  return target;
}

describe("a clock that jumps", () => {
  let disk: SimDisk;

  beforeEach(() => {
    disk = new SimDisk();
  });

  it("has the times of acceptance corrected once it can be trusted, before the first delivery", async () => {
    const clock = wrongClock();
    const rig = new StoreRig({ clock, files: disk });
    const target = awayWitness();
    const { exporter } = await rig.exporter("a", {}, { target });
    send(exporter, 1);
    await clock.advance(2 * HOUR_MS);
    send(exporter, 2);

    await setRight(clock);
    target.isUp = true;
    await clock.advanceUntil(() => target.seen.length === 2);

    assert.ok(Math.abs(target.seen[0]!.acceptedAtMs - (RIGHT_MS - 2 * HOUR_MS)) < 1_000);
    assert.ok(Math.abs(target.seen[1]!.acceptedAtMs - RIGHT_MS) < 1_000);
    await rig.close();
  });

  it("has them corrected by a later process of the same boot, and not by one of another", async () => {
    for (const [boot, isCorrected] of [
      [1, true],
      [2, false],
    ] as const) {
      disk = new SimDisk();
      const clock = wrongClock();
      const rig = new StoreRig({ clock, files: disk });
      send((await rig.exporter("a")).exporter, 1);
      await rig.close();
      clock.bootId.fill(boot);
      const next = new StoreRig({ clock, files: disk });
      const target = awayWitness();
      await next.exporter("a", {}, { target });

      await setRight(clock);
      target.isUp = true;
      await clock.advanceUntil(() => target.seen.length === 1);

      const { acceptedAtMs } = target.seen[0]!;
      assert.equal(Math.abs(acceptedAtMs - RIGHT_MS) < 60_000, isCorrected, `${new Date(acceptedAtMs).toISOString()}`);
      await next.close();
    }
  });

  it("marks exactly those whose time nothing could correct or confirm, in whatever life they are delivered", async () => {
    /** A board that boots with the time of its last shutdown: plausible, and three days behind. */
    const behind = (): FakeClock => {
      const clock = new FakeClock(RIGHT_MS - 3 * DAY_MS);
      clock.isWallTrusted = false;
      clock.bootId.fill(1);
      return clock;
    };
    const cases: readonly (readonly [string, FakeClock, boolean, (clock: FakeClock) => void | Promise<void>])[] = [
      ["a clock that was right", new FakeClock(RIGHT_MS), false, () => undefined],
      ["one that was right, after a reboot", new FakeClock(RIGHT_MS), false, (clock) => void clock.bootId.fill(2)],
      ["one that could not be trusted and cannot be yet", behind(), true, () => undefined],
      ["one that was corrected in the same boot", behind(), false, setRight],
      [
        "one that proves to have been right in the same boot",
        behind(),
        false,
        (clock) => {
          clock.isWallTrusted = true;
        },
      ],
      [
        "one that was never set before a reboot",
        behind(),
        true,
        async (clock) => {
          clock.bootId.fill(2);
          await setRight(clock);
        },
      ],
    ];
    for (const [what, clock, isDoubtful, meanwhile] of cases) {
      for (const restarts of [false, true]) {
        if (!restarts && what.includes("reboot")) continue;
        const life = new StoreRig({ clock, files: (disk = new SimDisk()) });
        const [wasTrusted, boot] = [clock.isWallTrusted, clock.bootId[0]!];
        const target = awayWitness();
        const { exporter } = await life.exporter("a", {}, { target });
        send(exporter, 1);
        await clock.advance(2_000);
        if (restarts) await life.close();
        await meanwhile(clock);
        const next = restarts ? new StoreRig({ clock, files: disk }) : life;
        if (restarts) await next.exporter("a", {}, { target });
        target.isUp = true;
        await clock.advanceUntil(() => target.seen.length === 1);

        assert.equal(target.seen[0]!.isDoubtful, isDoubtful, `${what}${restarts ? ", by the next process" : ""}`);
        await next.close();
        clock.isWallTrusted = wasTrusted;
        clock.bootId.fill(boot);
      }
    }
  });

  it("marks them still when they were rejected and are sent again", async () => {
    const clock = wrongClock();
    const rig = new StoreRig({ clock, files: disk });
    const target = new Witness();
    target.script = (batch) => ({
      outcomes: batch.map(() => ({ kind: "rejected", cause: { code: "no", message: "not now" } })),
    });
    const { exporter } = await rig.exporter("a", {}, { target });
    send(exporter, 1);
    await clock.advanceUntil(() => exporter.status().deadLetters === 1);
    clock.bootId.fill(2);
    target.script = undefined;

    const requeued = exporter.member.requeue({});
    await clock.advanceUntil(() => exporter.status().delivered === 1);

    assert.equal(await requeued, 1);
    assert.equal(target.seen.at(-1)!.isDoubtful, true);
    await rig.close();
  });

  it("leaves ids as they were: another id would be another record to the target", async () => {
    const clock = wrongClock();
    const rig = new StoreRig({ clock, files: disk });
    const target = awayWitness();
    const { exporter } = await rig.exporter("a", {}, { target });
    send(exporter, 1);
    const before: string[] = [];
    for await (const { id } of exporter.queue.consumer("a").unconfirmed()) before.push(id.toString("hex"));

    await setRight(clock);
    target.isUp = true;
    await clock.advanceUntil(() => target.seen.length === 1);

    assert.deepEqual(
      target.seen.map(({ id }) => id),
      before,
    );
    await rig.close();
  });

  it("does not touch a time that was right by a few seconds' drift", async () => {
    const clock = new FakeClock(RIGHT_MS);
    const rig = new StoreRig({ clock, files: disk });
    const target = awayWitness();
    const { exporter } = await rig.exporter("a", {}, { target });
    send(exporter, 1);
    await clock.advance(DAY_MS);
    clock.setWall(clock.wallMs() + 5_000);

    target.isUp = true;
    await clock.advanceUntil(() => target.seen.length === 1);

    assert.equal(target.seen[0]!.acceptedAtMs, RIGHT_MS);
    await rig.close();
  });

  it("keeps the order of acceptance, and the intervals, however far it jumps", async () => {
    const clock = new FakeClock(RIGHT_MS);
    const rig = new StoreRig({ clock, files: disk });
    const target = awayWitness();
    const { exporter } = await rig.exporter("a", { backlogAgeMs: 10 * 60_000 }, { target });
    let n = 0;
    for (const wallMs of [RIGHT_MS + 50 * 365 * DAY_MS, 0, RIGHT_MS - DAY_MS, RIGHT_MS + DAY_MS, RIGHT_MS]) {
      clock.setWall(wallMs);
      clock.isWallTrusted = false;
      for (let i = 0; i < 10; i++) send(exporter, n++);
      await clock.advance(1_050);
      assert.equal(exporter.queue.log.unwrittenBytes, 0, "written within a second, whatever the wall says");
      await clock.advance(20_000);
    }
    assert.equal(exporter.status().waiting, 50, "nothing is that old");

    target.isUp = true;
    await clock.advanceUntil(() => target.seen.length === 50);

    assert.deepEqual(
      target.seen.map((seen) => seen.n),
      Array.from({ length: 50 }, (_, i) => i),
    );
    await rig.close();
  });

  describe("where the user wants to wait for it", () => {
    const flush = { waitForClock: true };

    it("is waited for by what is sent, not by those who send, and says so", async () => {
      const clock = wrongClock();
      const rig = new StoreRig({ clock, files: disk });
      const target = new Witness();
      const { exporter } = await rig.exporter("a", flush, { target });

      const sent = send(exporter, 1);
      await clock.advance(HOUR_MS);

      assert.deepEqual([sent.isDone, sent.error], [true, undefined]);
      assert.equal(target.seen.length, 0);
      const { waiting, problem, circuit } = exporter.status();
      assert.deepEqual([waiting, problem?.code, problem?.configuration, circuit], [1, "clock", false, "closed"]);
      assert.equal((await exporter.flush()).end, "stopped", "nor does a flush send what has no right time");
      await rig.close();
    });

    it("is noticed within a second when it is right, and then everything leaves with the right time", async () => {
      const clock = wrongClock();
      const rig = new StoreRig({ clock, files: disk });
      const target = new Witness();
      const { exporter } = await rig.exporter("a", flush, { target });
      send(exporter, 1);
      await clock.advance(HOUR_MS);
      send(exporter, 2);
      clock.setWall(RIGHT_MS);
      clock.isWallTrusted = true;

      await clock.advance(2_000);

      const [first, second] = target.seen;
      assert.ok(
        Math.abs(first!.acceptedAtMs - (RIGHT_MS - HOUR_MS)) < 2_000,
        new Date(first!.acceptedAtMs).toISOString(),
      );
      assert.ok(Math.abs(second!.acceptedAtMs - RIGHT_MS) < 2_000, new Date(second!.acceptedAtMs).toISOString());
      assert.equal(exporter.status().problem, undefined);
      await rig.close();
    });

    it("is waited for again when it jumps while records are on their way", async () => {
      const clock = new FakeClock(RIGHT_MS);
      const rig = new StoreRig({ clock, files: disk });
      const target = new Witness();
      const { exporter } = await rig.exporter("a", flush, { target });
      send(exporter, 1);
      await clock.advance(1_000);
      clock.isWallTrusted = false;
      send(exporter, 2);
      await clock.advance(HOUR_MS);
      assert.deepEqual(
        target.seen.map(({ n }) => n),
        [1],
      );

      clock.isWallTrusted = true;
      await clock.advance(2_000);

      assert.deepEqual(
        target.seen.map(({ n }) => n),
        [1, 2],
      );
      await rig.close();
    });

    it("is noticed whenever it becomes right between two looks at it", async () => {
      for (let looks = 0; looks < 30; looks++) {
        const clock = wrongClock();
        const rig = new StoreRig({ clock, files: new SimDisk() });
        const { exporter } = await rig.exporter("a", flush, { target: new Witness() });
        send(exporter, 1);
        await clock.advance(500);
        let left = looks;
        Object.defineProperty(clock, "isWallTrusted", { get: () => left-- <= 0 });

        for (let second = 0; second < looks + 5; second++) await clock.advance(1_000);

        assert.equal(exporter.status().delivered, 1, `after ${looks} looks`);
        await rig.close();
      }
    });

    it("costs no timer once it can be trusted, and none where nobody waits for it", async () => {
      for (const [waitForClock, isWallTrusted] of [
        [true, true],
        [false, false],
      ] as const) {
        const clock = new FakeClock(RIGHT_MS);
        clock.isWallTrusted = isWallTrusted;
        const rig = new StoreRig({ clock, files: new SimDisk() });
        const { exporter } = await rig.exporter("a", { waitForClock }, { target: new Witness() });
        send(exporter, 1);
        await clock.advance(60_000);

        assert.equal(exporter.status().delivered, 1);
        assert.equal(clock.pendingTimers, 0);
        await rig.close();
      }
    });
  });

  describe("with a limit of age", () => {
    const flush = { backlogAgeMs: DAY_MS };

    async function waitingAfter(change: (clock: FakeClock) => Promise<void>, first = wrongClock()): Promise<number> {
      const rig = new StoreRig({ clock: first, files: disk });
      send((await rig.exporter("a", flush)).exporter, 1);
      await rig.close();
      await change(first);
      const next = new StoreRig({ clock: first, files: disk });
      const { exporter } = await next.exporter("a", flush);
      await first.advance(60_000);
      const { waiting } = exporter.status();
      await next.close();
      return waiting;
    }

    it("deletes nothing while the clock cannot be trusted, though it says that years have passed", async () => {
      const waiting = await waitingAfter(async (clock) => {
        clock.bootId.fill(2);
        clock.isWallTrusted = false;
        clock.setWall(RIGHT_MS + 5 * 365 * DAY_MS);
      }, new FakeClock(RIGHT_MS));

      assert.equal(waiting, 1);
    });

    it("deletes nothing of a boot that began in 1970, once a later boot knows the time", async () => {
      const waiting = await waitingAfter(async (clock) => {
        clock.bootId.fill(2);
        await setRight(clock);
      });

      assert.equal(waiting, 1);
    });

    it("deletes what is too old by the monotonic clock, though the wall was set back", async () => {
      const clock = new FakeClock(RIGHT_MS);
      const waiting = await waitingAfter(async () => {
        await clock.advance(DAY_MS + HOUR_MS);
        clock.setWall(RIGHT_MS - 10 * DAY_MS);
      }, clock);

      assert.equal(waiting, 0);
    });

    it("deletes what is too old after a reboot, when the clock was and is right", async () => {
      const clock = new FakeClock(RIGHT_MS);
      const waiting = await waitingAfter(async () => {
        clock.bootId.fill(2);
        await clock.advance(2 * DAY_MS);
      }, clock);

      assert.equal(waiting, 0);
    });
  });

  describe("with an age at which to give up", () => {
    const flush = { giveUpAfterMs: DAY_MS };

    /** A target that cannot be reached, or one that answers and always wants to be asked again. */
    const targets = {
      "is away": awayWitness,
      "puts everything off": () => {
        const target = new Witness();
        target.script = (batch) => ({ outcomes: batch.map(() => ({ kind: "retry", cause: new Error("later") })) });
        return target;
      },
    };
    for (const [what, made] of Object.entries(targets)) {
      it(`gives up nothing that has just come, though years have passed by the wall, while the target ${what}`, async () => {
        for (const isTrustedBefore of [false, true]) {
          disk = new SimDisk();
          const clock = isTrustedBefore ? new FakeClock(RIGHT_MS - 365 * DAY_MS) : wrongClock();
          const rig = new StoreRig({ clock, files: disk });
          const { exporter } = await rig.exporter("a", flush, { target: made() });
          send(exporter, 1);
          await clock.advance(HOUR_MS);

          clock.isWallTrusted = false;
          await setRight(clock);
          await clock.advance(HOUR_MS);
          assert.equal(exporter.status().deadLetters, 0);

          await clock.advance(DAY_MS);
          assert.equal(exporter.status().deadLetters, 1);
          await rig.close();
        }
      });
    }

    it("gives up nothing of an earlier life while the clock cannot be trusted, and what is too old once it can", async () => {
      const clock = new FakeClock(RIGHT_MS);
      const rig = new StoreRig({ clock, files: disk });
      send((await rig.exporter("a", flush, { target: awayWitness() })).exporter, 1);
      await clock.advance(60_000);
      await rig.close();
      clock.bootId.fill(2);
      clock.isWallTrusted = false;
      clock.setWall(RIGHT_MS + 5 * 365 * DAY_MS);
      const next = new StoreRig({ clock, files: disk });
      const { exporter } = await next.exporter("a", flush, { target: awayWitness() });

      await clock.advance(HOUR_MS);
      assert.equal(exporter.status().deadLetters, 0);

      clock.setWall(RIGHT_MS + 2 * DAY_MS);
      clock.isWallTrusted = true;
      await clock.advance(HOUR_MS);
      assert.equal(exporter.status().deadLetters, 1);
      await next.close();
    });
  });
});

describe("a real process whose wall clock jumps", () => {
  const library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib/arm-linux-gnueabihf"]
    .map((folder) => `${folder}/faketime/libfaketime.so.1`)
    .find((path) => existsSync(path));
  let child: ChildProcessByStdio<null, Readable, null> | undefined;

  afterEach(() => child?.kill("SIGKILL"));
  before(function () {
    if (library === undefined) skipBecause(this, "libfaketime is not installed (apt-get install faketime)");
  });

  it("writes in its intervals, deletes nothing, sends nothing early, and has the right times when the clock is set", async () => {
    const folder = tempFolder();
    const timeFile = join(folder, "time");
    const rightNow = Date.now();
    writeFileSync(timeFile, "@1970-01-01 00:01:00\n");
    child = spawn(
      process.execPath,
      ["--import", "tsx", join(__dirname, "jumping-child.ts"), join(folder, "queues"), timeFile],
      {
        env: {
          ...process.env,
          LD_PRELOAD: library!,
          FAKETIME_TIMESTAMP_FILE: timeFile,
          FAKETIME_NO_CACHE: "1",
          FAKETIME_DONT_FAKE_MONOTONIC: "1",
          TZ: "UTC",
        },
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    let said = "";
    child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const [exitCode] = (await once(child, "close")) as [number];

    assert.equal(exitCode, 0);
    const found = JSON.parse(said) as Found;
    assert.ok(found.walls[0]! < 3_600_000, "it began in 1970");
    assert.ok(Math.max(...found.walls) - Math.min(...found.walls) > 365 * DAY_MS, "the clock did jump");
    // A second, and what a machine with other work adds: the jumps are of years.
    for (const ms of found.wroteAfterMs) assert.ok(ms < 30_000, `written after ${ms} ms`);
    assert.deepEqual([found.kept, found.sentTooEarly], [[4, 4], 0]);
    for (const seen of [found.seen, found.delivered]) {
      assert.deepEqual(
        seen.map(({ n, isDoubtful }) => [n, isDoubtful]),
        [0, 1, 2, 3].map((n) => [n, false]),
      );
      for (const { acceptedAtMs } of seen) {
        const off = acceptedAtMs - rightNow;
        assert.ok(off > -5_000 && off < 120_000, `${new Date(acceptedAtMs).toISOString()} is not today`);
      }
    }
  });
});
