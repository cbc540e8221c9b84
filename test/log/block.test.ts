import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { deflateCompression } from "../../src/log/format/compression.js";
import { RecordBlock } from "../../src/log/format/block.js";
import { ByteReader, BytesError, ByteWriter } from "../../src/log/format/bytes.js";
import {
  asIs,
  frameBlocks,
  packRecords,
  type Segment,
  SegmentReader,
  unpackRecords,
} from "../../src/log/segments/segment.js";
import { SEGMENT_HEADER_BYTES } from "../../src/log/format/frame.js";
import { SimDisk } from "../support/sim-disk.js";
import { record } from "./arbitraries.js";

const HEAD = {
  origin: 100,
  idBase: Buffer.alloc(16, 1),
  bootId: Buffer.alloc(8, 2),
  baseElapsedMs: 50,
  baseTimeMs: 9e11,
};

interface Given {
  readonly gap: number;
  readonly sinceMs: number;
  readonly topic: string;
  readonly payload: string;
}

const given = fc.array(
  record<Given>({
    gap: fc.nat({ max: 3 }),
    sinceMs: fc.nat({ max: 1e6 }),
    topic: fc.constantFrom("", "a/b", "__proto__", "ü"),
    payload: fc.string({ unit: "grapheme", maxLength: 300 }),
  }),
  { minLength: 1, maxLength: 20 },
);

interface Plain {
  readonly offset: number;
  readonly text: string;
  readonly topic: string | undefined;
  readonly acceptedAtMs: number;
}

function fill(items: readonly Given[]): { block: RecordBlock; plain: Plain[] } {
  const block = RecordBlock.begin(HEAD);
  const plain: Plain[] = [];
  let offset = HEAD.origin - 1;
  let elapsedMs = HEAD.baseElapsedMs;
  for (const { gap, sinceMs, topic, payload } of items) {
    offset += 1 + gap;
    elapsedMs += sinceMs;
    const isText = offset % 2 === 0;
    const isIn = isText
      ? block.appendText(offset, elapsedMs, { topic }, payload)
      : block.append(offset, elapsedMs, { topic }, 1, Buffer.from(payload));
    assert.ok(isIn);
    const acceptedAtMs = HEAD.baseTimeMs + elapsedMs - HEAD.baseElapsedMs;
    plain.push({ offset, text: Buffer.from(payload).toString(), topic, acceptedAtMs });
  }
  return { block, plain };
}

function read(block: RecordBlock): Plain[] {
  const found: Plain[] = [];
  for (const { offset, bytes, routing, acceptedAtMs } of block.records()) {
    found.push({ offset, text: bytes.toString(), topic: routing["topic"], acceptedAtMs });
  }
  return found;
}

