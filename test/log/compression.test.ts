/** Deflating with streams that are used again and again. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import zlib, { deflateRawSync, inflateRawSync } from "node:zlib";
import fc from "fast-check";
import { BytesError } from "../../src/log/format/bytes.js";
import { deflateCompression } from "../../src/log/format/compression.js";

const body = fc
  .tuple(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.integer({ min: 1, max: 3_000 }))
  .map(([bytes, times]) => Buffer.concat(Array.from({ length: times }, () => Buffer.from(bytes))));

describe("compressing blocks", () => {
  it("gives back each body whole, however many are compressed side by side", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(body, { maxLength: 12 }), async (bodies) => {
        const deflated = await Promise.all(bodies.map((each) => deflateCompression.deflate(each)));

        for (const [i, smaller] of deflated.entries()) {
          const raw = bodies[i]!;
          if (smaller === undefined) assert.ok(raw.length < 512 || deflateRawSync(raw).length > raw.length / 2);
          else assert.ok((await deflateCompression.inflate(smaller, raw.length)).equals(raw));
        }
      }),
      { numRuns: 50 },
    );
  });

  it("takes a record of many MiB, and leaves what cannot be made smaller as it is", async () => {
    const noise = randomBytes(6 * 1024 * 1024);
    const halfNoise = Buffer.concat([noise, Buffer.alloc(noise.length)]);

    const [left, smaller] = await Promise.all([
      deflateCompression.deflate(noise),
      deflateCompression.deflate(halfNoise),
    ]);

    assert.equal(left, undefined);
    assert.ok(inflateRawSync(smaller!).equals(halfNoise));
  });

  it("refuses what is no deflated body of the length told, and inflates the next one none the less", async () => {
    const raw = Buffer.alloc(600_000, "temperature ");
    const stored = deflateRawSync(raw);
    const bad = [
      [stored, raw.length - 1],
      [stored, raw.length + 1],
      [stored.subarray(0, -5), raw.length],
      [Buffer.from("this was never deflated"), raw.length],
      [Buffer.alloc(0), 1],
      [stored, 10],
      [Buffer.concat([stored, Buffer.from("and more")]), raw.length],
      [Buffer.concat([stored, stored]), raw.length],
    ] as const;

    for (const [bytes, length] of [...bad, ...bad]) {
      await assert.rejects(deflateCompression.inflate(bytes, length), BytesError);
      assert.ok((await deflateCompression.inflate(stored, raw.length)).equals(raw));
    }
    const all = await Promise.allSettled(bad.map(([bytes, length]) => deflateCompression.inflate(bytes, length)));
    for (const result of all) assert.ok(result.status === "rejected" && result.reason instanceof BytesError);
    for (let i = 0; i < 8; i++) assert.ok((await deflateCompression.inflate(stored, raw.length)).equals(raw));
  });

  it("does not call a body damaged because there was no memory to inflate it", async () => {
    const raw = Buffer.alloc(4_096, "intact ");
    const failure = Object.assign(new Error("Initialization failed"), { code: "ERR_ZLIB_INITIALIZATION_FAILED" });
    const fails = (): never => {
      throw failure;
    };

    const { createInflateRaw } = zlib; // taken now: the name of an import would be what stands there then
    Object.defineProperty(zlib, "createInflateRaw", { value: fails, configurable: true, writable: true });
    try {
      const many = Array.from({ length: 8 }, () => deflateCompression.inflate(deflateRawSync(raw), raw.length));
      const refused = (await Promise.allSettled(many)).filter((one) => one.status === "rejected");

      assert.ok(refused.length >= 4, "more at a time than there are streams at rest");
      for (const { reason } of refused) assert.equal(reason, failure);
    } finally {
      Object.defineProperty(zlib, "createInflateRaw", { value: createInflateRaw });
    }
  });

  it("keeps no memory of the body before", async () => {
    const [first, second] = [Buffer.alloc(4_096, "first "), Buffer.alloc(4_096, "second ")];

    await deflateCompression.deflate(first);
    const smaller = await deflateCompression.deflate(second);

    assert.ok(smaller!.equals(deflateRawSync(second, { level: 1 })));
  });
});
