/**
 * A delivery with everything around it made of plastic: a clock that is moved by hand, a log in memory, a target that
 * follows a script, dead letters in an array.
 */
import type { DeadLetterSink } from "../../src/delivery/dead-letter-sink.js";
import type { DeliveryEvent } from "../../src/delivery/events.js";
import { Delivery } from "../../src/delivery/loop.js";
import type { ReadShare } from "../../src/delivery/read-share.js";
import type { Connectivity } from "../../src/delivery/connectivity.js";
import type { DeliverySettings } from "../../src/delivery/settings.js";
import type { Rejection, TargetTraits } from "../../src/targets/target.js";
import { FakeClock, seededRandom } from "./fake-clock.js";
import { MemorySource, recordOf } from "./memory-source.js";
import type { RecordParts } from "./memory-source.js";
import { ScriptedTarget } from "./scripted-target.js";

export interface RigOptions {
  readonly settings?: Partial<DeliverySettings>;
  readonly traits?: Partial<TargetTraits>;
  readonly seed?: number;
  readonly clock?: FakeClock;
  readonly monitor?: Connectivity;
  readonly readShare?: ReadShare;
  /** Runs before the delivery starts. */
  readonly before?: (rig: { target: ScriptedTarget; source: MemorySource; clock: FakeClock }) => void;
}

export class DeliveryRig {
  readonly clock: FakeClock;
  readonly source = new MemorySource();
  readonly target: ScriptedTarget;
  readonly delivery: Delivery;
  readonly events: DeliveryEvent[] = [];
  /** Events that were worth a log line, with their time. */
  readonly logged: { readonly atMs: number; readonly event: DeliveryEvent; readonly unlogged: number }[] = [];
  readonly dead: { readonly offset: number; readonly rejection: Rejection }[] = [];
  /** Set to make the dead letters fail. */
  deadLettersError: Error | undefined;
  /** Runs before a record is set aside: to choose when that is. */
  beforeSetAside: (() => Promise<void>) | undefined;
  #next = 0;

  constructor(options: RigOptions = {}) {
    this.clock = options.clock ?? new FakeClock();
    this.target = new ScriptedTarget(options.traits);
    options.before?.(this);
    const deadLetters: DeadLetterSink = {
      setAside: async (record, rejection) => {
        await this.beforeSetAside?.();
        if (this.deadLettersError !== undefined) throw this.deadLettersError;
        this.dead.push({ offset: record.offset, rejection });
      },
    };
    this.delivery = new Delivery({
      source: this.source,
      target: this.target,
      clock: this.clock,
      random: seededRandom(options.seed ?? 1),
      deadLetters,
      ...(options.settings && { settings: options.settings }),
      ...(options.monitor && { monitor: options.monitor }),
      ...(options.readShare && { readShare: options.readShare }),
      onEvent: (event, logging) => {
        this.events.push(event);
        if (logging !== undefined) this.logged.push({ atMs: this.clock.elapsedMs(), event, ...logging });
      },
    });
  }

  /** Appends `count` records, numbered on; returns their offsets. */
  append(count: number, parts: RecordParts | ((n: number) => RecordParts) = {}): number[] {
    const offsets = Array.from({ length: count }, () => this.#next++);
    for (const n of offsets) {
      const acceptedAtMs = this.clock.wallMs();
      this.source.append(recordOf(n, { acceptedAtMs, ...(typeof parts === "function" ? parts(n) : parts) }));
    }
    return offsets;
  }

  /** Lets time pass until every record has its end. */
  drain(limitMs?: number): Promise<void> {
    return this.clock.advanceUntil(() => this.source.backlog().records === 0, limitMs);
  }

  kinds(): string[] {
    return this.events.map((event) => event.kind).filter((kind) => kind !== "answered");
  }

  async close(): Promise<void> {
    const closing = this.delivery.close();
    await this.clock.advance(3_000);
    await closing;
  }
}

export function ascending(numbers: readonly number[]): number[] {
  return [...numbers].sort((a, b) => a - b);
}
