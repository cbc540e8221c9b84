/**
 * Whether a target's answer is one. Targets are written by others too, in JavaScript as well: what is no outcome must
 * neither be taken for one nor end the delivery.
 */
import type { Outcome } from "../targets/target.js";
import { TargetUnavailableError } from "../targets/target.js";

/** @throws {TargetUnavailableError} with what is wrong with it: all of the batch is kept, and tried again */
export function checkAnswer(answer: { readonly outcomes?: unknown } | undefined, count: number): void {
  const outcomes = answer?.outcomes;
  if (!Array.isArray(outcomes)) throw badAnswer("no outcomes");
  if (outcomes.length !== count) throw badAnswer(`${outcomes.length} outcomes for ${count} records`);
  for (const outcome of outcomes as unknown[]) {
    if (!isOutcome(outcome)) throw badAnswer("something else than an outcome for a record");
  }
}

function isOutcome(given: unknown): boolean {
  const { kind, cause } = (given ?? {}) as { kind?: Outcome["kind"]; cause?: unknown };
  if (kind === "delivered" || kind === "duplicate") return true;
  return (kind === "retry" || kind === "rejected") && typeof cause === "object" && cause !== null;
}

function badAnswer(what: string): TargetUnavailableError {
  return new TargetUnavailableError(`the target gave ${what}`, { code: "bad-answer" });
}
