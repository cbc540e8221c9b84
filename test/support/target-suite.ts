/**
 * What every target must do, whatever it talks to. A target's own tests call `describeTarget` with a harness that can
 * start, stop and read back the real thing; what a harness cannot do is left out of its suite, never skipped.
 */
import assert from "node:assert/strict";
import { systemClock } from "../../src/clock.js";
import type { DeadLetterSink } from "../../src/delivery/dead-letter-sink.js";
import type { DeliveryEvent } from "../../src/delivery/events.js";
import { Delivery } from "../../src/delivery/loop.js";
import type { DeliverySettings } from "../../src/delivery/settings.js";
import type { LogRecord } from "../../src/record.js";
import { TargetConfigError, TargetUnavailableError } from "../../src/targets/target.js";
import type { Outcome, Rejection, ResumePoint, Target } from "../../src/targets/target.js";
import { MemorySource, recordOf } from "./memory-source.js";
import type { RecordParts } from "./memory-source.js";

/** One fresh, empty destination, with a target for it. */
export interface TargetBench {
  readonly target: Target;
  /** The `n` of every record that has arrived, in order where the target has one, as often as it is there. */
  readBack(): Promise<number[]>;
  /** Another target for the same destination, as after a restart. */
  another(): Target;
  /** Payload and routing of record `n`, if `{"n": n}` to the default destination will not do. */
  record?(n: number): RecordParts;
  /** Record `n` made such that the target can never take it. */
  poison?(n: number): RecordParts;
  /** The other end goes away, keeping what it has. Connections are cut or refused. */
  stop?(): Promise<void>;
  /** It comes back. */
  start?(): Promise<void>;
  /** The other end takes what it is sent and says nothing, until `unmute`. */
  mute?(): Promise<void>;
  unmute?(): Promise<void>;
  /** Frees everything. The targets are closed before. */
  dispose(): Promise<void>;
}

export interface TargetHarness {
  make(options: { readonly isStarted: boolean }): Promise<TargetBench>;
  /** How a record that is sent twice is there only once: by its id, or because the target looks at what it has. */
  readonly oncePer: "id" | "resume";
  readonly can: {
    /** `stop` and `start`, and `make` with `isStarted: false`. */
    readonly stop: boolean;
    readonly mute: boolean;
    readonly poison: boolean;
  };
  /** Within this a call to a mute peer must have ended, in ms. */
  readonly deadlineMs: number;
}

/** A redelivery within this: real servers, short waits. */
const QUICK: Partial<DeliverySettings> = { batchWaitMs: 5, backoffMinMs: 20, backoffMaxMs: 200 };

/** A target must let go within this when it is told to. */
const LET_GO_MS = 3_000;

interface Rig {
  readonly bench: TargetBench;
  readonly source: MemorySource;
  readonly deadLetters: { readonly record: LogRecord; readonly rejection: Rejection }[];
  readonly events: DeliveryEvent[];
  deliver(target?: Target, settings?: Partial<DeliverySettings>): Delivery;
  append(from: number, to: number): void;
  record(n: number): LogRecord;
  poison(n: number): LogRecord;
  until(what: string, isSo: () => boolean): Promise<void>;
}

