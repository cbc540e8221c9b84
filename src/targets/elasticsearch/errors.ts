/**
 * What Elasticsearch's answers mean: three tables (one record, a whole request, what the client throws) and the
 * functions that look things up in them. What follows from a verdict is `target.ts`.
 *
 * Types and statuses are those of the servers 8.19 and 9.x (`org.elasticsearch.ElasticsearchException`, `RestStatus`);
 * the client's classes are those of @elastic/transport, `lib/errors`. Judged by status and type; the message text adds a
 * hint for the reader. Two things only it can tell: that a certificate is not accepted, since the client keeps no code,
 * and that a request is above what the server ever takes at once, since one that is merely busy says the same.
 */
import { TargetConfigError, TargetUnavailableError } from "../target.js";
import { readErrorBody, type BulkItem } from "./answer.js";
import type { BulkOp } from "./options.js";

/** `unknown`: not in the table. It is tried again by itself and never rejected at once. */
export type ItemVerdict = "delivered" | "duplicate" | "rejected" | "retry" | "throttle" | "split" | "hold" | "unknown";

export interface ItemRow {
  readonly status: number;
  /** Without a type the row stands for every type of that status that has no row of its own. */
  readonly type?: string;
  /** Without operations the row stands for all of them. */
  readonly ops?: readonly BulkOp[];
  readonly verdict: ItemVerdict;
}

export const ITEM_ROWS: readonly ItemRow[] = [
  { status: 200, verdict: "delivered" }, // updated, noop (a pipeline dropped it, an update changed nothing)
  { status: 201, verdict: "delivered" },
  // The id is there: an earlier attempt got through. Whose id it is, is asked in `target.ts`.
  { status: 409, type: "version_conflict_engine_exception", ops: ["create"], verdict: "duplicate" },
  { status: 409, type: "version_conflict_engine_exception", ops: ["index"], verdict: "duplicate" }, // a newer version is there
  { status: 409, type: "version_conflict_engine_exception", ops: ["update", "upsert"], verdict: "retry" },
  { status: 400, type: "document_parsing_exception", verdict: "rejected" }, // a value does not fit the mapping
  { status: 400, type: "mapper_parsing_exception", verdict: "rejected" }, // the same on older servers
  { status: 400, type: "strict_dynamic_mapping_exception", verdict: "rejected" }, // a field that the mapping does not allow
  { status: 400, type: "routing_missing_exception", verdict: "rejected" },
  { status: 400, type: "timestamp_error", verdict: "rejected" }, // outside the window of a time series
  { status: 400, type: "invalid_index_name_exception", verdict: "rejected" },
  { status: 400, type: "x_content_parse_exception", verdict: "rejected" }, // the document is no JSON that it can read
  { status: 400, type: "parse_exception", verdict: "rejected" },
  // Unknown pipeline, op not allowed in a data stream, custom routing, too many fields, empty id. Some are a wrong
  // setting and look just like bad records: the delivery's reject guard tells them apart.
  { status: 400, type: "illegal_argument_exception", verdict: "rejected" },
  { status: 400, type: "index_closed_exception", verdict: "hold" },
  { status: 400, type: "validation_exception", verdict: "hold" }, // the cluster has reached its limit of shards
  { status: 404, type: "index_not_found_exception", verdict: "hold" }, // not to be created, or an alias or stream is required
  { status: 404, type: "resource_not_found_exception", verdict: "hold" },
  { status: 404, type: "document_missing_exception", verdict: "rejected" }, // update without upsert
  { status: 403, type: "cluster_block_exception", verdict: "hold" }, // the index is read-only
  { status: 403, type: "security_exception", verdict: "hold" }, // someone can grant the privilege
  { status: 429, type: "cluster_block_exception", verdict: "hold" }, // the disk is above its flood stage
  { status: 429, type: "es_rejected_execution_exception", verdict: "throttle" }, // the write queue is full
  { status: 429, type: "circuit_breaking_exception", verdict: "throttle" }, // memory
  { status: 429, verdict: "throttle" },
  { status: 503, verdict: "hold" }, // unavailable_shards_exception: this index has no primary
];

