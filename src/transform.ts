/**
 * The user's transform: run once, at acceptance, on a deep copy of the payload. JSONata and JavaScript both see a
 * message, as elsewhere in Node-RED: `payload` is the data, beside it what the caller offers (`topic` ...). What they
 * return is the data to export.
 *
 * The JavaScript sandbox gives a clean set of globals and a time limit, like Node-RED's function node. It is no wall
 * against hostile code: whoever may edit flows may run code.
 */
import type Jsonata from "jsonata";
import { compileFunction, createContext, Script, type Context } from "node:vm";
import { systemClock, type Clock } from "./clock.js";
import { deepCopy } from "./deep-copy.js";

export type TransformKind = "none" | "jsonata" | "javascript";

/** What the transform sees beside the payload, under these names: `topic`, or the properties of the message. */
export type TransformContext = Readonly<Record<string, unknown>>;

/** A transform given as code of the program itself. */
export type TransformFunction = (payload: unknown, context: TransformContext) => unknown;

export interface TransformOptions {
  /** Longest time of one run, in ms; 0, the default, is no limit. It costs some 10 to 100 us a run for JavaScript. */
  readonly timeoutMs?: number;
  /** More globals for JavaScript, more variables for JSONata. */
  readonly globals?: Readonly<Record<string, unknown>>;
  readonly clock?: Clock;
}

export interface Transform {
  /**
   * The payloads to export, in order: each element of a returned array is a record of its own. Empty when the
   * transform returned undefined or null: the caller counts that as dropped. Such elements of an array are left out.
   * A promise only where the transform is asynchronous (JSONata always is).
   * @throws {TransformError} (or rejects with it): the record is rejected
   */
  run(payload: unknown, context?: TransformContext): unknown[] | Promise<unknown[]>;
}

export class TransformError extends Error {
  override readonly name = "TransformError";
  readonly code: "transform-invalid" | "transform-failed" | "transform-timeout";
  constructor(code: TransformError["code"], message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }
}

/**
 * @param source JSONata; the body of a JavaScript function of `msg` and `payload`; or a function (kind "javascript"),
 * which runs as it is, without sandbox, and without limit unless it returns a promise
 * @throws {TransformError} "transform-invalid" when it does not compile
 */
export function compile(
  kind: TransformKind,
  source: string | TransformFunction = "",
  options: TransformOptions = {},
): Transform {
  switch (kind) {
    case "none":
      // Nothing to protect from changes, nothing dropped: a null is a payload like others.
      return { run: (payload) => (Array.isArray(payload) ? (payload as unknown[]) : [payload]) };
    case "jsonata":
      if (typeof source !== "string") throw invalid(new TypeError("JSONata is text"));
      return runner(compileJsonata(source, options), options);
    case "javascript":
      return runner(
        typeof source === "function"
          ? (payload, context) => source(deepCopy(payload), context)
          : compileJavaScript(source, options),
        options,
      );
    default:
      throw invalid(new TypeError(`unknown kind of transform ${JSON.stringify(kind satisfies never)}`));
  }
}

type Run = (payload: unknown, context: TransformContext) => unknown;

function runner(transform: Run, { timeoutMs = 0, clock = systemClock }: TransformOptions): Transform {
  return {
    run(payload, context = {}) {
      try {
        const result = transform(payload, context);
        if (!isThenable(result)) return recordsOf(result);
        const settled = timeoutMs > 0 ? within(timeoutMs, clock, result) : Promise.resolve(result);
        return settled.then(recordsOf, (error: unknown) => Promise.reject(failed(error)));
      } catch (error) {
        throw failed(error);
      }
    },
  };
}

function recordsOf(result: unknown): unknown[] {
  if (result === undefined || result === null) return [];
  if (!Array.isArray(result)) return [result];
  // An array of ours: that of a sandbox or of JSONata has its own methods and marks.
  const records: unknown[] = [];
  for (const element of result as unknown[]) {
    if (element !== undefined && element !== null) records.push(element);
  }
  return records;
}

// --- JSONata ---------------------------------------------------------------------------------------------------------

function compileJsonata(source: string, { timeoutMs = 0, globals = {} }: TransformOptions): Run {
  // Loaded when a transform needs it.
  const jsonata = require("jsonata") as typeof Jsonata;
  const expression = checked(() => {
    // JSONata counts the time itself, between steps: a promise's race could not stop a loop that never yields.
    const compiled = jsonata(source, timeoutMs > 0 ? { timeout: timeoutMs } : {});
    for (const [name, value] of Object.entries(globals)) {
      if (typeof value === "function") compiled.registerFunction(name, value as (...args: unknown[]) => unknown);
      else compiled.assign(name, value);
    }
    return compiled;
  });
  return (payload, context) => expression.evaluate(messageOf(payload, context));
}