describe("a block of records", () => {
  it("gives back what was put in: order, payload, route and time of acceptance", () => {
    fc.assert(
      fc.property(given, (items) => {
        const { block, plain } = fill(items);

        assert.deepEqual(read(block), plain);
        assert.deepEqual(read(RecordBlock.decode(block.encodeBody(), HEAD.origin, HEAD.baseTimeMs)), plain);
      }),
    );
  });

  it("keeps the ids of the records that stay when others are left out", () => {
    fc.assert(
      fc.property(given, fc.nat(), (items, seed) => {
        const { block, plain } = fill(items);
        const isDone = (offset: number): boolean => ((offset * 7 + seed) & 3) === 0;
        const ids = new Map([...block.records()].map(({ offset, id }) => [offset as number, id.toString("hex")]));

        const kept = block.without(isDone);

        assert.deepEqual(
          read(kept),
          plain.filter(({ offset }) => !isDone(offset)),
        );
        for (const { offset, id } of kept.records()) assert.equal(id.toString("hex"), ids.get(offset));
      }),
    );
  });

  it("fails with one kind of error only, whatever its bytes are", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), given, fc.nat(), (noise, items, at) => {
        const body = Buffer.concat([fill(items).block.encodeBody()]);
        Buffer.from(noise).copy(body, at % body.length);
        try {
          RecordBlock.decode(body, 0, 0).measure();
        } catch (error) {
          assert.ok(error instanceof BytesError, String(error));
        }
      }),
    );
  });

  describe("whose crc holds although its body is not what was written", () => {
    const parts = (body: Buffer): { prelude: Buffer; heads: Buffer; page: Buffer } => {
      const reader = new ByteReader(body);
      reader.raw(24);
      reader.varint();
      for (let i = reader.varint(); i > 0; i--) reader.text();
      const prelude = body.subarray(0, reader.position);
      const heads = reader.bytes();
      return { prelude, heads, page: body.subarray(reader.position) };
    };
    const joined = (prelude: Buffer, heads: Buffer, page: Buffer): Buffer =>
      new ByteWriter().raw(prelude).bytes(heads).raw(page).finish();
    const unpack = (of: RecordBlock, body: Buffer, changes: { count?: number; span?: number } = {}): RecordBlock => {
      const { stored, ...head } = { ...asIs.records(of), ...changes };
      return unpackRecords(body, { ...head, storedLength: stored.length, bodyCrc: 0, syncedTo: 0 });
    };

    it("is refused when its page is longer or shorter than its heads say, or no line feed stands behind a payload", () => {
      fc.assert(
        fc.property(given, fc.nat(), (items, seed) => {
          const { block, plain } = fill(items);
          const { prelude, heads, page } = parts(block.encodeBody());
          assert.deepEqual(read(unpack(block, joined(prelude, heads, page))), plain);
          const lineEnds = plain.map((_, i) =>
            plain.slice(0, i + 1).reduce((at, { text }) => at + Buffer.byteLength(text) + 1, -1),
          );
          const glued = Buffer.from(page);
          glued[lineEnds[seed % lineEnds.length]!] = 0x20;

          for (const other of [Buffer.concat([page, page]), Buffer.concat([page, Buffer.alloc(1, 10)]), glued]) {
            assert.throws(() => unpack(block, joined(prelude, heads, other)), BytesError);
          }
          assert.throws(() => unpack(block, joined(prelude, heads, page.subarray(0, -1))), BytesError);
        }),
      );
    });

    it("is refused when it has other records than its header says", () => {
      const { block } = fill([{ gap: 2, sinceMs: 0, topic: "", payload: "a" }]);
      const body = block.encodeBody();

      assert.throws(() => unpack(block, body, { count: 2 }), BytesError);
      assert.throws(() => unpack(block, body, { span: 0 }), BytesError);
      assert.throws(() => unpack(block, body, { span: 7 }), BytesError);
    });

    it("is refused when a number in it has no end, or no size", () => {
      const { block } = fill([{ gap: 0, sinceMs: 0, topic: "", payload: "a" }]);
      const { prelude, page } = parts(block.encodeBody());
      const endless = Buffer.concat([Buffer.alloc(200, 0x80), Buffer.alloc(1)]);
      const huge = new ByteWriter().varint(Number.MAX_SAFE_INTEGER).finish();
      const rest = Buffer.from([0, 0, 2]);

      for (const number of [endless, huge]) {
        for (let at = 0; at < 4; at++) {
          const numbers: Buffer[] = [Buffer.alloc(1), Buffer.alloc(1), Buffer.alloc(1), Buffer.from([0, 1])];
          numbers[at] = at < 3 ? number : Buffer.concat([Buffer.alloc(1), number]);
          assert.throws(() => {
            // The elapsed time alone may be as large as it likes.
            const found = unpack(block, joined(prelude, Buffer.concat(numbers), page));
            assert.ok(at === 1 && number === huge, `number ${at}`);
            assert.equal(read(found).length, 1);
            throw new BytesError("as expected");
          }, BytesError);
        }
        assert.throws(() => unpack(block, Buffer.concat([prelude, number, rest, page])), BytesError);
      }
    });
  });

  it("loses none that stays when others are left out, also where another writer numbered the routes", () => {
    const writer = new ByteWriter().raw(HEAD.idBase).raw(HEAD.bootId).varint(0).varint(300);
    for (let i = 0; i < 300; i++) writer.text(JSON.stringify(["topic", `${i}`]));
    const heads = new ByteWriter();
    for (let i = 0; i < 2_000; i++)
      heads
        .varint(0)
        .varint(0)
        .varint(i < 299 ? 299 - i : 0)
        .raw(Buffer.from([0]))
        .varint(1);
    const body = writer
      .bytes(heads.finish())
      .raw(Buffer.from("1\n".repeat(2_000)))
      .finish();
    const block = RecordBlock.decode(body, HEAD.origin, HEAD.baseTimeMs).measure();

    const kept = block.without((offset) => offset === HEAD.origin);

    assert.equal(kept.count, 1_999);
  });

  it("takes a record larger than itself when that is the first", () => {
    const payload = "x".repeat(300_000);
    const block = RecordBlock.begin(HEAD, payload.length);

    const isIn = block.appendText(HEAD.origin, HEAD.baseElapsedMs, {}, payload);

    assert.ok(isIn);
    assert.equal(read(block)[0]!.text.length, payload.length);
  });
});

