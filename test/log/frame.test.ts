import assert from "node:assert/strict";
import fc from "fast-check";
import { record } from "./arbitraries.js";
import {
  BLOCK_HEADER_BYTES,
  type BlockHeader,
  decodeBlockHeader,
  decodeSegmentHeader,
  encodeBlockHeader,
  encodeSegmentHeader,
  FORMAT_VERSION,
  parseSegmentName,
  SEGMENT_HEADER_BYTES,
  segmentFileName,
} from "../../src/log/format/frame.js";

const uint48 = fc.maxSafeNat().map((n) => n % 2 ** 48);
const uint32 = fc.nat({ max: 2 ** 32 - 1 });
const byte = fc.nat({ max: 255 });

const segmentHeader = record({
  logId: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes)),
  epoch: uint32,
  generation: uint32,
  base: uint48,
  sequence: uint48,
  createdMs: uint48,
  carries: fc.boolean(),
});

const blockHeader: fc.Arbitrary<BlockHeader> = record({
  kind: byte,
  flags: byte,
  count: uint32,
  storedLength: uint32,
  rawLength: uint32,
  origin: uint48,
  span: uint32,
  baseTimeMs: uint48,
  syncedTo: uint32,
  bodyCrc: uint32,
});

function encoded(header: BlockHeader, epoch: number, position: number): Buffer {
  const bytes = Buffer.alloc(BLOCK_HEADER_BYTES);
  encodeBlockHeader(bytes, 0, header, epoch, position);
  return bytes;
}

describe("headers on disk", () => {
  it("name a segment so that its place and salt can be read from the name alone", () => {
    const name = record({ sequence: fc.nat({ max: 9_999_999_999 }), base: uint48, epoch: uint32 });
    fc.assert(fc.property(name, (given) => assert.deepEqual(parseSegmentName(segmentFileName(given)), given)));
  });

  it("leave other files alone, whatever they are called", () => {
    for (const name of ["", "lock", "0000000001-000000000000-00000000.seg.tmp", "1-0-0.seg", "a copy.seg", "..\n"]) {
      assert.equal(parseSegmentName(name), undefined);
    }
  });

  it("tell of a segment what was written", () => {
    fc.assert(
      fc.property(segmentHeader, (header) => {
        assert.deepEqual(decodeSegmentHeader(encodeSegmentHeader(header)), { ...header, version: FORMAT_VERSION });
      }),
    );
  });

  it("do not believe a segment header with one bit turned", () => {
    fc.assert(
      fc.property(segmentHeader, fc.nat({ max: SEGMENT_HEADER_BYTES * 8 - 1 }), (header, bit) => {
        const bytes = encodeSegmentHeader(header);

        bytes[bit >> 3]! ^= 1 << (bit & 7);

        assert.equal(decodeSegmentHeader(bytes), undefined);
      }),
    );
  });

  it("tell of a block what was written, at its own place only", () => {
    fc.assert(
      fc.property(blockHeader, uint32, uint48, uint32, uint48, (header, epoch, position, otherEpoch, other) => {
        const bytes = encoded(header, epoch, position);

        assert.deepEqual(decodeBlockHeader(bytes, 0, epoch, position), header);
        if (otherEpoch !== epoch) assert.equal(decodeBlockHeader(bytes, 0, otherEpoch, position), undefined);
        if (other !== position) assert.equal(decodeBlockHeader(bytes, 0, epoch, other), undefined);
      }),
    );
  });

  it("do not believe a block header with bytes turned, or cut short", () => {
    const damage = fc.tuple(fc.nat({ max: BLOCK_HEADER_BYTES - 1 }), fc.integer({ min: 1, max: 255 }));
    fc.assert(
      fc.property(blockHeader, damage, fc.nat({ max: BLOCK_HEADER_BYTES - 1 }), (header, [at, mask], cut) => {
        const bytes = encoded(header, 7, 64);

        assert.equal(decodeBlockHeader(bytes.subarray(0, cut), 0, 7, 64), undefined);
        bytes[at]! ^= mask;
        assert.equal(decodeBlockHeader(bytes, 0, 7, 64), undefined);
      }),
    );
  });

  it("are not seen in bytes that happen to be there", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        assert.equal(decodeBlockHeader(Buffer.from(bytes), 0, 1, 64), undefined);
        assert.equal(decodeSegmentHeader(Buffer.from(bytes)), undefined);
      }),
    );
  });
});
