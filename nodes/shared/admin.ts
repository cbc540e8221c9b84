/**
 * The admin API's requests and answers as far as our endpoints use them. Changes are POST with JSON: a form of another
 * site can be posted by a browser that is logged in here, but not as JSON.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { NodeAPI } from "node-red";
import { asError } from "./errors.js";

export type AdminRequest = IncomingMessage & {
  readonly body?: unknown;
  readonly query: Readonly<Record<string, unknown>>;
  is(type: string): string | false | null;
};
export type AdminResponse = ServerResponse & { status(code: number): AdminResponse; json(body: unknown): unknown };

/** Says what is wrong with a request, with the status that says so to programs. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface Admin {
  get(path: string, answer: (request: AdminRequest, response: AdminResponse) => unknown): void;
  /** Answers with what `change` resolves to. */
  post(path: string, change: (body: Readonly<Record<string, unknown>>) => unknown): void;
}

/** Endpoints below `/resilient-exporters/`: who may read may GET, who may write may POST. */
export function adminOf(RED: NodeAPI): Admin {
  type Handler = Parameters<typeof RED.httpAdmin.get>[1];
  const handled = (answer: (request: AdminRequest, response: AdminResponse) => unknown): Handler => {
    return ((request: AdminRequest, response: AdminResponse) => {
      Promise.resolve()
        .then(() => answer(request, response))
        .then((body) => {
          if (body !== undefined) response.json(body);
        })
        .catch((thrown: unknown) => refuse(RED, response, asError(thrown)));
    }) as unknown as Handler;
  };
  return {
    get: (path, answer) =>
      void RED.httpAdmin.get(
        `/resilient-exporters/${path}`,
        RED.auth.needsPermission("resilient.read"),
        handled((request, response) => {
          // What waits in a queue is the user's data: no cache keeps it.
          response.setHeader("Cache-Control", "no-store");
          return answer(request, response);
        }),
      ),
    post: (path, change) =>
      void RED.httpAdmin.post(
        `/resilient-exporters/${path}`,
        RED.auth.needsPermission("resilient.write"),
        handled((request) => {
          if (request.is("application/json") !== "application/json") throw new RequestError(415, "Send JSON.");
          const { body } = request;
          if (typeof body !== "object" || body === null || Array.isArray(body)) {
            throw new RequestError(400, "Send a JSON object.");
          }
          return change(body as Record<string, unknown>);
        }),
      ),
  };
}

function refuse(RED: NodeAPI, response: AdminResponse, error: Error): void {
  if (response.headersSent) {
    // The answer is under way: cut off, it cannot be taken for a whole one.
    response.destroy();
    return;
  }
  const status = error instanceof RequestError ? error.status : 500;
  if (status === 500) RED.log.error(error.message);
  response.status(status).json({ error: error.message });
}

/** Text that a request carries, "" when it does not. */
export function textIn(source: Readonly<Record<string, unknown>>, name: string): string {
  const value = source[name];
  return typeof value === "string" ? value : "";
}

/** A whole number in a range. @throws {RequestError} */
export function numberIn(
  source: Readonly<Record<string, unknown>>,
  name: string,
  otherwise: number,
  most: number,
): number {
  const value = source[name];
  if (value === undefined) return otherwise;
  const number = Number(value);
  if (Number.isInteger(number) && number >= 0 && number <= most) return number;
  throw new RequestError(400, `${name} must be a whole number from 0 to ${most}.`);
}