/** `bisect`: the server refused the request for one of its records and applied nothing; halves find which. */
export type RequestVerdict =
  | "retry"
  | "throttle"
  | "split"
  | "bisect"
  | "unavailable"
  | "config"
  /** Not in the table, yet made by Elasticsearch: halves, then alone, never rejected at once. */
  | "unknown";

export interface RequestRow {
  readonly status: number;
  readonly type?: string;
  readonly verdict: RequestVerdict;
}

export const REQUEST_ROWS: readonly RequestRow[] = [
  { status: 400, type: "action_request_validation_exception", verdict: "bisect" }, // one id over 512 bytes fails all
  { status: 400, type: "illegal_argument_exception", verdict: "bisect" },
  { status: 400, type: "x_content_parse_exception", verdict: "bisect" },
  { status: 400, type: "parse_exception", verdict: "bisect" },
  { status: 400, type: "media_type_header_exception", verdict: "config" }, // client and server do not go together
  { status: 401, verdict: "config" }, // wrong, expired or revoked login
  { status: 403, type: "security_exception", verdict: "config" },
  { status: 403, type: "cluster_block_exception", verdict: "unavailable" }, // the whole cluster is read-only
  { status: 404, verdict: "config" }, // not Elasticsearch, or a wrong path
  { status: 405, verdict: "config" },
  { status: 406, verdict: "config" }, // unsupported media type: OpenSearch, old proxies
  { status: 407, verdict: "unavailable" }, // the proxy wants a login
  { status: 408, verdict: "retry" },
  { status: 409, verdict: "retry" },
  { status: 413, verdict: "split" },
  { status: 415, verdict: "config" }, // a proxy that takes no compressed requests
  { status: 425, verdict: "retry" },
  { status: 429, verdict: "throttle" },
  { status: 500, verdict: "unknown" },
  { status: 501, verdict: "unknown" },
  { status: 502, verdict: "unavailable" },
  { status: 503, verdict: "unavailable" },
  { status: 504, verdict: "unavailable" },
  { status: 511, verdict: "unavailable" }, // a captive portal that says so
];

/** What the client throws before or instead of a status. A class not listed is `unavailable`. */
export const CLASS_VERDICTS: ReadonlyMap<string, RequestVerdict> = new Map<string, RequestVerdict>([
  ["ConnectionError", "unavailable"], // refused, reset, DNS, TLS: the client keeps the message only
  ["TimeoutError", "unavailable"],
  ["RequestAbortedError", "unavailable"], // not ours, so the answer was over the size limit
  ["NoLivingConnectionsError", "unavailable"],
  ["ProductNotSupportedError", "unavailable"], // a captive portal looks like this too, and goes away
  ["DeserializationError", "unavailable"], // truncated, or not JSON
  ["SerializationError", "bisect"],
  ["ConfigurationError", "config"],
]);

