/**
 * Elasticsearch as a target: one bulk request per batch, each record judged by its own status. Bodies are `bulk.ts`,
 * answers `answer.ts`, verdicts `errors.ts`, requests `connection.ts`.
 */
import { systemClock, type Clock } from "../../clock.js";
import { indexProblem } from "../../names.js";
import { uuidText, type LogRecord } from "../../record.js";
import {
  DELIVERED,
  DUPLICATE,
  TargetUnavailableError,
  type Answer,
  type Consequence,
  type Outcome,
  type Rejection,
  type Target,
  type TargetTraits,
} from "../target.js";
import { BULK_FILTER_PATH, readBulkAnswer, type BulkItem } from "./answer.js";
import { BulkWriter } from "./bulk.js";
import { Connection, RequestError, type Response } from "./connection.js";
import { discoverNodes } from "./discovery.js";
import { DestinationLimit } from "../destination-limit.js";
import { DROPPED_EACH_TIME, Suspects } from "../suspects.js";
import type { Driver } from "./driver.js";
import { itemVerdict, thrownFor, type RequestFailure } from "./errors.js";
import { IndexNames } from "./index-name.js";
import type { ElasticsearchSettings } from "./options.js";
import { probeElasticsearch } from "./probe.js";

const MAX_BATCH_RECORDS = 10_000;
const MAX_BATCH_BYTES = 20 * 1024 * 1024;
/** Payload bytes that still fit below a size that was refused: the lines around the documents count there too. */
const SAFE_SHARE = 0.8;
/** How long the server waits for an index that has no primary shard; its own default of a minute is our deadline twice. */
const SHARD_TIMEOUT = "20s";
/** Ids of the user whose fate is unknown. More than ever are in flight; the oldest is forgotten beyond that. */
const MAX_UNKNOWN_IDS = 50_000;

export interface ElasticsearchParts {
  readonly clock?: Clock;
  /** Loads the client library; by default the one this package depends on, at the first `open`. */
  readonly loadDriver?: () => Promise<Driver>;
  /** Hears once each of what a user should know although records are delivered. */
  readonly onWarning?: (message: string) => void;
}

export class ElasticsearchTarget implements Target {
  readonly #settings: ElasticsearchSettings;
  readonly #clock: Clock;
  readonly #loadDriver: () => Promise<Driver>;
  readonly #onWarning: (message: string) => void;
  readonly #writer: BulkWriter;
  readonly #indexNames: IndexNames;
  readonly #limit: DestinationLimit;
  readonly #query: Record<string, string | boolean>;
  readonly #warned = new Set<string>();
  /** Records with an id of the user that were sent without an answer: for them, "already there" may be us. */
  readonly #unknown = new Set<string>();
  readonly #suspects = new Suspects();
  #connection: Connection | undefined;
  #hasDiscovered = false;
  /** The smallest request that was refused as too large, in bytes; kept while the target lives. */
  #refusedBytes = Infinity;
  #isClosed = false;

