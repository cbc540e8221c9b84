/** Records and targets for the tests of this folder. */
import { randomBytes } from "node:crypto";
import { encode } from "../../../src/codec.js";
import type { LogRecord, Offset, Routing } from "../../../src/record.js";
import { newIdBase, idAt } from "../../../src/uuid.js";
import { Pages } from "../../support/pages.js";

const base = newIdBase(Date.UTC(2026, 0, 1), randomBytes(10));
let count = 0;
const pages = new Pages();

export interface RecordParts {
  readonly routing?: Routing;
  readonly acceptedAtMs?: number;
  readonly replayed?: boolean;
  readonly isTimeDoubtful?: boolean;
}

export function record(payload: unknown, parts: RecordParts = {}): LogRecord {
  const { codec, bytes } = encode(payload);
  const offset = count++ as Offset;
  const id = idAt(base, offset);
  const routing = parts.routing ?? {};
  const acceptedAtMs = parts.acceptedAtMs ?? Date.UTC(2026, 10, 24, 8, 30);
  const isTimeDoubtful = parts.isTimeDoubtful ?? false;
  // As the log gives them, and some by themselves.
  if (parts.replayed !== true && offset % 10 !== 9) {
    return pages.add(offset, { codec, bytes }, routing, { acceptedAtMs, isTimeDoubtful, id });
  }
  const alone = { codec, bytes: Buffer.from(bytes), size: bytes.length, offset, routing, acceptedAtMs };
  return { ...alone, replayed: parts.replayed ?? false, isTimeDoubtful, id };
}

export function records(total: number, payloadOf: (i: number) => unknown, parts: RecordParts = {}): LogRecord[] {
  return Array.from({ length: total }, (_, i) => record(payloadOf(i), parts));
}