export function describeTarget(name: string, harness: TargetHarness): void {
  describe(`${name}, as every target,`, () => {
    let undo: (() => Promise<void>)[] = [];

    afterEach(async () => {
      for (const step of undo.splice(0).reverse()) await step();
      undo = [];
    });

    async function rig(isStarted = true): Promise<Rig> {
      const bench = await harness.make({ isStarted });
      undo.push(() => bench.dispose());
      undo.push(() => bench.target.close());
      const source = new MemorySource();
      const deadLetters: Rig["deadLetters"] = [];
      const events: DeliveryEvent[] = [];
      const heard = new Set<() => void>();
      const hear = (): void => {
        for (const listener of heard) listener();
      };
      const sink: DeadLetterSink = {
        async setAside(record, rejection) {
          deadLetters.push({ record, rejection });
        },
      };
      const record = (n: number): LogRecord => recordOf(n, bench.record?.(n) ?? {});
      return {
        bench,
        source,
        deadLetters,
        events,
        record,
        poison: (n) => recordOf(n, bench.poison!(n)),
        append(from, to) {
          source.append(...Array.from({ length: to - from }, (_, i) => record(from + i)));
        },
        deliver(target = bench.target, settings = {}) {
          const delivery = new Delivery({
            source,
            target,
            clock: systemClock,
            deadLetters: sink,
            settings: { ...QUICK, ...settings },
            onEvent: (event) => {
              events.push(event);
              // The loop confirms after it has told of an answer.
              setImmediate(hear);
            },
          });
          undo.push(() => delivery.close());
          return delivery;
        },
        until(_what, isSo) {
          return new Promise((resolve) => {
            const look = (): void => {
              if (!isSo()) return;
              heard.delete(look);
              resolve();
            };
            heard.add(look);
            look();
          });
        },
      };
    }

    /** Opens a target by hand, as the loop would. */
    async function open(target: Target): Promise<void> {
      await target.open(new AbortController().signal, target.traits.resumes ? emptyResume : undefined);
    }

    it("delivers what it is given, and says so record by record", async () => {
      const { bench, record } = await rig();
      const batch = upTo(20).map(record);
      await open(bench.target);

      const answer = await bench.target.deliver(batch, new AbortController().signal);

      assert.deepEqual(
        answer.outcomes,
        batch.map((): Outcome => ({ kind: "delivered" })),
      );
      assert.equal(answer.consequence, undefined);
      assert.deepEqual(sorted(await bench.readBack()), upTo(20));
    });

    it("loses and doubles nothing of a thousand records, and keeps their order where it promises one", async () => {
      const { bench, source, append, deliver, until } = await rig();
      append(0, 1_000);

      const delivery = deliver();
      await until("everything is confirmed", () => source.confirmed.length === 1_000);

      const there = await bench.readBack();
      assert.deepEqual(bench.target.traits.ordered ? there : sorted(there), upTo(1_000));
      assert.equal(delivery.status.counters.delivered, 1_000);
    });

    if (harness.oncePer === "id") {
      it("knows a record that it already has, and does not store it twice", async () => {
        const { bench, record } = await rig();
        const batch = upTo(10).map(record);
        await open(bench.target);
        await bench.target.deliver(batch, new AbortController().signal);

        const again = await bench.target.deliver([...batch, record(10)], new AbortController().signal);

        const kinds = again.outcomes.map((outcome) => outcome.kind);
        assert.deepEqual(kinds, [...batch.map(() => "duplicate"), "delivered"]);
        assert.deepEqual(sorted(await bench.readBack()), upTo(11));
      });
    } else {
      it("finds what an earlier life delivered without hearing of it, and does not store it twice", async () => {
        const { bench, source, append, record, deliver, until } = await rig();
        append(0, 10);
        const first = deliver();
        await until("ten are confirmed", () => source.confirmed.length === 10);
        // The next five arrive, but the process dies before it hears so.
        await bench.target.deliver(upTo(15).slice(10).map(record), new AbortController().signal);
        await first.close();
        append(10, 20);

        const second = deliver(bench.another());
        await until("all are confirmed", () => source.confirmed.length === 20);

        await second.close();
        assert.deepEqual(await bench.readBack(), upTo(20));
        assert.equal(second.status.counters.duplicates, 5);
      });
    }

    it("carries on where an earlier target for the same destination was closed", async () => {
      const { bench, source, append, deliver, until } = await rig();
      append(0, 50);
      const first = deliver();
      await until("the first half is confirmed", () => source.confirmed.length === 50);
      await first.close();
      append(50, 100);

      const second = deliver(bench.another());
      await until("the second half is confirmed", () => source.confirmed.length === 100);

      await second.close();
      assert.deepEqual(sorted(await bench.readBack()), upTo(100));
    });

    it("can be closed at any time, once or often", async () => {
      const { bench, record } = await rig();
      await bench.another().close();
      await open(bench.target);
      const delivering = bench.target.deliver([record(0)], new AbortController().signal).then(
        () => "ended",
        () => "ended",
      );

      const closing = Promise.all([bench.target.close(), bench.target.close()]);

      await within(LET_GO_MS, closing);
      assert.equal(await within(LET_GO_MS, delivering), "ended");
      await bench.target.close();
    });

    if (harness.can.poison) {
      it("rejects one record that cannot be taken, with its reason, and delivers the others", async () => {
        const { bench, source, deadLetters, record, poison, deliver, until } = await rig();
        source.append(...upTo(100).map((n) => (n === 41 ? poison(n) : record(n))));

        deliver();
        await until("all have their fate", () => source.confirmed.length === 100);

        assert.deepEqual(
          deadLetters.map((dead) => Number(dead.record.offset)),
          [41],
        );
        assert.notEqual(deadLetters[0]?.rejection.code, "");
        assert.notEqual(deadLetters[0]?.rejection.message, "");
        assert.deepEqual(
          sorted(await bench.readBack()),
          upTo(100).filter((n) => n !== 41),
        );
      });
    }

    if (harness.can.stop) {
      it("waits for a target that is not there at the start, and delivers when it appears", async () => {
        const { bench, source, events, append, deliver, until } = await rig(false);
        append(0, 10);
        deliver();
        await until("the circuit is open", () => events.some((event) => event.kind === "circuitOpened"));
        assert.equal(source.confirmed.length, 0);

        await bench.start!();
        await until("all are confirmed", () => source.confirmed.length === 10);

        assert.deepEqual(sorted(await bench.readBack()), upTo(10));
      });

      it("says that a target is unavailable, and never that a record is delivered, while nothing is there", async () => {
        const { bench, record } = await rig(false);
        const { signal } = new AbortController();

        const opening = async (): Promise<void> => {
          await open(bench.target);
          await bench.target.deliver([record(0)], signal);
        };

        await assert.rejects(opening(), isTargetError);
        await assert.rejects(bench.target.probe(signal), isTargetError);
      });

      it("loses and doubles nothing when the target goes away in the middle and comes back", async () => {
        const { bench, source, events, append, deliver, until } = await rig();
        append(0, 100);
        deliver();
        await until("a hundred are confirmed", () => source.confirmed.length === 100);
        await bench.stop!();
        append(100, 300);
        await until("the outage is seen", () => events.some((event) => event.kind === "circuitOpened"));
        append(300, 400);

        await bench.start!();
        await until("all are confirmed", () => source.confirmed.length === 400);

        assert.deepEqual(sorted(await bench.readBack()), upTo(400));
      });
    }

    if (harness.can.mute) {
      it("gives up on a peer that never answers within its deadline, and delivers once when it speaks again", async () => {
        const { bench, source, events, append, deliver, until } = await rig();
        append(0, 10);
        deliver();
        await until("ten are confirmed", () => source.confirmed.length === 10);
        await bench.mute!();
        const mutedAtMs = systemClock.elapsedMs();
        append(10, 20);

        await until("the silence is seen", () => events.some((event) => event.kind === "circuitOpened"));
        const seenAfterMs = systemClock.elapsedMs() - mutedAtMs;
        await bench.unmute!();
        await until("all are confirmed", () => source.confirmed.length === 20);

        assert.ok(seenAfterMs < harness.deadlineMs + 5_000, `seen after ${seenAfterMs} ms`);
        assert.deepEqual(sorted(await bench.readBack()), upTo(20));
      });

      it("lets go at once when a delivery to a mute peer is aborted", async () => {
        const { bench, record } = await rig();
        await open(bench.target);
        await bench.mute!();
        const abort = new AbortController();
        const delivering = bench.target.deliver([record(0)], abort.signal).then(
          () => "ended",
          () => "ended",
        );

        abort.abort(new Error("the delivery is being closed"));

        assert.equal(await within(LET_GO_MS, delivering), "ended");
        await within(LET_GO_MS, bench.target.close());
      });

      it("closes in time while a mute peer holds a batch, and keeps the records", async () => {
        const { bench, source, append, deliver, until } = await rig();
        append(0, 10);
        const delivery = deliver();
        await until("ten are confirmed", () => source.confirmed.length === 10);
        await bench.mute!();
        append(10, 20);
        await new Promise((resolve) => setImmediate(resolve));

        await within(LET_GO_MS + 500, delivery.close());

        assert.equal(source.untaken, 10);
      });
    }
  });
}

const emptyResume: ResumePoint = {
  state: undefined,
  async *records() {
    // Nothing waits behind the cursor of a new log.
  },
  confirm() {
    throw new Error("nothing can be confirmed where nothing waits");
  },
};

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n);
}

function sorted(numbers: readonly number[]): number[] {
  return [...numbers].sort((a, b) => a - b);
}

function isTargetError(error: unknown): boolean {
  return error instanceof TargetUnavailableError || error instanceof TargetConfigError;
}

async function within<T>(ms: number, ends: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`still not ended after ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([ends, late]);
  } finally {
    clearTimeout(timer);
  }
}