  constructor(settings: ElasticsearchSettings, parts: ElasticsearchParts = {}) {
    this.#settings = settings;
    this.#clock = parts.clock ?? systemClock;
    this.#loadDriver = parts.loadDriver ?? (async () => (await import("./driver.js")).driver);
    this.#onWarning = parts.onWarning ?? (() => undefined);
    this.#writer = new BulkWriter(settings);
    this.#indexNames = new IndexNames(settings.dateSuffix);
    this.#limit = new DestinationLimit(settings.maxDestinations);
    this.#query = {
      filter_path: BULK_FILTER_PATH,
      timeout: SHARD_TIMEOUT,
      ...(settings.requireDataStream ? { require_data_stream: true } : {}),
      ...(settings.requireAlias ? { require_alias: true } : {}),
    };
  }

  get traits(): TargetTraits {
    const { op, id } = this.#settings;
    return {
      // Only where a later record changes the document of an earlier one.
      ordered: op !== "create" && id === "message",
      maxBatchRecords: MAX_BATCH_RECORDS,
      maxBatchBytes: Math.max(1, Math.min(MAX_BATCH_BYTES, Math.floor(this.#refusedBytes * SAFE_SHARE))),
      resumes: false,
    };
  }

  destinationOf(record: LogRecord): string {
    const named = record.routing["index"];
    const name = named === undefined || named === "" ? this.#settings.index : named;
    return this.#indexNames.resolve(name, record.acceptedAtMs);
  }

  async open(signal: AbortSignal): Promise<void> {
    if (this.#isClosed) throw new TargetUnavailableError("The target is closed", { code: "closed" });
    if (this.#connection === undefined) {
      const driver = await this.#loadDriver();
      signal.throwIfAborted();
      this.#connection = await Connection.open(this.#settings.connection, driver, this.#clock);
      // Closed while the library was being loaded: then nobody else lets go of the connection.
      if (this.#isClosed) await this.#connection.close();
    }
    await this.probe(signal);
    if (this.#settings.connection.discoverNodes && !this.#hasDiscovered) {
      this.#hasDiscovered = true;
      const problem = await discoverNodes(this.#connection, signal);
      if (problem !== undefined) this.#warn(problem);
    }
  }

  async deliver(batch: readonly LogRecord[], signal: AbortSignal): Promise<Answer> {
    const connection = this.#opened();
    // By the name alone: one index for each day is what a date suffix is for.
    const named = batch[0]!.routing["index"] ?? "";
    if (named !== "" && !this.#limit.admits(named)) return this.#limit.holding(batch, named);
    const index = this.destinationOf(batch[0]!);
    const problem = indexProblem(index);
    if (problem !== undefined) {
      const cause: Rejection = { code: "invalid-name", message: `The index name ${problem}` };
      return { outcomes: batch.map(() => ({ kind: "rejected", cause })) };
    }
    const { bytes, refused } = this.#writer.bulk(batch, index);
    if (refused.size === 0) return this.#deliverSent(connection, bytes, batch, index, signal);
    const sent = batch.filter((record) => !refused.has(record));
    const answer: Answer =
      sent.length === 0 ? { outcomes: [] } : await this.#deliverSent(connection, bytes, sent, index, signal);
    let next = 0;
    const outcomes = batch.map((record): Outcome => {
      const cause = refused.get(record);
      return cause === undefined ? answer.outcomes[next++]! : { kind: "rejected", cause };
    });
    return { ...answer, outcomes };
  }

  async probe(signal: AbortSignal): Promise<void> {
    await probeElasticsearch(this.#opened(), signal);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#connection?.close();
  }

  #opened(): Connection {
    if (this.#connection === undefined) throw new TargetUnavailableError("The target is not open", { code: "closed" });
    return this.#connection;
  }

  async #deliverSent(
    connection: Connection,
    body: Buffer,
    sent: readonly LogRecord[],
    index: string,
    signal: AbortSignal,
  ): Promise<Answer> {
    // A single record is sent although it is too large: the limit may have been raised.
    if (sent.length > 1 && body.length >= this.#refusedBytes) {
      const message = `${body.length} bytes are more than the server takes`;
      return splitting(sent, { code: "too-large", message, statusCode: 413 });
    }
    let response: Response;
    try {
      const request = { method: "POST", path: "/_bulk", query: this.#query, body, isBulk: true } as const;
      response = await connection.request(request, signal);
    } catch (error) {
      if (!(error instanceof RequestError)) {
        this.#rememberUnknown(sent);
        throw error;
      }
      if (!error.wasRefused) this.#rememberUnknown(sent);
      return this.#judgeFailure(await this.#orSuspect(error.failure, sent[0]!, signal), sent, body.length);
    }
    const items = response.statusCode === 200 ? readBulkAnswer(response.body, sent.length) : undefined;
    if (items === undefined) {
      this.#rememberUnknown(sent);
      throw new TargetUnavailableError(
        `What answers there (status ${response.statusCode}) does not answer as Elasticsearch: a login page of the network, or a proxy?`,
        { code: "unexpected-answer" },
      );
    }
    this.#suspects.forget(sent[0]!);
    return this.#judgeItems(items, sent, index);
  }

  /** A dropped connection means an outage, until it is rather the batch that something does not take. */
  async #orSuspect(failure: RequestFailure, first: LogRecord, signal: AbortSignal): Promise<RequestFailure> {
    const { droppedWith } = failure;
    if (droppedWith === undefined) return failure;
    if (!(await this.#suspects.isToBlame(first, () => this.probe(signal)))) return failure;
    const { code, what } = DROPPED_EACH_TIME;
    return { verdict: "unknown", code, message: `${what} (${droppedWith})` };
  }

  #judgeFailure(failure: RequestFailure, sent: readonly LogRecord[], bytes: number): Answer {
    const thrown = thrownFor(failure);
    if (thrown !== undefined) throw thrown;
    const cause = rejectionOf(failure);
    const isAlone = sent.length === 1;
    switch (failure.verdict) {
      case "retry":
        return retrying(sent, failureError(failure));
      case "throttle":
        return retrying(sent, failureError(failure), {
          kind: "throttle",
          cause: failureError(failure),
          ...(failure.retryAfterMs === undefined ? {} : { retryAfterMs: failure.retryAfterMs }),
        });
      case "split":
        this.#refusedBytes = Math.min(this.#refusedBytes, bytes);
        return splitting(sent, { ...cause, code: "too-large" });
      case "bisect":
        return splitting(sent, cause);
      case "unknown":
        return isAlone
          ? { outcomes: [{ kind: "retry", cause: failureError(failure), alone: true }] }
          : splitting(sent, cause);
      default:
        // `thrownFor` has thrown these.
        throw new TargetUnavailableError(failure.message, { code: failure.code });
    }
  }

  #judgeItems(items: readonly BulkItem[], sent: readonly LogRecord[], index: string): Answer {
    let held: BulkItem | undefined;
    let throttled: BulkItem | undefined;
    let tooLarge: BulkItem | undefined;
    const outcomes = items.map((item, i): Outcome => {
      const record = sent[i]!;
      if (item.inFailureStore) this.#warn(`Documents for ${index} go to its failure store, not to the stream`);
      let verdict = itemVerdict(item, this.#settings.op);
      // What one record alone is too much for is not cured by asking for less.
      if (verdict === "throttle" && item.type === "circuit_breaking_exception" && sent.length === 1) verdict = "hold";
      switch (verdict) {
        case "delivered":
          this.#forgetUnknown(record);
          return DELIVERED;
        case "duplicate":
          return this.#judgeDuplicate(item, record, index);
        case "rejected":
          this.#forgetUnknown(record);
          return { kind: "rejected", cause: itemRejection(item) };
        case "retry":
          return { kind: "retry", cause: itemError(item, index) };
        case "unknown":
          return { kind: "retry", cause: itemError(item, index), alone: true };
        case "throttle":
          throttled ??= item;
          return { kind: "retry", cause: itemError(item, index) };
        case "split":
          tooLarge ??= item;
          return { kind: "retry", cause: itemError(item, index) };
        case "hold":
          held ??= item;
          return { kind: "retry", cause: itemError(item, index) };
        default:
          return verdict satisfies never;
      }
    });
    // A destination that waits is asked for less as well.
    const consequence: Consequence | undefined =
      held !== undefined
        ? { kind: "hold", cause: itemError(held, index) }
        : tooLarge !== undefined
          ? { kind: "split", cause: { ...itemRejection(tooLarge), code: "too-large" } }
          : throttled !== undefined
            ? { kind: "throttle", cause: itemError(throttled, index) }
            : undefined;
    return consequence === undefined ? { outcomes } : { outcomes, consequence };
  }

  #judgeDuplicate(item: BulkItem, record: LogRecord, index: string): Outcome {
    const wasUnknown = this.#forgetUnknown(record);
    if (this.#settings.destination === "timeSeries") {
      this.#warn(`${index} has documents with equal dimensions and time already: they may be other records`);
    }
    // Our own id there means that an earlier attempt got through. An id of the user may stand for another record,
    // unless this one was sent before without an answer, in this life or in an earlier one.
    const isOurs =
      this.#writer.userIdOf(record) === undefined ||
      this.#settings.op !== "create" ||
      this.#settings.existingIdIsDelivered ||
      wasUnknown ||
      record.replayed;
    return isOurs ? DUPLICATE : { kind: "rejected", cause: itemRejection(item) };
  }

  #rememberUnknown(sent: readonly LogRecord[]): void {
    for (const record of sent) {
      if (this.#writer.userIdOf(record) === undefined) continue;
      if (this.#unknown.size >= MAX_UNKNOWN_IDS) {
        for (const oldest of this.#unknown) {
          this.#unknown.delete(oldest);
          break;
        }
      }
      this.#unknown.add(uuidText(record.id));
    }
  }

  #forgetUnknown(record: LogRecord): boolean {
    return this.#unknown.size > 0 && this.#unknown.delete(uuidText(record.id));
  }

  #warn(message: string): void {
    if (this.#warned.has(message)) return;
    this.#warned.add(message);
    this.#onWarning(message);
  }
}

function splitting(sent: readonly LogRecord[], cause: Rejection): Answer {
  if (sent.length === 1) return { outcomes: [{ kind: "rejected", cause }] };
  return retrying(sent, new Error(cause.message), { kind: "split", cause });
}

function retrying(sent: readonly LogRecord[], cause: Error, consequence?: Consequence): Answer {
  const outcome: Outcome = { kind: "retry", cause };
  const outcomes = sent.map(() => outcome);
  return consequence === undefined ? { outcomes } : { outcomes, consequence };
}

function rejectionOf({ code, message, statusCode }: RequestFailure): Rejection {
  return { code, message, ...(statusCode === undefined ? {} : { statusCode }) };
}

function failureError(failure: RequestFailure): Error {
  return Object.assign(new Error(failure.message), { code: failure.code, statusCode: failure.statusCode });
}

function itemRejection(item: BulkItem): Rejection {
  const code = item.type ?? `http-${item.status}`;
  return { code, message: item.reason === "" ? code : item.reason, statusCode: item.status };
}

function itemError(item: BulkItem, index: string): Error {
  const { code, message } = itemRejection(item);
  return Object.assign(new Error(`${index}: ${message}`), { code, statusCode: item.status });
}
