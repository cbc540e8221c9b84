/**
 * The errors of the nodes, as `done(err)` and Catch nodes get them: a code to switch on, and a message that says what to do.
 */
import type { NodeMessage } from "node-red";
import type { Routing } from "../../src/record.js";
import type { Rejection } from "../../src/targets/target.js";

export type NodeErrorCode =
  /** No runtime is chosen, or it is disabled. */
  | "no-runtime"
  /** The runtime could not open its folder. */
  | "not-open"
  /** More messages arrived than may wait while the queue is opening. */
  | "too-many-waiting"
  /** The node was closed before the message could be accepted. */
  | "closed"
  /** The message holds nothing to send. */
  | "no-data"
  /** The message names no usable destination. */
  | "no-destination"
  /** The dialog names an environment variable that has no value. */
  | "no-variable"
  /** Nothing that stores is wired to the pool. */
  | "no-members"
  /** `msg.resilient` asks for something that does not exist. */
  | "unknown-command"
  /** `msg.resilient` asks for something that the dialog does not allow. */
  | "not-allowed";

export class NodeError extends Error {
  override readonly name = "NodeError";
  readonly code: NodeErrorCode;
  constructor(code: NodeErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** What was thrown, as an Error: a flow's expression may throw anything. */
export function asError(thrown: unknown): Error {
  if (thrown instanceof Error) return thrown;
  const hasMessage = typeof thrown === "object" && thrown !== null && "message" in thrown;
  return new Error(hasMessage ? String(thrown.message) : String(thrown), { cause: thrown });
}

/** A record that the target will never take, as the pair that `node.error` wants for Catch nodes. */
export function rejectionFor(
  payload: unknown,
  rejection: Rejection,
  routing: Routing,
): { error: Error & { code: string }; message: NodeMessage } {
  const error = Object.assign(new Error(rejection.message), { code: rejection.code });
  const { topic, ...destination } = routing;
  return {
    error,
    message: {
      payload,
      ...(topic === undefined ? {} : { topic }),
      ...(rejection.statusCode === undefined ? {} : { statusCode: rejection.statusCode }),
      rejection: { code: rejection.code, message: rejection.message, ...destination },
    },
  };
}
