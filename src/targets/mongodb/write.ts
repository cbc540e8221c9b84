/**
 * What the three ways of writing (`insert.ts`, `update.ts`, `time-series.ts`) share: the items of one command, the
 * place they go to, and the command itself.
 */
import type { Document } from "mongodb";
import { TargetUnavailableError } from "../target.js";
import type { Lease } from "./connection.js";
import { classesOf, type Judgement } from "./judge.js";
import type { MongoOptions } from "./options.js";
import { type AnswerSheet, readReply, type WriteReply } from "./reply.js";

export interface Item {
  /** In the batch. */
  readonly index: number;
  /** What is sent: a document, or a statement of an update. */
  readonly document: Document;
  readonly hasOurId: boolean;
  readonly added: readonly string[];
  /** Size on the link: about the payload's until it is measured. */
  readonly bytes: number;
  /** No more than this as BSON. */
  readonly mostBytes: number;
}

/** One delivery under way. */
export interface Call {
  readonly lease: Lease;
  readonly options: MongoOptions;
  readonly database: string;
  readonly collection: string;
  readonly sheet: AnswerSheet;
  readonly signal: AbortSignal;
}

const WRITE_CONCERNS = {
  // A confirmed record is deleted here, so it must survive there.
  majority: { w: "majority", j: true, wtimeout: 30_000 },
  w1: { w: 1 },
  server: undefined,
} as const;

/** As a part of a command or of the driver's options; empty for the server's own default. */
export function writeConcernOf(options: MongoOptions): { readonly writeConcern?: Document } {
  const writeConcern = WRITE_CONCERNS[options.writeConcern];
  return writeConcern === undefined ? {} : { writeConcern };
}

/** @throws what the driver throws; undefined: the reply was not understood */
export async function sendWrites(
  { lease, options, database, signal }: Call,
  command: Document,
  items: readonly Item[],
): Promise<WriteReply | undefined> {
  try {
    const whole = { ...command, ...writeConcernOf(options) };
    return readReply(await lease.command(database, whole, signal, bytesOf(items)));
  } catch (error) {
    const { result } = error as { result?: { ok?: unknown } };
    // The reply with all its parts; only when the command itself went through.
    if (classesOf(error).includes("MongoWriteConcernError") && result?.ok === 1) return readReply(result);
    throw error;
  }
}

export function bytesOf(items: readonly Item[]): number {
  return items.reduce((sum, item) => sum + item.bytes, 0);
}

export function judgeAll(items: readonly Item[], sheet: AnswerSheet, judgement: Judgement, error: unknown): void {
  const shown = error instanceof Error ? error : new Error(String(error));
  for (const { index } of items) sheet.judge(index, judgement, shown);
}

export function uniqueIndex(judgement: Judgement, name: string): Judgement {
  return { ...judgement, what: `the unique index ${name} has this value already, in another document` };
}

export function notUnderstood(): TargetUnavailableError {
  return new TargetUnavailableError("MongoDB: the answer does not fit the batch that was sent", { code: "bad-reply" });
}
