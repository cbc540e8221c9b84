/** How bodies are made smaller. A port: it runs in the thread pool, so the crash tests put a synchronous one here. */
import { deflateRaw, inflateRaw } from "node:zlib";
import { BytesError } from "./bytes.js";

export interface Compression {
  /** The smaller form, or undefined when it does not pay. */
  deflate(body: Buffer): Promise<Buffer | undefined>;
  /** @throws {BytesError} when the bytes do not inflate to exactly `rawLength` */
  inflate(stored: Buffer, rawLength: number): Promise<Buffer>;
}

/** Below this a body fits a disk page anyway, or nearly, and deflate costs more than it saves. */
const WORTH_TRYING_BYTES = 512;

export const deflateCompression: Compression = {
  deflate(body) {
    if (body.length < WORTH_TRYING_BYTES) return Promise.resolve(undefined);
    return new Promise((resolve, reject) =>
      // Level 1: 9 x smaller on telemetry in 230 us for 55 KB; higher levels cost much and win little.
      deflateRaw(body, { level: 1 }, (error, smaller) => {
        if (error) reject(error);
        else resolve(smaller.length < body.length * 0.9 ? smaller : undefined);
      }),
    );
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
