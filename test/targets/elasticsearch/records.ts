/** Records and targets for the tests of this folder. */
import { randomBytes } from "node:crypto";
import { encode } from "../../../src/codec.js";
import type { LogRecord, Offset, Routing } from "../../../src/record.js";
import { newIdBase, idAt } from "../../../src/uuid.js";

const base = newIdBase(Date.UTC(2026, 0, 1), randomBytes(10));
let count = 0;

export interface RecordParts {
  readonly routing?: Routing;
  readonly acceptedAtMs?: number;
  readonly replayed?: boolean;
  readonly isTimeDoubtful?: boolean;
}

export function record(payload: unknown, parts: RecordParts = {}): LogRecord {
  const { codec, bytes } = encode(payload);
  const offset = count++ as Offset;
  return {
    codec,
    bytes: Buffer.from(bytes),
    size: bytes.length,
    offset,
    routing: parts.routing ?? {},
    acceptedAtMs: parts.acceptedAtMs ?? Date.UTC(2026, 10, 24, 8, 30),
    replayed: parts.replayed ?? false,
    isTimeDoubtful: parts.isTimeDoubtful ?? false,
    id: idAt(base, offset),
  };
}

export function records(total: number, payloadOf: (i: number) => unknown, parts: RecordParts = {}): LogRecord[] {
  return Array.from({ length: total }, (_, i) => record(payloadOf(i), parts));
}
