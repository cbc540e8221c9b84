/**
 * A value that the user typed in a typed input (text, message property, environment variable, JSONata, context), made
 * ready once and evaluated for each message.
 */
import type { Node, NodeAPI, NodeMessage } from "node-red";

export interface TypedValue {
  /** `fixed`: the same for every message, so a message cannot change it. `later`: comes as a promise. */
  readonly kind: "fixed" | "now" | "later";
  evaluate(message: NodeMessage): unknown;
}

/** A property of the message itself, as nearly all flows use: read without parsing the name for every message. */
const PLAIN_NAME = /^[A-Za-z_$][\w$]*$/;

/**
 * @throws when an expression cannot be read, or the type is none of these; the message is the reason
 */
export function typedValue(RED: NodeAPI, node: Node, value: string, type: string): TypedValue {
  switch (type) {
    case "str":
      return { kind: "fixed", evaluate: () => value };
    case "env": {
      const fixed: unknown = RED.util.evaluateNodeProperty(value, "env", node, {});
      return { kind: "fixed", evaluate: () => fixed };
    }
    case "msg":
      if (PLAIN_NAME.test(value)) {
        return { kind: "now", evaluate: (message) => (Object.hasOwn(message, value) ? message[value] : undefined) };
      }
      return { kind: "now", evaluate: (message) => propertyOf(RED, message, value) };
    case "jsonata": {
      const expression = RED.util.prepareJSONataExpression(value, node);
      return {
        kind: "later",
        evaluate: (message) => called((back) => RED.util.evaluateJSONataExpression(expression, message, back)),
      };
    }
    case "flow":
    case "global":
      return {
        kind: "later",
        evaluate: (message) => called((back) => RED.util.evaluateNodeProperty(value, type, node, message, back)),
      };
    default:
      throw new Error(`"${type}" is not a type of value that can be used here.`);
  }
}

/** Undefined where the way to the property ends early, as for a property that is not there. */
function propertyOf(RED: NodeAPI, message: NodeMessage, path: string): unknown {
  try {
    return RED.util.getMessageProperty(message, path) as unknown;
  } catch (error) {
    if (error instanceof TypeError) return undefined; // It looked into nothing.
    throw error;
  }
}

type Back = (error: Error | null, value?: unknown) => void;

function called(call: (back: Back) => void): Promise<unknown> {
  return new Promise((resolve, reject) => {
    call((error, value) => (error === null || error === undefined ? resolve(value) : reject(error)));
  });
}
