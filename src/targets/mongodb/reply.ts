/**
 * From the server's reply to the fate of each record: reads a reply, applies the verdicts of `errors.ts`, and adds up
 * what they mean for the batch. Sends nothing.
 */
import type { LogRecord } from "../../record.js";
import {
  type Answer,
  type Consequence,
  DELIVERED,
  type Outcome,
  type Rejection,
  type TargetConfigError,
  TargetUnavailableError,
} from "../target.js";
import { type Judgement, judgeCode } from "./judge.js";
import { describe, failureOf } from "./failure.js";

export interface WriteError {
  readonly index: number;
  readonly code: number;
  readonly errmsg: string;
  readonly keyPattern?: Readonly<Record<string, unknown>>;
  readonly errInfo?: unknown;
}

export interface WriteReply {
  /** Documents written, or found as they should be. NaN when errors are told of and nothing else, as FerretDB does. */
  readonly n: number;
  readonly writeErrors: readonly WriteError[];
  readonly writeConcernError?: { readonly code: number; readonly errmsg: string };
}

/** Checks a raw reply to insert or update: a look-alike server may answer anything. Undefined: not understood. */
export function readReply(raw: unknown): WriteReply | undefined {
  const { n: written, writeErrors, writeConcernError } = (raw ?? {}) as Record<string, unknown>;
  if (writeErrors !== undefined && !Array.isArray(writeErrors)) return undefined;
  const errors = (writeErrors ?? []) as WriteError[];
  const n = written === undefined && errors.length > 0 ? NaN : written;
  if (typeof n !== "number") return undefined;
  if (!errors.every((error) => Number.isInteger(error?.index) && typeof error.code === "number")) return undefined;
  const concern = writeConcernError as WriteReply["writeConcernError"];
  if (concern !== undefined && typeof concern?.code !== "number") return undefined;
  return { n, writeErrors: errors, ...(concern !== undefined && { writeConcernError: concern }) };
}

/** Which index a duplicate-key error is about: the one on `_id`, another, or unknown (some servers do not say). */
export function indexOf(
  error: WriteError,
  namespace: string,
): { kind: "id" | "unknown" } | { kind: "other"; name: string } {
  const message = error.errmsg ?? "";
  // The collection's name may itself hold " index: ": skip it where it is known.
  const from = message.indexOf(`collection: ${namespace}`);
  const rest = from < 0 ? message : message.slice(from + `collection: ${namespace}`.length);
  const name = / index: (.+?)(?: dup key| collation|$)/.exec(rest)?.[1];
  if (error.keyPattern !== undefined) {
    const keys = Object.keys(error.keyPattern);
    if (keys.length === 1 && keys[0] === "_id" && error.keyPattern["_id"] === 1) return { kind: "id" };
    return { kind: "other", name: name ?? keys.join(", ") };
  }
  if (name === undefined) return { kind: "unknown" };
  return name === "_id_" ? { kind: "id" } : { kind: "other", name };
}

/** Collects what becomes of each record of one batch, and what that means beyond them. */
export class AnswerSheet {
  readonly #batch: readonly LogRecord[];
  readonly #outcomes: (Outcome | undefined)[];
  readonly #secrets: readonly string[];
  #fatal: TargetUnavailableError | TargetConfigError | undefined;
  #hold: Consequence | undefined;
  #throttle: Consequence | undefined;
  #split: Consequence | undefined;

  constructor(batch: readonly LogRecord[], secrets: readonly string[]) {
    this.#batch = batch;
    this.#outcomes = batch.map(() => undefined);
    this.#secrets = secrets;
  }

  set(index: number, outcome: Outcome): void {
    this.#outcomes[index] = outcome;
  }

  outcomeOf(index: number): Outcome | undefined {
    return this.#outcomes[index];
  }

  /** Whether the target turned out to be unusable: nothing more is to be sent. */
  get isFatal(): boolean {
    return this.#fatal !== undefined;
  }

