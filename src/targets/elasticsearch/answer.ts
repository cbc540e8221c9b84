/**
 * Reads the answer to a bulk request, strictly: what is not exactly a bulk answer for what was sent says nothing about
 * any record. A captive portal, a redirect or a proxy can answer 200 too, and then nothing was delivered.
 * What a status means is `errors.ts`.
 */

/** What is said of one record. */
export interface BulkItem {
  readonly status: number;
  /** The type of the error, such as `document_parsing_exception`; undefined when there is none. */
  readonly type: string | undefined;
  /** The server's words with the causes behind them; empty when there are none. */
  readonly reason: string;
  /** The stream's failure store took the document instead of its index. */
  readonly inFailureStore: boolean;
}

/** The parts of an answer that are asked for; `status` must be among them, or items without error vanish from the list. */
export const BULK_FILTER_PATH =
  "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by,items.*.failure_store";

/** Longest reason that is kept: it is stored beside a rejected record, and may quote the document. */
const MAX_REASON_CHARACTERS = 500;
const MAX_CAUSES = 3;

const CREATED: BulkItem = { status: 201, type: undefined, reason: "", inFailureStore: false };
const UPDATED: BulkItem = { ...CREATED, status: 200 };

/** One item per record sent, in order; undefined when this is no answer to that request. */
export function readBulkAnswer(body: unknown, sentRecords: number): readonly BulkItem[] | undefined {
  if (!isObject(body) || typeof body["errors"] !== "boolean") return undefined;
  const entries = body["items"];
  if (!Array.isArray(entries) || entries.length !== sentRecords) return undefined;
  const items: BulkItem[] = [];
  for (const entry of entries as unknown[]) {
    const item = readItem(entry);
    if (item === undefined) return undefined;
    items.push(item);
  }
  return items;
}

/** The error of a request that failed as a whole, where the body has one. */
export function readErrorBody(body: unknown): { readonly type: string | undefined; readonly reason: string } {
  const error = isObject(body) ? body["error"] : undefined;
  if (typeof error === "string") return { type: undefined, reason: shortened(error) };
  return isObject(error) ? readError(error) : { type: undefined, reason: "" };
}

function readItem(entry: unknown): BulkItem | undefined {
  if (!isObject(entry)) return undefined;
  // Each entry has one key, the operation.
  const operations = Object.keys(entry);
  const result = entry[operations[0] ?? ""];
  if (operations.length !== 1 || !isObject(result)) return undefined;
  const status = result["status"];
  if (typeof status !== "number" || !Number.isInteger(status)) return undefined;
  const error = result["error"];
  const inFailureStore = result["failure_store"] === "used";
  if (error === undefined && !inFailureStore) {
    if (status === 201) return CREATED;
    if (status === 200) return UPDATED;
  }
  return { status, inFailureStore, ...(isObject(error) ? readError(error) : { type: undefined, reason: "" }) };
}

function readError(error: Readonly<Record<string, unknown>>): { type: string | undefined; reason: string } {
  const reasons: string[] = [];
  let cause: unknown = error;
  for (let depth = 0; depth <= MAX_CAUSES && isObject(cause); depth++) {
    const reason = cause["reason"];
    if (typeof reason === "string" && reason !== "") reasons.push(reason);
    cause = cause["caused_by"];
  }
  const type = error["type"];
  return { type: typeof type === "string" ? type : undefined, reason: shortened(reasons.join(": ")) };
}

function shortened(text: string): string {
  return text.length > MAX_REASON_CHARACTERS ? `${text.slice(0, MAX_REASON_CHARACTERS)} ...` : text;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
