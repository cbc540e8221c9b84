/**
 * The life of one batch: sent, judged record by record, sent again in part, until each of its records has reached its
 * end or is back in the log. When to start one, and with what, is `loop.ts`.
 */
import { bytesOf, type LogRecord, replayedBytesOf } from "../record.js";
import { TargetConfigError, TargetUnavailableError } from "../targets/target.js";
import type { Answer, Consequence, Rejection, Target } from "../targets/target.js";
import type { Clock } from "../clock.js";
import { checkAnswer } from "./answer.js";
import type { DeadLetterSink } from "./dead-letter-sink.js";
import { codeOf } from "./events.js";
import type { RecordAge } from "./record-age.js";
import type { DeliverySettings } from "./settings.js";
import type { RecordSource } from "../record-source.js";

/** Attempts that a record gets by itself when its target knows nothing of the code it answered with. */
const ATTEMPTS_ALONE = 5;

export type TargetError = TargetUnavailableError | TargetConfigError;

/** What a batch needs of the delivery it belongs to. */
export interface BatchHost {
  readonly source: RecordSource;
  readonly target: Target;
  readonly clock: Clock;
  readonly age: RecordAge;
  readonly deadLetters: DeadLetterSink;
  settings(): DeliverySettings;
  isOrdered(): boolean;
  /** Takes back what the batch does not bring to its end. */
  giveBack(records: readonly LogRecord[]): void;
  /** Waits until these bytes may leave. False: send nothing more, give the records back. When true a slot is taken. */
  admit(bytes: number): Promise<boolean>;
  /** Gives the slot back. */
  leave(): void;
  /** Waits the back-off of this attempt. False: send nothing more. */
  rest(attempt: number): Promise<boolean>;
  /** The target is up: it has answered. */
  onAnswer(batch: Batch, piece: readonly LogRecord[], answer: Answer, tookMs: number): void;
  onConsequence(piece: readonly LogRecord[], consequence: Consequence): void;
  onConfirmed(records: readonly LogRecord[], duplicates: number): void;
  onRejected(record: LogRecord, rejection: Rejection): void;
  onSetAsideFailed(cause: Error): void;
  onRetry(records: number, cause: Error): void;
  onDropped(records: readonly LogRecord[], cause: Error): void;
  /** Every record of the batch has been offered once. */
  onTried(batch: Batch): void;
  onTargetFailed(error: TargetError): void;
  /** Why these rejections are more likely a setting than the records; undefined when they are to be believed. */
  suspicion(batch: Batch, rejections: readonly Rejection[], delivered: number, records: number): Error | undefined;
  hold(batch: Batch, cause: Error, byGuard: boolean): void;
  /** A try went well: the destination is an ordinary one again. */
  letGo(batch: Batch): void;
}

interface Rejected {
  readonly record: LogRecord;
  readonly rejection: Rejection;
}

/** A record to be sent again: with others, or by itself. */
interface Again {
  readonly record: LogRecord;
  readonly cause: Error;
  readonly alone: boolean;
}

export class Batch {
  readonly destination: string;
  readonly records: readonly LogRecord[];
  readonly bytes: number;
  /** Of these, what was read back from disk. */
  readonly readBytes: number;
  /** The first batch to a destination that was held: it decides whether the hold goes on. */
  readonly isTry: boolean;
  /** Waits for its next attempt: counts against memory, not against the batches under way. */
  isResting = false;
  #isTried = false;
  readonly #host: BatchHost;
  /** To be sent in this round and in the next one; what is under way. Together: what is not at its end yet. */
  #work: LogRecord[][];
  #later: LogRecord[][] = [];
  #underWay: readonly LogRecord[] = [];
  #triesAlone: Map<LogRecord, number> | undefined;
  #sending: AbortController | undefined;
  /** Since when the target has what is under way; undefined while nothing is. */
  sentMs: number | undefined;
  #isAbandoned = false;
  #hasProgressed = false;

  constructor(host: BatchHost, destination: string, records: LogRecord[], isTry: boolean) {
    this.#host = host;
    this.destination = destination;
    this.records = records;
    this.bytes = bytesOf(records);
    this.readBytes = replayedBytesOf(records);
    this.isTry = isTry;
    this.#work = [records];
  }

  get isTried(): boolean {
    return this.#isTried;
  }

