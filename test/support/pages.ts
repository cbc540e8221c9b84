/** Records as the log holds them: many in a page, so that a target that treats neighbours as one piece has some. */
import type { ReadPosition } from "../../src/log/format/block.js";
import { RecordBlock } from "../../src/log/format/block.js";
import type { Encoded, LogRecord, Routing } from "../../src/record.js";

/** Small, so that a test has several. */
const PAGE_BYTES = 1_024;

export interface PageParts {
  readonly acceptedAtMs: number;
  readonly isTimeDoubtful?: boolean;
  /** The id of this record; those of its neighbours count on from it. */
  readonly id: Buffer;
}

export class Pages {
  #block: RecordBlock | undefined;
  #position: ReadPosition | undefined;

  add(offset: number, { codec, bytes }: Encoded, routing: Routing, parts: PageParts): LogRecord {
    const { acceptedAtMs, isTimeDoubtful = false } = parts;
    let block = this.#block;
    const fits = block?.baseTimeMs === acceptedAtMs && block.isDoubtful === isTimeDoubtful;
    if (block === undefined || !fits || !block.append(offset, 0, routing, codec, bytes)) {
      const time = { baseElapsedMs: 0, baseTimeMs: acceptedAtMs, isDoubtful: isTimeDoubtful };
      const head = { origin: offset, idBase: parts.id, bootId: Buffer.alloc(8), ...time };
      block = this.#block = RecordBlock.begin(head, bytes.length, PAGE_BYTES);
      this.#position = block.start();
      block.append(offset, 0, routing, codec, bytes);
    }
    return block.read(this.#position!, offset)!;
  }
}
