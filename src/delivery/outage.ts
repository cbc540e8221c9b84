/**
 * What a delivery does while its target cannot be used: waits, looks, opens it again; and meanwhile gives up what is too
 * old and drops what is not to be kept.
 */
import type { Clock } from "../clock.js";
import { bytesOf, type LogRecord } from "../record.js";
import type { ResumePoint, Target } from "../targets/target.js";
import { asTargetError, givenUp } from "./batch.js";
import type { TargetError } from "./batch.js";
import type { Circuit } from "./circuit.js";
import type { DeadLetterSink } from "./dead-letter-sink.js";
import type { Intake } from "./intake.js";
import type { Report } from "./report.js";
import type { RecordAge } from "./record-age.js";
import type { DeliverySettings } from "./settings.js";
import type { RecordSource, TakeLimits } from "../record-source.js";
import type { Wakeup } from "./wakeup.js";

/** Records that are looked at in one go. */
const SWEEP: TakeLimits = { records: 1_000, bytes: 1024 * 1024 };

/** What a target has found was read a moment ago; when it does not come within this, it is asked for again. */
const FOUND_PATIENCE_MS = 5_000;

export interface OutageParts {
  readonly source: RecordSource;
  readonly target: Target;
  readonly clock: Clock;
  readonly age: RecordAge;
  readonly settings: () => DeliverySettings;
  readonly deadLetters: DeadLetterSink;
  readonly circuit: Circuit;
  readonly intake: Intake;
  readonly report: Report;
  readonly wakeup: Wakeup;
}

export class Outage {
  readonly #parts: OutageParts;
  #opening: AbortController | undefined;
  /** Since when the target is being opened; undefined while it is not. */
  openingMs: number | undefined;
  #hasOpened = false;
  #isOver = false;

  constructor(parts: OutageParts) {
    this.#parts = parts;
  }

  /**
   * One step: waits a while, or tries to open the target. Resolves to the error when that failed, to true when the
   * target can be tried, to false when it was not time yet.
   */
  async step(): Promise<TargetError | boolean> {
    const { circuit, clock, wakeup } = this.#parts;
    const state = circuit.state;
    if (state.kind === "open" && state.retryAtMs > clock.elapsedMs()) {
      const hasSwept = await this.#sweep(state.cause, state.retryAtMs - clock.elapsedMs());
      if (!hasSwept) await wakeup.wait(state.retryAtMs - clock.elapsedMs());
      return false;
    }
    return this.#open();
  }

  /** The opening under way is to end. */
  abort(reason: Error): void {
    this.#isOver = true;
    this.#opening?.abort(reason);
  }

  async #open(): Promise<TargetError | boolean> {
    const { source, target, clock, circuit, report } = this.#parts;
    const opening = (this.#opening = new AbortController());
    this.openingMs = clock.elapsedMs();
    const resume = new Resume(source);
    try {
      if (this.#hasOpened) await target.probe(opening.signal);
      await target.open(opening.signal, target.traits.resumes ? resume : undefined);
    } catch (error) {
      return this.#isOver ? false : asTargetError(error);
    } finally {
      this.#opening = undefined;
      this.openingMs = undefined;
    }
    await this.#confirmFound(resume);
    if (this.#isOver) return false;
    // One that was away is told of when it has answered.
    if (!this.#hasOpened && circuit.state.kind === "starting") report.tell({ kind: "opened" });
    this.#hasOpened = true;
    return true;
  }

  /** Confirms what a target that resumes has found in itself. */
  async #confirmFound({ found }: Resume): Promise<void> {
    const { source, intake, report } = this.#parts;
    while (found !== undefined && source.untaken > 0 && !this.#isOver) {
      const records = await intake.take(SWEEP, FOUND_PATIENCE_MS);
      // Called off, or the disk did not give them: what is not confirmed here would be sent again.
      if (records === undefined) continue;
      const isThere = (record: LogRecord): boolean => record.offset <= found.upTo.offset;
      const there = records.filter(isThere);
      if (there.length > 0) {
        source.confirm(there, found.state);
        report.found(there.length);
      }
      if (there.length === records.length) continue;
      source.release(records.filter((record) => !isThere(record)));
      return;
    }
  }

  /** Drops what is not to be kept, gives up what is too old. True when the state is to be looked at again. */
  async #sweep(cause: Error, patienceMs: number): Promise<boolean> {
    const { source, intake, report, clock, age, settings } = this.#parts;
    const { keepUnsent, giveUpAfterMs } = settings();
    if (source.untaken === 0) return false;
    if (!keepUnsent) {
      const unsent = await intake.take(SWEEP, patienceMs);
      if (unsent === undefined) return true;
      source.confirm(unsent);
      report.dropped(unsent.length, bytesOf(unsent), cause);
      return true;
    }
    if (giveUpAfterMs === undefined) return false;
    const oldestMs = source.backlog().oldestAcceptedAtMs;
    if (oldestMs === undefined || clock.wallMs() - oldestMs < giveUpAfterMs) return false;
    const records = await intake.take(SWEEP, patienceMs);
    if (records === undefined) return true;
    const old = new Set(records.filter((record) => age.ofMs(record) >= giveUpAfterMs));
    source.release(records.filter((record) => !old.has(record)));
    // When none could be given up (they are not in front, or the dead letters fail), the next look is time enough.
    return (await this.#giveUp([...old], cause)) > 0;
  }

  async #giveUp(old: readonly LogRecord[], cause: Error): Promise<number> {
    const { source, deadLetters, report } = this.#parts;
    const rejection = givenUp(cause);
    const kept: LogRecord[] = [];
    const left: LogRecord[] = [];
    const setAside = async (record: LogRecord): Promise<void> => {
      try {
        await deadLetters.setAside(record, rejection);
        kept.push(record);
        report.rejected(record, rejection);
      } catch (error) {
        left.push(record);
        report.setAsideFailed(error);
      }
    };
    await Promise.all(old.map(setAside));
    source.confirm(kept);
    source.release(left);
    return kept.length;
  }
}

/** What a target that resumes gets to see of its log. */
class Resume implements ResumePoint {
  readonly #source: RecordSource;
  found: { readonly upTo: LogRecord; readonly state: Uint8Array } | undefined;

  constructor(source: RecordSource) {
    this.#source = source;
  }

  get state(): Uint8Array | undefined {
    return this.#source.state;
  }

  records(): AsyncIterable<LogRecord> {
    return this.#source.unconfirmed();
  }

  confirm(upTo: LogRecord, state: Uint8Array): void {
    this.found = { upTo, state };
  }

  async note(state: Uint8Array): Promise<void> {
    await this.#source.note?.(state);
  }
}
