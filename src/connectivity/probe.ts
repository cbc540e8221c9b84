/**
 * Looks whether the network is there, by asking one endpoint that the user has named: `http(s)://...` or `host:port`.
 * Everything is inside one bound of time, name resolution included. A captive portal answers too, so an answer alone
 * proves nothing: a redirect, or another answer than expected, is not online.
 */
import { lookup as resolve } from "node:dns/promises";
import type { LookupAddress } from "node:dns";
import { get as getHttp } from "node:http";
import type { IncomingMessage } from "node:http";
import { get as getHttps } from "node:https";
import { connect } from "node:net";
import type { LookupFunction } from "node:net";
import type { Clock } from "../clock.js";

/** Resolves when the endpoint answers as it should. @throws {ProbeError} when it does not, within the time set for it */
export type Probe = (signal: AbortSignal) => Promise<void>;

export type ProbeErrorCode = "unreachable" | "timeout" | "captive-portal" | "unexpected-answer";

export class ProbeError extends Error {
  override readonly name = "ProbeError";
  readonly code: ProbeErrorCode;
  constructor(code: ProbeErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

export interface ProbeOptions {
  readonly clock: Clock;
  /** Bound of one probe, in ms. [100, 60_000], default 5_000. */
  readonly timeoutMs?: number;
  /** Text that the body must contain. Default: what a well-known endpoint says, else anything. */
  readonly expectBody?: string;
}

interface Expectation {
  /** Undefined: any 2xx. */
  readonly status?: number;
  readonly body?: string;
}

/** What the endpoints that browsers and systems use for this answer when no portal is in between, by path. */
const WELL_KNOWN: ReadonlyMap<string, Expectation> = new Map<string, Expectation>([
  ["/generate_204", { status: 204 }], // Google, Cloudflare and many others
  ["/gen_204", { status: 204 }],
  ["/success.txt", { status: 200, body: "success" }], // detectportal.firefox.com
  ["/connecttest.txt", { status: 200, body: "Microsoft Connect Test" }],
  ["/hotspot-detect.html", { status: 200, body: "Success" }], // captive.apple.com
]);

/** A body beyond this is not read: what is looked for stands at its start. */
const MOST_BODY_BYTES = 64 * 1024;

type Endpoint =
  | { readonly kind: "http"; readonly url: URL; readonly expect: Expectation }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number };

/**
 * @param endpoint `http://...`, `https://...`, `host:port` or `[IPv6]:port`
 * @throws {TypeError} when it is none of these, or carries a login
 */
export function makeProbe(endpoint: string, options: ProbeOptions): Probe {
  const parsed = parseEndpoint(endpoint, options.expectBody);
  const timeoutMs = options.timeoutMs ?? 5_000;
  const lookup = oneLookupAtATime();
  return async (signal) => {
    if (signal.aborted) throw signal.reason;
    // Several things can end a probe; the first one counts, and its reason is the one to be told.
    const end = new AbortController();
    const timer = options.clock.after(timeoutMs, () =>
      end.abort(new ProbeError("timeout", `no answer within ${timeoutMs} ms`)),
    );
    const onAbort = (): void => end.abort(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      if (parsed.kind === "tcp") await probeTcp(parsed.host, parsed.port, lookup, end.signal);
      else await probeHttp(parsed.url, parsed.expect, lookup, end.signal);
    } catch (error) {
      if (end.signal.aborted) throw end.signal.reason;
      if (error instanceof ProbeError) throw error;
      throw new ProbeError("unreachable", messageOf(error), error);
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", onAbort);
    }
  };
}

function parseEndpoint(endpoint: string, expectBody: string | undefined): Endpoint {
  const text = endpoint.trim();
  if (/^https?:\/\//i.test(text)) {
    if (!URL.canParse(text)) throw new TypeError("the probe is not a valid URL");
    const url = new URL(text);
    if (url.username !== "" || url.password !== "") throw new TypeError("the URL of a probe must not carry a login");
    const known = WELL_KNOWN.get(url.pathname) ?? {};
    return { kind: "http", url, expect: expectBody === undefined ? known : { ...known, body: expectBody } };
  }
  const match = /^(?:\[([0-9a-f:.%]+)\]|([^\s:/@]+)):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65_535) {
    throw new TypeError("a probe is a URL (http:// or https://) or host:port");
  }
  return { kind: "tcp", host: match[1] ?? match[2]!, port };
}

function probeTcp(host: string, port: number, lookup: LookupFunction, signal: AbortSignal): Promise<void> {
  return new Promise((resolved, reject) => {
    const socket = connect({ host, port, lookup, autoSelectFamily: true });
    const onAbort = (): void => void socket.destroy(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("connect", () => {
      socket.destroy();
      resolved();
    });
    socket.once("error", reject);
    socket.once("close", () => signal.removeEventListener("abort", onAbort));
  });
}

async function probeHttp(url: URL, expect: Expectation, lookup: LookupFunction, signal: AbortSignal): Promise<void> {
  const response = await new Promise<IncomingMessage>((resolved, reject) => {
    const get = url.protocol === "https:" ? getHttps : getHttp;
    const headers = { "cache-control": "no-cache", connection: "close" };
    // No agent: a connection kept alive would say nothing of the network now.
    const request = get(url, { agent: false, lookup, headers, signal }, resolved);
    request.once("error", reject);
  });
  try {
    await judge(response, expect);
  } finally {
    response.destroy();
  }
}

async function judge(response: IncomingMessage, expect: Expectation): Promise<void> {
  const status = response.statusCode ?? 0;
  if ((status >= 300 && status < 400) || status === 511) {
    throw new ProbeError("captive-portal", `redirected (status ${status}): a portal wants a login first`);
  }
  if (expect.status === 204 && status === 200) {
    throw new ProbeError("captive-portal", "a page where nothing was expected: a portal wants a login first");
  }
  if (expect.status === undefined ? status < 200 || status > 299 : status !== expect.status) {
    throw new ProbeError("unexpected-answer", `status ${status} instead of ${expect.status ?? "2xx"}`);
  }
  if (expect.body === undefined) return;
  let body = "";
  let bytes = 0;
  for await (const chunk of response.setEncoding("utf8") as AsyncIterable<string>) {
    body += chunk;
    bytes += Buffer.byteLength(chunk);
    if (body.includes(expect.body)) return;
    if (bytes > MOST_BODY_BYTES) break;
  }
  throw new ProbeError("captive-portal", "another page than expected: a portal wants a login first");
}

/**
 * `dns.lookup` holds one of libuv's four threads until the resolver gives up, and cannot be called off. So a probe that
 * timed out in it leaves its lookup to the next one, and never holds a second thread.
 */
function oneLookupAtATime(): LookupFunction {
  let pending: Promise<LookupAddress[]> | undefined;
  return (host, options, callback) => {
    pending ??= resolve(host, { all: true }).finally(() => (pending = undefined));
    pending.then(
      (addresses) => {
        if (options.all === true) callback(null, addresses);
        else callback(null, addresses[0]?.address ?? "", addresses[0]?.family);
      },
      (error: NodeJS.ErrnoException) => callback(error, []),
    );
  };
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Several addresses were tried: each has an error of its own, and the sum has no message.
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return error.errors[0].message;
  return error.message;
}
