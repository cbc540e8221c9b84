/** How bodies are made smaller. A port: it runs in the thread pool, so the crash tests put a synchronous one here. */
import { constants, createDeflateRaw, createInflateRaw, type DeflateRaw, type InflateRaw } from "node:zlib";
import { BytesError } from "./bytes.js";

export interface Compression {
  /** The smaller form, or undefined when it does not pay. */
  deflate(body: Buffer): Promise<Buffer | undefined>;
  /** @throws {BytesError} when the bytes do not inflate to exactly `rawLength` */
  inflate(stored: Buffer, rawLength: number): Promise<Buffer>;
}

/** Below this a body fits a disk page anyway, or nearly, and deflate costs more than it saves. */
const WORTH_TRYING_BYTES = 512;

/** Level 1: 9 x smaller on telemetry in 230 us for 55 KB; higher levels cost much and win little. */
const LEVEL = 1;
/** What a body becomes fits one piece of this size nearly always: each piece is a trip to the thread pool and back. */
const DEFLATED_PIECE_BYTES = 64 * 1024;
/** Of several bodies, one after the other: the more, the fewer of them fall into two pieces. */
const INFLATED_PIECE_BYTES = 128 * 1024;
/** Each has up to 260 KiB outside the heap. As many as there are threads to run them. */
const MOST_RESTING = 4;

/**
 * Streams that are used again and again, for one body after the other: to make one for each takes the event loop twice
 * as long, and the pages of its memory are touched anew each time.
 */
class Streams {
  readonly #make: () => DeflateRaw | InflateRaw;
  readonly #resting: Stream[] = [];

  constructor(make: () => DeflateRaw | InflateRaw) {
    this.#make = make;
  }

  /** What the body becomes. @throws when it cannot become that, or more than `mostBytes` */
  async run(body: Buffer, mostBytes: number): Promise<Buffer> {
    const stream = this.#resting.pop() ?? new Stream(this.#make());
    const result = await stream.run(body, mostBytes); // one that has failed is not used again
    if (this.#resting.length < MOST_RESTING) this.#resting.push(stream);
    else stream.close();
    return result;
  }
}

class Stream {
  readonly #zlib: DeflateRaw | InflateRaw;
  #pieces: Buffer[] = [];
  #room = 0;
  #failed: ((error: Error) => void) | undefined;

  constructor(zlib: DeflateRaw | InflateRaw) {
    this.#zlib = zlib;
    zlib.on("error", (error) => this.#failed?.(error));
    zlib.on("data", (piece: Buffer) => {
      this.#pieces.push(piece);
      this.#room -= piece.length;
      if (this.#room >= 0) return;
      zlib.destroy(); // it could be a thousand times as large
      this.#failed?.(new BytesError("body inflates to more than it should"));
    });
  }

  run(body: Buffer, mostBytes: number): Promise<Buffer> {
    const zlib = this.#zlib;
    this.#room = mostBytes;
    const end = zlib.bytesWritten + body.length;
    return new Promise((resolve, reject) => {
      this.#failed = reject;
      zlib.write(body, (error) => {
        if (error) return reject(error);
        while (!zlib.destroyed && zlib.read() !== null); // what was not handed on yet comes as "data" by this
        if (zlib.destroyed) return; // it has failed
        if (zlib.bytesWritten !== end) {
          zlib.destroy(); // for Node.js that was its end: it would fail with the next body
          return reject(new BytesError("bytes behind the end of a body"));
        }
        const pieces = this.#pieces;
        this.#pieces = [];
        this.#failed = undefined; // while it rests, it would keep the body of many MiB that comes of this promise
        zlib.reset();
        resolve(Buffer.concat(pieces)); // also one: a part would keep the piece, and what others have in it, in memory
      });
    });
  }

  close(): void {
    this.#zlib.close();
  }
}

/** Errors of zlib that say something of the bytes. For want of memory an intact body is not taken for a damaged one. */
const OF_THE_BYTES: ReadonlySet<unknown> = new Set(["Z_DATA_ERROR", "Z_BUF_ERROR", "Z_NEED_DICT", "Z_STREAM_ERROR"]);

const FINISH = { flush: constants.Z_FINISH } as const;
const deflating = new Streams(() => createDeflateRaw({ ...FINISH, level: LEVEL, chunkSize: DEFLATED_PIECE_BYTES }));
const inflating = new Streams(() => createInflateRaw({ ...FINISH, chunkSize: INFLATED_PIECE_BYTES }));

export const deflateCompression: Compression = {
  async deflate(body) {
    if (body.length < WORTH_TRYING_BYTES) return undefined;
    const smaller = await deflating.run(body, Infinity);
    return smaller.length < body.length * 0.9 ? smaller : undefined;
  },
  async inflate(stored, rawLength) {
    let body: Buffer;
    try {
      body = await inflating.run(stored, rawLength);
    } catch (error) {
      if (!OF_THE_BYTES.has((error as { code?: unknown }).code)) throw error;
      throw new BytesError("body does not inflate", { cause: error });
    }
    if (body.length !== rawLength) throw new BytesError("body inflates to another length");
    return body;
  },
};