  /** Applies a verdict to one record. */
  judge(index: number, judgement: Judgement, error: Error): void {
    const { verdict } = judgement;
    switch (verdict) {
      case "rejected":
      case "duplicateKey":
        return this.set(index, { kind: "rejected", cause: this.rejection(judgement, error) });
      case "badName": {
        const { database, collection } = this.#batch[index]!.routing;
        if (database !== undefined || collection !== undefined) {
          return this.set(index, { kind: "rejected", cause: this.rejection(judgement, error) });
        }
        this.#retry(index, judgement, error);
        this.#fatal ??= failureOf(error, this.#secrets, { ...judgement, verdict: "config" });
        return;
      }
      case "split":
        if (this.#batch.length === 1) {
          return this.set(index, { kind: "rejected", cause: this.rejection(judgement, error) });
        }
        this.#retry(index, judgement, error);
        this.#split ??= { kind: "split", cause: this.rejection(judgement, error) };
        return;
      case "hold":
        this.#retry(index, judgement, error);
        this.#hold ??= { kind: "hold", cause: failureOf(error, this.#secrets, judgement) };
        return;
      case "throttle":
        this.#retry(index, judgement, error);
        this.#throttle ??= this.#throttleFor(judgement, error);
        return;
      case "unavailable":
      case "config":
        this.#retry(index, judgement, error);
        this.#fatal ??= failureOf(error, this.#secrets, judgement);
        return;
      case "retry":
      case "retryAlone":
        return this.#retry(index, judgement, error);
      default:
        return verdict satisfies never;
    }
  }

  /** Documents without an error of their own: delivered, unless the write concern failed. */
  settle(index: number, reply: WriteReply): void {
    const concern = reply.writeConcernError;
    // Written on one server, but not confirmed by as many as asked for: the id makes the repeat harmless.
    if (concern === undefined) return this.set(index, DELIVERED);
    this.judge(index, judgeCode(concern.code, "writeConcern"), new Error(concern.errmsg));
  }

  rejection(judgement: Judgement, error: Error): Rejection {
    return {
      code: judgement.code,
      message: describe(error, judgement, this.#secrets),
      ...(judgement.statusCode !== undefined && { statusCode: judgement.statusCode }),
    };
  }

  /** @throws {TargetUnavailableError | TargetConfigError} when the target is unusable and no record has met its end */
  answer(): Answer {
    const outcomes = this.#outcomes.map(
      (outcome): Outcome => outcome ?? { kind: "retry", cause: this.#fatal ?? new Error("MongoDB: not sent yet") },
    );
    const fatal = this.#fatal;
    if (fatal !== undefined && outcomes.every((outcome) => outcome.kind === "retry")) throw fatal;
    // What has been settled counts; the rest comes again soon and will say the same, with nothing settled beside it.
    const consequence = fatal !== undefined ? this.#afterFatal(fatal) : (this.#hold ?? this.#throttle ?? this.#split);
    return { outcomes, ...(consequence !== undefined && { consequence }) };
  }

  #retry(index: number, judgement: Judgement, error: Error): void {
    const cause = failureOf(error, this.#secrets, judgement);
    this.set(index, { kind: "retry", cause, ...(judgement.verdict === "retryAlone" && { alone: true }) });
  }

  #afterFatal(cause: TargetUnavailableError | TargetConfigError): Consequence {
    return cause instanceof TargetUnavailableError ? { kind: "throttle", cause } : { kind: "hold", cause };
  }

  #throttleFor(judgement: Judgement, error: Error): Consequence {
    const cause = failureOf(error, this.#secrets, judgement);
    const { retryAfterMs } = judgement;
    return { kind: "throttle", cause, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  }
}

/** An error object for one entry of `writeErrors`, with what a validator had to say. */
export function errorOf(error: WriteError): Error {
  const details = (error.errInfo as { details?: unknown } | undefined)?.details;
  const text = error.errmsg ?? "";
  return new Error(details === undefined ? text : `${text}: ${JSON.stringify(details)}`);
}