describe("the memory of a block", () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;

  /** Bytes outside the heap that stay when only what `make` gives back is kept. */
  async function bytesKept(make: () => unknown): Promise<number> {
    const settled = async (): Promise<number> => {
      for (let i = 0; i < 3; i++) {
        collect();
        await setImmediate();
      }
      return process.memoryUsage().arrayBuffers;
    };
    const before = await settled();
    const kept = make();
    const after = await settled();
    assert.ok(kept !== undefined);
    return after - before;
  }

  it("is little more than that of its records when it is full, also of the smallest", async () => {
    const blocks: RecordBlock[] = [];
    for (const payload of ["1", "x".repeat(9)]) {
      const bytes = await bytesKept(() => {
        blocks.length = 0;
        for (let i = 0; i < 100; i++) {
          const block = RecordBlock.begin(HEAD, payload.length);
          for (let offset = HEAD.origin; block.appendText(offset, 0, {}, payload);) offset++;
          block.shrink();
          blocks.push(block);
        }
        return blocks;
      });

      const counted = blocks.reduce((sum, { length }) => sum + length, 0);
      assert.ok(bytes < 1.15 * counted, `${bytes} bytes for ${counted}`);
    }
  });

  it("counts what its records carry beside their payloads, and takes no more of that than of payloads", () => {
    const block = RecordBlock.begin(HEAD);
    const topicOf = (n: number): string => `${n}`.padEnd(10_000, "/far/away");

    let offset = HEAD.origin;
    while (block.appendText(offset, 0, { topic: topicOf(offset) }, "1")) offset++;

    assert.ok(block.encodeBody().length < 64 * 1024 + 10_100, `${block.encodeBody().length} bytes`);
    assert.ok(block.length > block.encodeBody().length - 100);
    const decoded = RecordBlock.decode(block.encodeBody(), HEAD.origin, HEAD.baseTimeMs).measure();
    assert.equal(decoded.length, block.length);
    assert.equal(block.without((one) => one > HEAD.origin).length, block.length / block.count);
  });

  it("is given back although one of its records is kept by itself", async () => {
    const { block } = fill([{ gap: 0, sinceMs: 0, topic: "t", payload: "kept" }]);
    block.append(block.last + 1, 0, {}, 0, Buffer.alloc(60_000));
    const body = block.encodeBody();

    const bytes = await bytesKept(() =>
      Array.from({ length: 100 }, () => {
        const read = RecordBlock.decode(Buffer.from(body), HEAD.origin, HEAD.baseTimeMs);
        return read.read(read.start(), 0)!.detached();
      }),
    );

    assert.ok(bytes < 10 * body.length, `${bytes} bytes for 100 short records`);
  });
});

describe("a segment that was cut", () => {
  it("yields exactly the records whose last byte reached the disk, wherever the file was cut", async () => {
    const blocks = fc.array(given, { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(blocks, fc.nat(), async (contents, cutSeed) => {
        const epoch = 77;
        let file: Buffer = Buffer.alloc(SEGMENT_HEADER_BYTES);
        const ends: number[] = [];
        const plain = [];
        for (const items of contents) {
          const filled = fill(items);
          plain.push(filled.plain);
          const packed = [await packRecords(filled.block, deflateCompression)];
          file = Buffer.concat([file, frameBlocks(packed, epoch, file.length, 0)]);
          ends.push(file.length);
        }
        const cut = SEGMENT_HEADER_BYTES + (cutSeed % (file.length - SEGMENT_HEADER_BYTES + 1));
        const segment: Segment = {
          sequence: 1,
          base: HEAD.origin,
          epoch,
          path: "/q/s",
          size: cut,
          end: undefined,
          carries: false,
          provenLength: 0,
          judged: true,
          knownBad: [],
          growing: false,
        };
        const disk = new SimDisk();
        const handle = await disk.create(segment.path);
        await handle.write(file.subarray(0, cut), 0);
        await handle.close();
        const reader = new SegmentReader(segment, disk, deflateCompression);

        const found = [];
        for (let block = await reader.next(); block !== undefined; block = await reader.next()) {
          const { origin, baseTimeMs } = block.header;
          found.push(read(RecordBlock.decode(await block.body(), origin, baseTimeMs)));
        }
        await reader.close();

        assert.deepEqual(
          found,
          plain.filter((_, i) => ends[i]! <= cut),
        );
        assert.equal(disk.openFiles, 0);
      }),
    );
  });
});
