/**
 * `${NAME}` in what a user typed: the environment of the node's group, subflow, flow, or of the process. Node-RED itself
 * replaces only a value that is one such name and nothing else.
 */
import type { Node, NodeAPI } from "node-red";
import { NodeError } from "./errors.js";

/** Replaces each `${NAME}` within a text. @throws {NodeError} when a name has no value */
export type Resolve = (text: string) => string;

/** @param node undefined: the environment of the process only */
export function environmentOf(RED: NodeAPI, node: Node | undefined): Resolve {
  return (text) =>
    text.replaceAll(/\$\{([^}]+)\}/g, (_whole, name: string) => {
      // It takes no node as well; its types do not say so.
      const value: unknown = RED.util.getSetting(node as Node, name);
      if (value === undefined || value === null) {
        throw new NodeError("no-variable", `The environment variable ${name} has no value.`);
      }
      return typeof value === "string" ? value : JSON.stringify(value);
    });
}

/** The same for every text within objects and lists. */
export function resolved(value: unknown, resolve: Resolve): unknown {
  if (typeof value === "string") return resolve(value);
  if (Array.isArray(value)) return value.map((item) => resolved(item, resolve));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, resolved(item, resolve)]));
}

/** A secret may hold "${" itself, so only one that is a name and nothing else is replaced, as Node-RED does. */
export function resolvedSecret(secret: string, resolve: Resolve): string {
  return /^\$\{[^}]+\}$/.test(secret) ? resolve(secret) : secret;
}
