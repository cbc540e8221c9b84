/**
 * Reads the tables of `errors.ts`: what a server code, or something thrown by the driver, means. How a whole reply
 * becomes outcomes is `reply.ts`.
 */
import {
  type ClassRow,
  type CodeRow,
  DRIVER_CLASSES,
  type Level,
  SERVER_CODES,
  SYSTEM_CODES,
  type Verdict,
} from "./errors.js";

const BY_CODE: ReadonlyMap<number, CodeRow> = new Map(
  SERVER_CODES.flatMap((row) => row.codes.map(([code]) => [code, row] as const)),
);

const UNKNOWN_CODE: CodeRow = {
  what: "the server answered with an unknown error",
  codes: [],
  command: "unavailable",
  document: "retryAlone",
  writeConcern: "retry",
};

/** What the driver puts on errors of connections that are still being made. */
const CONNECTING_LABELS = ["HandshakeError", "SystemOverloadedError"];

/** For an error of the server that gives no code. */
const UNKNOWN = -1;

export interface Judgement {
  readonly verdict: Verdict;
  /** A server code, a network code, or the name of an error class. */
  readonly code: string;
  /** The server's code as a number. */
  readonly statusCode?: number;
  /** What it means, in words for the user. */
  readonly what: string;
  readonly retryAfterMs?: number;
}

export function judgeCode(code: number, level: Level): Judgement {
  const row = BY_CODE.get(code) ?? UNKNOWN_CODE;
  return {
    verdict: row[level],
    code: String(code),
    statusCode: code,
    what: row.what,
    ...(row.retryAfterMs !== undefined && { retryAfterMs: row.retryAfterMs }),
  };
}

/** Judges what a call of the driver has thrown. */
export function judgeThrown(error: unknown): Judgement {
  const row = DRIVER_CLASSES.find((candidate) => fits(candidate, error));
  if (row === undefined) return { verdict: "unavailable", code: "unknown", what: "the delivery failed" };
  if (row.verdict === "byCode") return judgeServerError(chainOf(error).find(isServerError) ?? error);
  const code = systemCodeOf(error);
  const what = row.verdict === "unavailable" && code !== undefined ? SYSTEM_CODES.get(code) : undefined;
  return { verdict: row.verdict, code: code ?? classesOf(error)[0] ?? "unknown", what: what ?? row.what };
}

function judgeServerError(error: unknown): Judgement {
  const { code, errorLabels, errorResponse } = error as {
    code?: unknown;
    errorLabels?: unknown;
    errorResponse?: { baseBackoffMS?: unknown };
  };
  const level = classesOf(error).includes("MongoWriteConcernError") ? "writeConcern" : "command";
  const judged = judgeCode(numberOf(code) ?? UNKNOWN, level);
  const labels = Array.isArray(errorLabels) ? errorLabels : [];
  const isOverload = labels.includes("SystemOverloadedError") && labels.includes("RetryableError");
  const wait = Number(errorResponse?.baseBackoffMS);
  return {
    ...judged,
    ...(isOverload && { verdict: "throttle" as const, what: "the server asks for fewer requests" }),
    ...(Number.isFinite(wait) && wait > 0 && { retryAfterMs: wait }),
  };
}

/**
 * Whether a connection was there and broke under the call. Not while it was being made, not for want of an answer, and
 * not because another one broke: the last two are classes of their own.
 */
export function isDroppedConnection(error: unknown): boolean {
  if (classesOf(error)[0] !== "MongoNetworkError") return false;
  const { errorLabels } = error as { errorLabels?: unknown };
  return !(Array.isArray(errorLabels) && CONNECTING_LABELS.some((label) => errorLabels.includes(label)));
}

/** The error and its causes, outermost first. */
export function chainOf(error: unknown): unknown[] {
  const chain: unknown[] = [];
  for (let link = error; link instanceof Error && !chain.includes(link); link = link.cause) chain.push(link);
  return chain;
}

/** Names of the error's class and of what it extends; the driver's own `name` first, which survives a bundler. */
export function classesOf(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const names = [error.name];
  for (let type: unknown = Object.getPrototypeOf(error); type instanceof Error; type = Object.getPrototypeOf(type)) {
    names.push(type.constructor.name);
  }
  names.push("Error");
  return names;
}

/** The network, TLS or DNS code that an error or one of its causes carries. */
export function systemCodeOf(error: unknown): string | undefined {
  for (const link of chainOf(error)) {
    const { code } = link as { code?: unknown };
    if (typeof code === "string") return code;
  }
  return undefined;
}

function isServerError(error: unknown): boolean {
  return classesOf(error).includes("MongoServerError") && numberOf((error as { code?: unknown }).code) !== undefined;
}

/** A code read with `promoteValues: false` is an Int32 object. */
function numberOf(code: unknown): number | undefined {
  if (typeof code === "number") return code;
  const inner = (code as { _bsontype?: unknown; value?: unknown } | null | undefined)?.value;
  return typeof inner === "number" ? inner : undefined;
}

function fits(row: ClassRow, error: unknown): boolean {
  const classes = classesOf(error);
  if (!row.classes.some((name) => classes.includes(name))) return false;
  if (row.whenSyscall !== undefined && !row.whenSyscall.includes((error as { syscall?: string }).syscall ?? "")) {
    return false;
  }
  if (row.whenCausedBy === undefined) return true;
  const wanted = row.whenCausedBy;
  return chainOf(error).some(
    (link, depth) =>
      wanted.includes((link as { code?: string }).code ?? "") ||
      (depth > 0 && classesOf(link).some((name) => wanted.includes(name))),
  );
}
