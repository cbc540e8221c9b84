/** How bodies are made smaller. A port: it runs in the thread pool, so the crash tests put a synchronous one here. */
import { constants, createDeflateRaw, type DeflateRaw, inflateRaw } from "node:zlib";
import { BytesError } from "./bytes.js";

export interface Compression {
  /** The smaller form, or undefined when it does not pay. */
  deflate(body: Buffer): Promise<Buffer | undefined>;
  /** @throws {BytesError} when the bytes do not inflate to exactly `rawLength` */
  inflate(stored: Buffer, rawLength: number): Promise<Buffer>;
}

/** Below this a body fits a disk page anyway, or nearly, and deflate costs more than it saves. */
const WORTH_TRYING_BYTES = 512;

/**
 * Level 1: 9 x smaller on telemetry in 230 us for 55 KB; higher levels cost much and win little. What comes out of a block
 * fits one piece of this size, unless it does not pay.
 */
const DEFLATE = { level: 1, chunkSize: 64 * 1024, flush: constants.Z_FINISH } as const;
/** Each has 260 KiB outside the heap. As many as there are threads to run them. */
const MOST_RESTING = 4;

/**
 * Makes bodies smaller, one after the other. Used again and again: to make one for each body takes the event loop twice
 * as long, and the pages of its memory are touched anew each time.
 */
class Deflater {
  static readonly #resting: Deflater[] = [];
  readonly #stream: DeflateRaw = createDeflateRaw(DEFLATE);
  #pieces: Buffer[] = [];
  #failed: ((error: Error) => void) | undefined;

  private constructor() {
    this.#stream.on("data", (piece: Buffer) => this.#pieces.push(piece));
    this.#stream.on("error", (error) => this.#failed?.(error));
  }

  static async deflate(body: Buffer): Promise<Buffer> {
    const deflater = Deflater.#resting.pop() ?? new Deflater();
    const smaller = await deflater.#deflate(body); // one that has failed is not used again
    if (Deflater.#resting.length < MOST_RESTING) Deflater.#resting.push(deflater);
    else deflater.#stream.close();
    return smaller;
  }

  #deflate(body: Buffer): Promise<Buffer> {
    const stream = this.#stream;
    return new Promise((resolve, reject) => {
      this.#failed = reject;
      stream.write(body, (error) => {
        if (error) return reject(error);
        while (stream.read() !== null); // what was not handed on yet comes as "data" by this
        const pieces = this.#pieces;
        this.#pieces = [];
        stream.reset();
        resolve(pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces));
      });
    });
  }
}

export const deflateCompression: Compression = {
  async deflate(body) {
    if (body.length < WORTH_TRYING_BYTES) return undefined;
    const smaller = await Deflater.deflate(body);
    return smaller.length < body.length * 0.9 ? smaller : undefined;
  },
  inflate(stored, rawLength) {
    return new Promise((resolve, reject) =>
      // In one piece: by default it comes in pieces of 16 KiB, each a trip to the thread pool and back, and a copy.
      inflateRaw(
        stored,
        { maxOutputLength: Math.max(1, rawLength), chunkSize: Math.max(64, rawLength) },
        (error, body) => {
          if (error) reject(new BytesError("body does not inflate", { cause: error }));
          else if (body.length !== rawLength) reject(new BytesError("body inflates to another length"));
          else resolve(body);
        },
      ),
    );
  },
};