/** What a connection failed on, by OpenSSL's and Node's words, for want of a code; some no waiting will mend. */
const HINTS: readonly { readonly pattern: RegExp; readonly hint: string; readonly verdict?: RequestVerdict }[] = [
  // A board without a battery-backed clock boots in the past: this mends itself.
  { pattern: /not yet valid/u, hint: "the certificate is not valid yet: check the clock of this machine" },
  {
    pattern: /certificate has expired/u,
    hint: "the server's certificate has expired, or the clock of this machine is wrong",
    verdict: "config",
  },
  { pattern: /altnames/u, hint: "the certificate is for another host name: check the address", verdict: "config" },
  {
    pattern: /fingerprint/u,
    hint: "the certificate authority is not the one whose fingerprint was set",
    verdict: "config",
  },
  {
    pattern: /self[- ]signed|unable to (?:verify|get)/u,
    hint: "the certificate is not trusted: set the certificate authority (CA)",
    verdict: "config",
  },
  { pattern: /alert certificate required/u, hint: "the server wants a client certificate", verdict: "config" },
  {
    pattern: /alert (?:unknown ca|bad certificate|certificate (?:expired|unknown))/u,
    hint: "the server does not accept our client certificate",
    verdict: "config",
  },
  {
    pattern: /alert handshake failure/u,
    hint: "the server broke off the TLS handshake: does it want a client certificate?",
    verdict: "config",
  },
  {
    pattern: /wrong version number|packet length too long|EPROTO/u,
    hint: "the server does not speak TLS there: try http instead of https",
  },
  { pattern: /ENOTFOUND|EAI_AGAIN/u, hint: "the host name was not found" },
  { pattern: /ECONNREFUSED/u, hint: "nothing listens there" },
];

/**
 * The connection was there and broke during the request or its answer: as Node's sockets, undici and `node:http` word
 * it. A connection that fails while it is being made says `connect ...`, or that there is no secure one yet.
 */
const DROPPED =
  /^(?:other side closed|(?:read|write) (?:ECONNRESET|ECONNABORTED|EPIPE)|socket hang up|aborted|terminated|(?:Response aborted|Connection closed) while reading the body)/u;

/** Longest wait that a server may ask for. */
const MAX_RETRY_AFTER_MS = 300_000;

/** A request that failed as a whole, judged. */
export interface RequestFailure {
  readonly verdict: RequestVerdict;
  readonly code: string;
  /** Without credentials. */
  readonly message: string;
  readonly statusCode?: number;
  readonly retryAfterMs?: number;
  /** The connection was dropped in the middle, in these words: an outage, or something does not take this very request. */
  readonly droppedWith?: string;
}

export function itemVerdict(item: BulkItem, op: BulkOp): ItemVerdict {
  const ofType = ITEM_ROWS.find((row) => row.status === item.status && row.type === item.type && speaksOf(row, op));
  const ofStatus = ofType ?? ITEM_ROWS.find((row) => row.status === item.status && row.type === undefined);
  const verdict = ofStatus?.verdict ?? "unknown";
  return verdict === "throttle" && exceedsPressureLimit(item.reason) ? "split" : verdict;
}

function speaksOf(row: ItemRow, op: BulkOp): boolean {
  return row.ops === undefined || row.ops.includes(op);
}

/** An answer with a status of 400 and more. `fromElasticsearch`: it carries the product header. */
export function judgeStatus(answer: {
  readonly statusCode: number;
  readonly body: unknown;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly wallMs: number;
}): RequestFailure {
  const { statusCode } = answer;
  const { type, reason } = readErrorBody(answer.body);
  const row =
    REQUEST_ROWS.find((one) => one.status === statusCode && one.type !== undefined && one.type === type) ??
    REQUEST_ROWS.find((one) => one.status === statusCode && one.type === undefined);
  // A refusal of a kind not listed is unknown when it is Elasticsearch's own: one record may be the cause. From
  // anything else in between (an HTML page, say) it says nothing about the records.
  const verdict = row?.verdict ?? (statusCode < 500 && type !== undefined ? "unknown" : "unavailable");
  const retryAfterMs = readRetryAfter(answer.headers, answer.wallMs);
  return {
    verdict: requiresNewerServer(reason) ? "config" : exceedsPressureLimit(reason) ? "split" : verdict,
    code: type ?? `http-${statusCode}`,
    message: withoutCredentials(statusMessage(statusCode, type, reason)),
    statusCode,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  };
}

