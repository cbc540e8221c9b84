/** Records as the log holds them: many in a page, so that a target that copies neighbours in one piece has some. */
import type { ReadPosition } from "../../src/log/block.js";
import { RecordBlock } from "../../src/log/block.js";
import type { Encoded, LogRecord, Routing } from "../../src/record.js";

/** Small, so that a test has several. */
const PAGE_BYTES = 1_024;
const TIME_MS = Date.UTC(2025, 0, 1);

export class Pages {
  #block: RecordBlock | undefined;
  #position: ReadPosition | undefined;

  add(offset: number, { codec, bytes }: Encoded, routing: Routing): LogRecord {
    if (this.#block?.append(offset, 0, routing, codec, bytes) !== true) {
      const head = { origin: offset, idBase: Buffer.alloc(16, 7), bootId: Buffer.alloc(8) };
      this.#block = RecordBlock.begin({ ...head, baseElapsedMs: 0, baseTimeMs: TIME_MS }, bytes.length, PAGE_BYTES);
      this.#position = this.#block.start();
      this.#block.append(offset, 0, routing, codec, bytes);
    }
    return this.#block.read(this.#position!, offset)!;
  }
}
