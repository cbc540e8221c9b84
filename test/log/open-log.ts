/** Opens a log for a test: one consumer, no compression, a clock that stands still. */
import type { Files } from "../../src/files.js";
import type { Compression } from "../../src/log/format/compression.js";
import { Log, type LogOptions } from "../../src/log/log.js";
import { FakeClock, seededRandom } from "../support/fake-clock.js";

const asIs: Compression = {
  deflate: () => Promise.resolve(undefined),
  inflate: (stored) => Promise.resolve(stored),
};

let seed = 1;

export function openLog(files: Files, options: Partial<LogOptions> = {}): Promise<Log> {
  const random = seededRandom(seed++);
  return Log.open({
    folder: "/q/log",
    logId: Buffer.alloc(16, 5),
    files,
    clock: new FakeClock(),
    random: (bytes) => Buffer.from(Array.from({ length: bytes }, () => Math.floor(random() * 256))),
    compression: asIs,
    consumers: ["a"],
    segmentBytes: 2_000,
    persistent: true,
    onLoss: async () => undefined,
    ...options,
  });
}