/** Something the client threw that has no status. */
export function judgeThrown(error: unknown): RequestFailure {
  const name = error instanceof Error ? error.name : "";
  const text = error instanceof Error ? error.message : String(error);
  const { hint, verdict } = HINTS.find(({ pattern }) => pattern.test(text)) ?? {};
  const said =
    name === "ProductNotSupportedError"
      ? "what answers there is not Elasticsearch: a login page of the network, another service, or a compatible server (OpenSearch) without that setting"
      : `Elasticsearch cannot be reached: ${text.trim()}${hint === undefined ? "" : ` (${hint})`}`;
  return {
    verdict: (name === "ConnectionError" ? verdict : undefined) ?? CLASS_VERDICTS.get(name) ?? "unavailable",
    code: name === "" ? "unavailable" : name,
    message: withoutCredentials(said),
    ...(name === "ConnectionError" && DROPPED.test(text) ? { droppedWith: withoutCredentials(text) } : {}),
  };
}

/**
 * The error to throw for a failure that concerns the whole target; undefined for one that concerns the batch.
 * The client's error is never its cause: it holds the request, with documents and headers.
 */
export function thrownFor(failure: RequestFailure): Error | undefined {
  switch (failure.verdict) {
    case "unavailable":
      return new TargetUnavailableError(failure.message, {
        code: failure.code,
        ...(failure.retryAfterMs === undefined ? {} : { retryAfterMs: failure.retryAfterMs }),
      });
    case "config":
      return new TargetConfigError(failure.message, { code: failure.code });
    default:
      return undefined;
  }
}

/** Seconds or an HTTP date, as in RFC 9110; at most 5 minutes. Undefined when there is none that can be read. */
export function readRetryAfter(headers: Readonly<Record<string, unknown>>, wallMs: number): number | undefined {
  const value = headers["retry-after"];
  if (typeof value !== "string") return undefined;
  // The server's own clock where it tells it: a board without a clock battery may be years off.
  const serverMs = typeof headers["date"] === "string" ? Date.parse(headers["date"]) : NaN;
  const ms = /^\d+$/u.test(value.trim())
    ? Number(value) * 1_000
    : Date.parse(value) - (Number.isNaN(serverMs) ? wallMs : serverMs);
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS);
}

/** Login data in addresses, should a message quote one. */
export function withoutCredentials(text: string): string {
  return text.replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@]*@/giu, "$1");
}

function statusMessage(statusCode: number, type: string | undefined, reason: string): string {
  const detail = [type, reason].filter((part) => part !== undefined && part !== "").join(": ");
  const said = `Elasticsearch answered ${statusCode}${detail === "" ? "" : ` (${detail})`}`;
  switch (statusCode) {
    case 401:
      return `${said}: the login is wrong, or the key has expired or was revoked`;
    case 403:
      return `${said}: the login lacks a privilege, or something in between forbids it`;
    case 404:
    case 405:
      return `${said}: check the address and its path, this does not look like Elasticsearch`;
    case 406:
      return `${said}: is this a compatible server (OpenSearch)? Then switch that setting on`;
    case 407:
      return `${said}: the proxy wants a login`;
    case 413:
      return `${said}: the request is larger than the server or a proxy allows`;
    case 415:
      return `${said}: something in between may not take compressed requests, switch compression off`;
    case 511:
      return `${said}: the network wants a login first`;
    default:
      return requiresNewerServer(reason)
        ? `${said}: servers before 8.13 do not know "require data stream", switch it off`
        : said;
  }
}

/**
 * Indexing pressure: what is more than the node holds of all requests never succeeds, however long it waits, be it a
 * request (coordinating) or what of it goes to one shard (primary).
 * @see https://www.elastic.co/docs/reference/elasticsearch/index-settings/pressure
 */
function exceedsPressureLimit(reason: string): boolean {
  const [, bytes, most] = /operation_bytes=(\d+), max_\w+=(\d+)/u.exec(reason) ?? [];
  return Number(bytes) > Number(most);
}

/** The one case without a code of its own: a parameter of ours that the server does not know yet. */
function requiresNewerServer(reason: string): boolean {
  return reason.includes("unrecognized parameter") && reason.includes("require_data_stream");
}