  /** Resolves when no record of the batch is held any more. Rejects only for a fault of ours. */
  async run(): Promise<void> {
    try {
      for (let attempt = 0; ; attempt++) {
        this.#hasProgressed = false;
        if (!(await this.#sendRound())) return;
        if (this.#hasProgressed) attempt = 0;
        this.#tried();
        if (this.#later.length > 0) this.#work = [...this.#later.splice(0), ...this.#work];
        if (this.#work.length === 0) return;
        this.isResting = true;
        const goesOn = await this.#host.rest(attempt);
        this.isResting = false;
        if (!goesOn || this.#isAbandoned) return;
      }
    } finally {
      this.isResting = false;
      this.#tried();
      this.#giveBack();
    }
  }

  /** Tells the target to let go of the batch. Whether it does is seen when `run` ends. */
  abort(reason: Error): void {
    this.#sending?.abort(reason);
  }

  /** The target does not let go in time: the records go back, and whatever it answers is not heard any more. */
  abandon(): void {
    this.#giveBack();
    this.#isAbandoned = true;
  }

  /** Sends each piece once. False when the rest is to be given back. */
  async #sendRound(): Promise<boolean> {
    for (let piece = this.#work[0]; piece !== undefined; piece = this.#work[0]) {
      if (!(await this.#host.admit(bytesOf(piece))) || this.#isAbandoned) return false;
      this.#work.shift();
      this.#underWay = piece;
      if (!(await this.#send(piece)) || this.#isAbandoned) return false;
      // What comes later must not overtake what is sent again.
      if (this.#host.isOrdered() && this.#later.length > 0) return true;
    }
    return true;
  }

  async #send(piece: readonly LogRecord[]): Promise<boolean> {
    const host = this.#host;
    const startedMs = host.clock.elapsedMs();
    this.#sending = new AbortController();
    this.sentMs = startedMs;
    let answer: Answer;
    try {
      answer = await host.target.deliver(piece, this.#sending.signal);
      checkAnswer(answer, piece.length);
    } catch (error) {
      // Aborted by us: whatever it says then is no news of the target.
      if (this.#sending.signal.aborted || this.#isAbandoned) return false;
      const failure = asTargetError(error);
      if (!host.settings().keepUnsent) {
        const unsent = this.#take();
        host.source.confirm(unsent);
        host.onDropped(unsent, failure);
      }
      host.onTargetFailed(failure);
      return false;
    } finally {
      this.#sending = undefined;
      this.sentMs = undefined;
      host.leave();
    }
    if (this.#isAbandoned) return false;
    host.onAnswer(this, piece, answer, host.clock.elapsedMs() - startedMs);
    return this.#judge(piece, answer);
  }

  async #judge(piece: readonly LogRecord[], answer: Answer): Promise<boolean> {
    const host = this.#host;
    const sorted = this.#sort(piece, answer);
    const { again, rejected } = sorted;
    this.#confirm(sorted, answer.state);
    if (answer.consequence !== undefined) host.onConsequence(piece, answer.consequence);

    const isHeld = this.#holdIfAsked(sorted, piece.length, answer.consequence);
    const isSplit = answer.consequence?.kind === "split" && again.length > 0;
    if (answer.consequence?.kind === "split" && piece.length === 1) {
      for (const { record } of again.splice(0)) rejected.push({ record, rejection: answer.consequence.cause });
    }
    if (!isSplit) this.#giveUpOld(sorted);
    if (rejected.length > 0) {
      again.push(...(await this.#setAside(rejected)));
      if (this.#isAbandoned) return false;
      again.sort((a, b) => a.record.offset - b.record.offset);
      this.#underWay = again.map((one) => one.record);
    }
    if (again.length === 0) return !isHeld;
    return isSplit ? this.#sendInHalves() : this.#sendAgain(again, isHeld);
  }

  #confirm(sorted: Sorted, state: Uint8Array | undefined): void {
    const { arrived, again, rejected } = sorted;
    this.#underWay = [...again.map((one) => one.record), ...rejected.map((one) => one.record)];
    if (arrived.length === 0) return;
    this.#hasProgressed = true;
    this.#host.source.confirm(arrived, state);
    this.#host.onConfirmed(arrived, sorted.duplicates);
  }

  /** Holds the destination when the target says so, or when the rejections look like a wrong setting. */
  #holdIfAsked(sorted: Sorted, records: number, consequence: Consequence | undefined): boolean {
    const { arrived, again, rejected } = sorted;
    const host = this.#host;
    // What is not kept cannot wait: it is dropped with its reason instead.
    let cause = consequence?.kind === "hold" && host.settings().keepUnsent ? consequence.cause : undefined;
    let byGuard = false;
    if (cause === undefined && rejected.length > 0 && host.settings().keepUnsent) {
      cause = host.suspicion(
        this,
        rejected.map((one) => one.rejection),
        arrived.length,
        records,
      );
      byGuard = cause !== undefined;
    }
    if (byGuard) {
      // With the guard's cause: what is reported last is what the user sees.
      for (const { record } of rejected.splice(0)) again.push({ record, cause: cause!, alone: false });
      again.sort((a, b) => a.record.offset - b.record.offset);
    }
    if (cause === undefined) {
      if (this.isTry) host.letGo(this);
      return false;
    }
    host.hold(this, cause, byGuard);
    return true;
  }

  #giveUpOld({ again, rejected }: Sorted): void {
    const { giveUpAfterMs } = this.#host.settings();
    if (giveUpAfterMs === undefined) return;
    for (const one of again.splice(0)) {
      if (this.#host.age.ofMs(one.record) < giveUpAfterMs) again.push(one);
      else rejected.push({ record: one.record, rejection: givenUp(one.cause) });
    }
  }

  #sendInHalves(): boolean {
    const half = Math.ceil(this.#underWay.length / 2);
    const halves = [this.#underWay.slice(0, half), this.#underWay.slice(half)];
    this.#work.unshift(...halves.filter((records) => records.length > 0));
    this.#underWay = [];
    return true;
  }

  #sendAgain(again: readonly Again[], isHeld: boolean): boolean {
    const host = this.#host;
    if (!host.settings().keepUnsent) {
      host.source.confirm(this.#underWay);
      host.onDropped(this.#underWay, again[0]!.cause);
      this.#underWay = [];
      return true;
    }
    host.onRetry(again.length, again[0]!.cause);
    if (isHeld) return false;
    this.#later.push(...piecesOf(again));
    this.#underWay = [];
    return true;
  }

  /** Who is where after this answer. */
  #sort(piece: readonly LogRecord[], answer: Answer): Sorted {
    const { outcomes } = answer;
    let duplicates = 0;
    let isAllThere = true;
    for (const outcome of outcomes) {
      if (outcome.kind === "duplicate") duplicates++;
      else if (outcome.kind !== "delivered") isAllThere = false;
    }
    // The way nearly every batch goes: nothing is copied.
    if (isAllThere) return { arrived: piece, duplicates, again: [], rejected: [] };

    const arrived: LogRecord[] = [];
    const again: Again[] = [];
    const rejected: Rejected[] = [];
    for (let i = 0; i < piece.length; i++) {
      const record = piece[i]!;
      const outcome = outcomes[i]!;
      switch (outcome.kind) {
        case "delivered":
        case "duplicate":
          arrived.push(record);
          break;
        case "rejected":
          rejected.push({ record, rejection: outcome.cause });
          break;
        case "retry":
          if (outcome.alone === true && this.#hasHadItsTriesAlone(record, piece.length === 1)) {
            rejected.push({ record, rejection: { code: codeOf(outcome.cause), message: outcome.cause.message } });
          } else {
            again.push({ record, cause: outcome.cause, alone: outcome.alone === true });
          }
          break;
        default:
          outcome satisfies never;
      }
    }
    return { arrived, duplicates, again, rejected };
  }

  #hasHadItsTriesAlone(record: LogRecord, wasAlone: boolean): boolean {
    this.#triesAlone ??= new Map();
    const tries = (this.#triesAlone.get(record) ?? 0) + (wasAlone ? 1 : 0);
    this.#triesAlone.set(record, tries);
    return tries >= ATTEMPTS_ALONE;
  }

  /** Resolves to what could not be kept: it stays in the log, and its target is asked again. */
  async #setAside(rejected: readonly Rejected[]): Promise<Again[]> {
    const host = this.#host;
    const results = await Promise.allSettled(
      rejected.map(async ({ record, rejection }) => host.deadLetters.setAside(record, rejection)),
    );
    if (this.#isAbandoned) return [];
    const failed: Again[] = [];
    const kept: LogRecord[] = [];
    results.forEach((result, i) => {
      const { record, rejection } = rejected[i]!;
      if (result.status === "fulfilled") {
        kept.push(record);
        host.onRejected(record, rejection);
      } else {
        const cause = result.reason instanceof Error ? result.reason : new Error(String(result.reason));
        host.onSetAsideFailed(cause);
        failed.push({ record, cause, alone: false });
      }
    });
    if (kept.length > 0) host.source.confirm(kept);
    return failed;
  }

  #tried(): void {
    if (this.#isTried) return;
    this.#isTried = true;
    this.#host.onTried(this);
  }

  #giveBack(): void {
    const left = this.#take();
    if (left.length > 0 && !this.#isAbandoned) this.#host.giveBack(left);
  }

  /** Everything that is not at its end, in order. */
  #take(): LogRecord[] {
    const left = [...this.#underWay, ...this.#work.flat(), ...this.#later.flat()];
    this.#underWay = [];
    this.#work = [];
    this.#later = [];
    return left.sort((a, b) => a.offset - b.offset);
  }
}

interface Sorted {
  readonly arrived: readonly LogRecord[];
  readonly duplicates: number;
  readonly again: Again[];
  readonly rejected: Rejected[];
}

/** In order: neighbours together, each record that must be alone by itself. */
function piecesOf(again: readonly Again[]): LogRecord[][] {
  const pieces: LogRecord[][] = [];
  let open: LogRecord[] | undefined;
  for (const { record, alone } of again) {
    if (alone) {
      pieces.push([record]);
      open = undefined;
    } else if (open === undefined) {
      pieces.push((open = [record]));
    } else {
      open.push(record);
    }
  }
  return pieces;
}

/** A target may throw two kinds of error. Anything else is a fault of the target, and it cannot be used. */
export function asTargetError(error: unknown): TargetError {
  if (error instanceof TargetUnavailableError || error instanceof TargetConfigError) return error;
  // Of an error that nobody has looked at: a URL in it may carry a login.
  const message = (error instanceof Error ? error.message : String(error)).replaceAll(/\/\/[^/\s]*@/g, "//***@");
  return new TargetUnavailableError(`the target failed in a way it does not know: ${message}`, {
    code: codeOf(error),
    cause: error,
  });
}

export function givenUp(cause: Error): Rejection {
  return { code: "gave-up", message: `not delivered within the time set for it: ${cause.message}` };
}
