/**
 * A name that says where a message goes: fixed by the user, or taken from each message. One from messages comes from
 * anyone, so it stands behind a fixed prefix, unless the user wants any destination.
 */
import type { Node, NodeAPI, NodeMessage } from "node-red";
import { type Problem, confinementProblem, nameText } from "../../src/names.js";
import { type RawConfig, switchOf, textOf } from "./config.js";
import type { Resolve } from "./environment.js";
import { NodeError } from "./errors.js";
import { type TypedValue, typedValue } from "./typed-value.js";

export interface DestinationName {
  /** In words, for errors: "collection name". */
  readonly what: string;
  readonly value: TypedValue;
  /** In front of what a message gives. */
  readonly prefix: string;
  readonly isAnyAllowed: boolean;
}

/** What the dialog holds under `field`, `fieldType` and `fieldPrefix`. @throws when it does not suffice */
export function destinationName(
  RED: NodeAPI,
  node: Node,
  config: RawConfig,
  resolve: Resolve,
  field: string,
  what: string,
): DestinationName {
  const type = textOf(config, `${field}Type`, "str");
  const typed = textOf(config, field).trim();
  const value = typedValue(RED, node, type === "str" ? resolve(typed) : typed, type);
  const prefix = resolve(textOf(config, `${field}Prefix`).trim());
  const isAnyAllowed = switchOf(config, "anyDestination", false);
  if (value.kind !== "fixed" && prefix === "" && !isAnyAllowed) {
    throw new NodeError("no-destination", `The ${what} comes from messages and needs a fixed prefix.`);
  }
  return { what, value, prefix, isAnyAllowed };
}

/** The fixed name; for one from messages, what takes records that were accepted while it was fixed otherwise. */
export function standingName({ value, prefix }: DestinationName): string {
  if (value.kind !== "fixed") return `${prefix}unrouted`;
  const name = value.evaluate({});
  return nameText(name)?.trim() ?? "";
}

/**
 * The name for one message, from what its value gave.
 * @param problemOf the naming rules of the target
 * @throws {NodeError} when there is none, or it may not be used
 */
export function nameFrom(
  given: unknown,
  { what, prefix, isAnyAllowed }: DestinationName,
  problemOf: (name: string) => Problem,
): string {
  const text = nameText(given);
  if (text === undefined || text === "") {
    throw new NodeError(
      "no-destination",
      `The ${what} is missing: the message or variable that should hold it does not.`,
    );
  }
  const name = prefix + text;
  const problem = confinementProblem(name, prefix, isAnyAllowed) ?? problemOf(name);
  if (problem !== undefined) throw new NodeError("no-destination", `The ${what} ${shown(name)} ${problem}.`);
  return name;
}

/** Evaluates several values for one message: a promise only where one of them needs it. */
export function evaluateAll(values: readonly TypedValue[], message: NodeMessage): unknown[] | Promise<unknown[]> {
  const found = values.map((value) => value.evaluate(message));
  return values.some(({ kind }) => kind === "later") ? Promise.all(found) : found;
}

function shown(name: string): string {
  return JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name);
}
