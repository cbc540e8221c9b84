/**
 * Keeps the books of one delivery: what came of its records, how fast, what went wrong last; and tells those who listen.
 */
import type { Clock } from "../clock.js";
import type { LogRecord } from "../record.js";
import type { Rejection } from "../targets/target.js";
import { codeOf } from "./events.js";
import type { DeliveryCounters, DeliveryEvent, DeliveryListener, DeliveryStatus } from "./events.js";
import { Quiet } from "./quiet.js";
import { Throughput } from "./throughput.js";
import type { Rates } from "./throughput.js";

export class Report {
  readonly #clock: Clock;
  readonly #listener: DeliveryListener | undefined;
  readonly #quiet: Quiet;
  readonly #throughput = new Throughput();
  readonly #counters = { delivered: 0, duplicates: 0, rejected: 0, retried: 0, dropped: 0, batches: 0 };
  #lastError: DeliveryStatus["lastError"];

  constructor(clock: Clock, listener: DeliveryListener | undefined) {
    this.#clock = clock;
    this.#listener = listener;
    this.#quiet = new Quiet(clock);
  }

  get counters(): DeliveryCounters {
    return { ...this.#counters };
  }

  get lastError(): DeliveryStatus["lastError"] {
    return this.#lastError;
  }

  get rates(): Rates {
    return this.#throughput.rates(this.#clock.elapsedMs());
  }

  tell(event: DeliveryEvent): void {
    // Answers are for those who want a report of each batch: never a line in a log.
    const logging = event.kind === "answered" ? undefined : this.#quiet.mayLog(causeOf(event));
    this.#listener?.(event, logging);
  }

  failed(error: unknown): void {
    this.#lastError = { message: asError(error).message, code: codeOf(error), atWallMs: this.#clock.wallMs() };
  }

  sent(): void {
    this.#counters.batches++;
  }

  confirmed(records: number, bytes: number, duplicates: number): void {
    this.#counters.duplicates += duplicates;
    this.#counters.delivered += records - duplicates;
    this.#throughput.add(records, bytes, this.#clock.elapsedMs());
  }

  /** Found in the target at its opening: delivered by an earlier life that did not hear of it. */
  found(records: number): void {
    this.#counters.duplicates += records;
  }

  rejected(record: LogRecord, rejection: Rejection): void {
    this.#counters.rejected++;
    this.tell({ kind: "rejected", record, rejection });
  }

  setAsideFailed(error: unknown): void {
    this.failed(error);
    this.tell({ kind: "setAsideFailed", cause: asError(error) });
  }

  retried(records: number, cause: Error): void {
    this.#counters.retried += records;
    this.failed(cause);
  }

  dropped(records: number, bytes: number, cause: Error): void {
    this.#counters.dropped += records;
    this.failed(cause);
    this.tell({ kind: "dropped", records, bytes, cause });
  }
}

/** What counts as the same when lines are kept to one a minute. */
function causeOf(event: DeliveryEvent): string {
  switch (event.kind) {
    case "rejected":
      return `${event.kind} ${event.rejection.code}`;
    case "held":
      return `${event.kind} ${event.destination} ${codeOf(event.cause)}`;
    case "letGo":
      return `${event.kind} ${event.destination}`;
    default:
      return "cause" in event ? `${event.kind} ${codeOf(event.cause)}` : event.kind;
  }
}

export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
