/** Record number n, the same in every process; its lines have many lengths, so that kills cut them anywhere. */
import type { LogRecord } from "../../../src/record.js";
import { recordOf } from "../../support/memory-source.js";

export function numberedPayload(n: number): { n: number; pad: string } {
  return { n, pad: "x".repeat((n * 7_919) % 600) };
}

export function numberedRecord(n: number): LogRecord {
  return recordOf(n, { payload: numberedPayload(n) });
}