// --- JavaScript ------------------------------------------------------------------------------------------------------

/** What a function node offers too and a data transform has a use for. */
const GLOBALS = { Buffer, console, Date, TextDecoder, TextEncoder, URL, URLSearchParams };

type Sandboxed = (msg: Record<string, unknown> | undefined, payload: unknown) => unknown;

function compileJavaScript(body: string, { timeoutMs = 0, globals = {} }: TransformOptions): Run {
  const sandbox = createContext({ ...GLOBALS, ...globals });
  const sandboxed = checked(() => compileIn(sandbox, body));
  const call = timeoutMs > 0 ? timeBoxed(sandbox, sandboxed, timeoutMs) : sandboxed;
  // Copying the rest of the message is only worth it where it is looked at.
  const usesMessage = /\bmsg\b|\barguments\b|\beval\b/.test(body);
  return (payload, context) => {
    if (!usesMessage) return call(undefined, deepCopy(payload));
    const message = messageOf(payload, context);
    const result = call(message, message["payload"]);
    return isThenable(result)
      ? Promise.resolve(result).then((value) => payloadOf(value, message))
      : payloadOf(result, message);
  };
}

/** Code written for a function node ends in `return msg`: its payload is meant. */
function payloadOf(result: unknown, message: Record<string, unknown>): unknown {
  if (result === message) return message["payload"];
  return Array.isArray(result) ? result.map((element) => (element === message ? message["payload"] : element)) : result;
}

function compileIn(sandbox: Context, body: string): Sandboxed {
  const compileBody = (code: string, lineOffset: number): Sandboxed =>
    compileFunction(code, ["msg", "payload"], {
      filename: "transform.js",
      parsingContext: sandbox,
      lineOffset,
    }) as Sandboxed;
  try {
    // A plain function keeps the result synchronous; `await` alone asks for the other kind.
    return compileBody(body, 0);
  } catch (error) {
    if (!/\bawait\b/.test(body)) throw error;
    return compileBody(`return (async () => {\n${body}\n})();`, -1);
  }
}

/** Calls through the sandbox, since only a script run by `vm` can be stopped. */
function timeBoxed(sandbox: Context, sandboxed: Sandboxed, timeoutMs: number): Sandboxed {
  const call: { run: Sandboxed; msg: unknown; payload: unknown } = {
    run: sandboxed,
    msg: undefined,
    payload: undefined,
  };
  // A name that the user's code does not come across, and cannot list.
  Object.defineProperty(sandbox, "__resilientCall", { value: call, enumerable: false });
  const script = new Script("__resilientCall.run(__resilientCall.msg, __resilientCall.payload)", {
    filename: "transform.js",
  });
  return (msg, payload) => {
    call.msg = msg;
    call.payload = payload;
    try {
      return script.runInContext(sandbox, { timeout: timeoutMs, breakOnSigint: false });
    } finally {
      call.msg = call.payload = undefined; // or the last message would stay in memory
    }
  };
}

// --- both ------------------------------------------------------------------------------------------------------------

function messageOf(payload: unknown, context: TransformContext): Record<string, unknown> {
  // One copy for all, so that what the message and the payload share stays shared.
  return deepCopy({ ...context, payload }) as Record<string, unknown>;
}

/** Also a promise of the sandbox, which is no instance of ours. */
function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}

function within(timeoutMs: number, clock: Clock, result: PromiseLike<unknown>): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(timeoutMs, () => reject(timedOut()));
    Promise.resolve(result)
      .then(resolve, reject)
      .finally(() => timer.cancel());
  });
}

function checked<T>(compileSource: () => T): T {
  try {
    return compileSource();
  } catch (error) {
    throw invalid(error);
  }
}

function invalid(cause: unknown): TransformError {
  return new TransformError("transform-invalid", `The transform does not compile: ${reasonOf(cause)}`, { cause });
}

function timedOut(cause?: unknown): TransformError {
  return new TransformError("transform-timeout", "The transform ran longer than its time limit and was stopped", {
    cause,
  });
}

function failed(error: unknown): TransformError {
  if (error instanceof TransformError) return error;
  const code = (error as { code?: unknown } | null | undefined)?.code;
  // Node's code for a script, JSONata's for an expression.
  if (code === "ERR_SCRIPT_EXECUTION_TIMEOUT" || code === "D1012") return timedOut(error);
  return new TransformError("transform-failed", `The transform failed: ${reasonOf(error)}`, { cause: error });
}

/** JSONata and the sandbox throw things that are no instance of Error. */
function reasonOf(error: unknown): string {
  const message = (error as { message?: unknown } | null | undefined)?.message;
  if (typeof message === "string") return message;
  // What has no prototype cannot be made text.
  return typeof error === "object" && error !== null ? "it threw an object that is no error" : String(error);
}
