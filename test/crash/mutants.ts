/**
 * Faults to plant in the log, one at a time, to show that the exploration can fail: each breaks one rule of FORMAT.md,
 * and each must be found.
 */
import type { ExploreOptions, Profile } from "./explore.js";
import type { Result } from "./pool.js";

export interface Edit {
  /** In `src/log`. */
  readonly file: string;
  /** Stands there exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface PlantedFault {
  readonly name: string;
  /** The rule of FORMAT.md that it breaks. */
  readonly rule: number;
  readonly edits: readonly Edit[];
  /** Where it is found sooner; posix by default. */
  readonly profile?: Profile;
  /** The kind of day that shows it. */
  readonly scenario?: string;
  /** States within which it must be found. */
  readonly states?: number;
}

/** What to explore to find a fault. */
export function faultOptions(
  { profile = "posix", states = 60_000, scenario }: PlantedFault,
  seed: number,
): Omit<ExploreOptions, "onProgress"> {
  return { profile, states, seed, ...(scenario === undefined ? {} : { scenario }) };
}

/** A fault that was planted badly and does not run has not been found. */
export function isFound(result: Result): boolean {
  return result.kind === "violation" && !result.message.includes(" is not defined");
}

function fault(rule: number, name: string, ...edits: Edit[]): PlantedFault {
  return { rule, name, edits };
}

/** Only some days show this one soon. */
function on(scenario: string, planted: PlantedFault): PlantedFault {
  return { ...planted, scenario };
}

function edit(file: string, find: string, replace: string): Edit {
  return { file, find, replace };
}

export const MUTANTS: readonly PlantedFault[] = [
  // ---- writing
  fault(
    1,
    "append-old",
    edit(
      "store.ts",
      "    let writer = this.#writer;\n    let framed: Buffer;\n",
      `    let writer = this.#writer;
    const old = this.#folder.segments.at(-1);
    if (writer === undefined && old !== undefined && old.size > 64 && old === this.#found.segments.at(-1)) {
      writer = this.#writer = await SegmentWriter.reopen(old, this.#o.files);
    }
    let framed: Buffer;
`,
    ),
    edit("store.ts", "  type SegmentWriter,\n", "  SegmentWriter,\n"),
    edit(
      "segments/segment.ts",
      "  /** Where the next block will stand. */\n",
      `  static async reopen(segment: Segment, files: Files): Promise<SegmentWriter> {
    const writer = new SegmentWriter(segment, await files.open(segment.path));
    writer.#position = writer.#wholeEnd = segment.size;
    return writer;
  }
  /** Where the next block will stand. */
`,
    ),
  ),
  fault(
    2,
    "order-by-base",
    edit("segments/identified.ts", "a.sequence - b.sequence || a.epoch", "a.base - b.base || a.epoch"),
  ),
  fault(
    3,
    "seal-no-sync",
    edit(
      "store.ts",
      "    await this.#syncWriter(writer);\n    writer.segment.growing = false;",
      "    writer.segment.growing = false;",
    ),
  ),
  on(
    "failing disk",
    fault(
      4,
      "create-on-dirty-dir",
      edit("segments/segment-folder.ts", "      if (this.#isDirty) await this.sync();\n", ""),
    ),
  ),
  fault(5, "no-dirsync", edit("store.ts", "      if (this.#folder.isDirty) await this.#folder.sync();\n", "")),
  on(
    "members",
    fault(
      6,
      "cursor-after",
      edit(
        "store.ts",
        "packed.unshift(await packCursors(BLOCK_KINDS.cursors",
        "packed.push(await packCursors(BLOCK_KINDS.cursors",
      ),
    ),
  ),
  fault(
    7,
    "no-snapshot",
    edit("store.ts", "const body = this.#snapshotBody(view);", "const body = this.#snapshotBody(new Map());"),
  ),
  fault(
    7,
    "snapshot-moved-only",
    edit(
      "store.ts",
      "const body = this.#snapshotBody(view);",
      "const body = this.#snapshotBody(new Map([...changes].filter((change) => change[1] !== null)) as Cursors);",
    ),
  ),
  on(
    "full disk",
    fault(
      8,
      "short-is-ok",
      edit(
        "segments/segment.ts",
        "this.#unfinished = bytes === this.#unfinished!.length ? undefined : this.#unfinished!.subarray(bytes);",
        "this.#unfinished = undefined;",
      ),
    ),
  ),
  on(
    "full disk",
    fault(
      8,
      "overwrite-short",
      edit(
        "segments/segment.ts",
        "    await this.finish();\n",
        "    try {\n      await this.finish();\n    } catch (error) {\n      this.#position = this.#wholeEnd;\n      this.#unfinished = undefined;\n      throw error;\n    }\n",
      ),
      edit(
        "store.ts",
        "    if (this.#unfinished === undefined || writer === undefined) return;",
        "    if (writer === undefined || this.#unfinished !== undefined) {\n      this.#unfinished = undefined;\n      return;\n    }\n    if (this.#unfinished === undefined) return;",
      ),
    ),
  ),
  on(
    "failing disk",
    fault(
      9,
      "retry-eio",
      edit(
        "store.ts",
        "      await this.#abandon();\n      throw new StorageError(`The queue could not be synced",
        "      throw new StorageError(`The queue could not be synced",
      ),
    ),
  ),
  on(
    "failing disk",
    fault(
      9,
      "free-after-write",
      edit(
        "store.ts",
        "    this.#tail.wrote(blocks, upTo, end);\n",
        "    this.#tail.wrote(blocks, upTo, end);\n    this.#tail.synced(end);\n",
      ),
    ),
  ),
  on(
    "failing disk",
    fault(
      9,
      "carry-unsaid",
      edit("store.ts", "    this.#tail.unwrite();\n    this.#carries = true;", "    this.#tail.unwrite();"),
    ),
  ),
  {
    ...on(
      "settling on a failing disk",
      fault(
        9,
        "forget-unsettled",
        edit("tail.ts", "      if (entry.isInDoubt && block.last >= (settledBelow ??= settled.below)) continue;\n", ""),
      ),
    ),
    states: 150_000, // it takes a failed sync, a target that cannot settle, a kill and a power cut
  },
  fault(
    10,
    "elide-by-any",
    edit(
      "done.ts",
      "  has(offset: number): boolean {\n    for (const consumer of this.#consumers.values()) if (!consumer.isConfirmed(offset)) return false;\n",
      "  has(offset: number): boolean {\n    let any = false;\n    for (const consumer of this.#consumers.values()) any ||= consumer.isConfirmed(offset);\n    if (!any) return false;\n",
    ),
  ),
  on(
    "members",
    fault(
      10,
      "elide-orphans",
      edit(
        "done.ts",
        "    for (const cursor of this.#orphans.values()) if (!isConfirmedBy(cursor, offset)) return false;\n",
        "",
      ),
    ),
  ),
  fault(
    10,
    "contiguous",
    edit(
      "consumer/consumer.ts",
      "const { coversFrom, offset } = record as BlockRecord;",
      "const { offset } = record as BlockRecord;\n      const coversFrom = offset;",
    ),
    edit(
      "consumer/consumer.ts",
      "    if (this.#progress.isAllConfirmed(from, to)) return;\n",
      "    if (to > 0) return;\n",
    ),
  ),
  fault(
    10,
    "no-ranges",
    edit(
      "format/cursor.ts",
      "    writeRanges(writer, cursor.ranges, cursor.offset);",
      "    writeRanges(writer, [], cursor.offset);",
    ),
  ),
  fault(
    10,
    "max-confirmed",
    edit(
      "consumer/progress.ts",
      "return { offset: this.#cursor, ranges: [...this.#confirmed], state: this.#state };",
      "return { offset: [...this.#confirmed].at(-1)?.to ?? this.#cursor, ranges: [], state: this.#state };",
    ),
  ),
  on("forged", fault(11, "no-salt", edit("format/frame.ts", "  return crc32(bytes);", "  return 0;"))),
  fault(
    11,
    "no-body-crc",
    edit(
      "segments/segment.ts",
      "stored.length === header.storedLength && crc32(stored) === header.bodyCrc",
      "stored.length === header.storedLength",
    ),
  ),
  fault(
    11,
    "header-needed",
    edit("segments/recovery.ts", "header?.logId.equals(logId) === false", "header?.logId.equals(logId) !== true"),
  ),

  // ---- opening
  fault(
    13,
    "newest-only",
    edit(
      "segments/scan.ts",
      "    if (found.snapshot !== undefined && (!found.snapshot.carries || isProven)) break;",
      "    break;",
    ),
  ),
  fault(
    13,
    "stop-at-snapshot",
    edit(
      "segments/scan.ts",
      "    if (found.snapshot !== undefined && (!found.snapshot.carries || isProven)) break;",
      "    if (found.snapshot !== undefined) break;",
    ),
  ),
  fault(
    14,
    "stop-at-bad",
    edit(
      "segments/segment.ts",
      "      const found = nextMagic(bytes, 0);\n      if (found >= 0) return at + found;\n",
      "",
    ),
  ),
  fault(
    15,
    "next-from-records",
    edit(
      "segments/recovery.ts",
      "found.records.length > 0 ? segment.end : 0, snapshot?.nextOffset ?? 0);",
      "found.records.length > 0 ? segment.end : 0);",
    ),
    edit("segments/recovery.ts", "  for (const { base } of segments) nextOffset = Math.max(nextOffset, base);\n", ""),
    edit(
      "segments/recovery.ts",
      "  for (const { offset, ranges } of cursors.values()) nextOffset = Math.max(nextOffset, offset, ranges.at(-1)?.to ?? 0);\n",
      "",
    ),
  ),
  fault(
    16,
    "no-redo",
    edit(
      "segments/recovery.ts",
      "const carried = await collectCarried(",
      "const carried: RecordBlock[] = [];\n  await collectCarried(",
    ),
  ),
  on(
    "failing disk",
    fault(
      16,
      "trust-fdatasync",
      edit(
        "store.ts",
        "    await this.#finishRound();\n    const { compression, clock } = this.#o;\n",
        `    if (this.#carries && this.#folder.segments.at(-1) === this.#found.segments.at(-1)) {
      for (const { path } of this.#found.segments) {
        const file = await this.#o.files.open(path).catch(() => undefined);
        await file?.sync().catch(() => undefined);
        await file?.close();
      }
      this.#tail.trust();
      this.#carries = false;
    }
    await this.#finishRound();
    const { compression, clock } = this.#o;
`,
      ),
      edit(
        "tail.ts",
        "  /** What was written and not synced has to be written again, elsewhere. */\n",
        "  trust(): void {\n    for (const { block } of this.#entries) if (block.replayed) this.#unwrittenBytes -= block.length;\n    this.#entries = this.#entries.filter(({ block }) => !block.replayed);\n  }\n",
      ),
    ),
  ),
  on(
    "restarts",
    fault(
      17,
      "no-settle",
      edit("segments/segment-folder.ts", "life before has left. */\n  #isDirty = true;", "*/\n  #isDirty = false;"),
      edit(
        "segments/segment-folder.ts",
        "names is durable. */\n  #namesSettled = false;",
        "*/\n  #namesSettled = true;",
      ),
    ),
  ),
  on(
    "members",
    fault(
      18,
      "unknown-at-present",
      edit(
        "segments/recovery.ts",
        "const newcomerOffset = newcomer(scans, segments, hasSnapshot, nextOffset);",
        "const newcomerOffset = nextOffset;",
      ),
    ),
  ),
  fault(
    18,
    "new-at-oldest",
    edit(
      "segments/recovery.ts",
      "const newcomerOffset = newcomer(scans, segments, hasSnapshot, nextOffset);",
      "const newcomerOffset = segments[0]?.base ?? nextOffset;",
    ),
  ),
  on(
    "failing disk",
    fault(
      19,
      "cut-by-name",
      edit(
        "segments/segment-folder.ts",
        "return new LogReader(this,",
        `const folder = this;
    const list: SegmentList = {
      get segments() { return folder.segments; },
      endOf: (segment) => folder.#segments[folder.#segments.indexOf(segment) + 1]?.base ?? folder.endOf(segment),
      onDamage: (segment, range) => folder.onDamage(segment, range),
    };
    return new LogReader(list,`,
      ),
    ),
  ),

  // ---- deleting
  fault(
    20,
    "gc-any-cursor",
    edit(
      "store.ts",
      "    for (const { offset } of cursors.values()) lowest = Math.min(lowest, offset);",
      "    lowest = Math.max(...[...cursors.values()].map(({ offset }) => offset));",
    ),
  ),
  on(
    "failing disk",
    fault(
      20,
      "end-by-name",
      edit(
        "segments/segment-folder.ts",
        "    const alive = this.#segments.findIndex((segment) => this.endOf(segment) > lowest);",
        "    const alive = this.#segments.findIndex((segment, i) => (this.#segments[i + 1]?.base ?? this.endOf(segment)) > lowest);",
      ),
    ),
  ),
  fault(
    21,
    "gc-no-cursor",
    edit(
      "store.ts",
      "const wantsCursors = this.#deadSegments().length > 0 && !this.#onlyUnlink();",
      "const wantsCursors = false as boolean;",
    ),
    edit("store.ts", "    if (this.#durable === undefined) return;\n", ""),
    edit(
      "store.ts",
      "    for (const id of view.keys()) if (!this.#durable.has(id)) return;\n    const dead = this.#deadSegments(this.#durable);",
      "    const dead = this.#deadSegments(view);",
    ),
  ),
  on(
    "draining",
    fault(
      22,
      "drain-no-dirsync",
      edit(
        "store.ts",
        "      await this.#folder.syncRemovals();\n      await this.#unlink(this.#folder.segments);",
        "      await this.#unlink(this.#folder.segments);",
      ),
    ),
  ),
  on(
    "draining",
    fault(
      22,
      "drain-later-no-dirsync",
      edit("store.ts", "      if (this.#folder.isDirty) await this.#folder.syncRemovals();\n", ""),
    ),
  ),
  on(
    "draining",
    fault(
      22,
      "unlink-holder-first",
      edit(
        "store.ts",
        "dead.filter((segment) => segment !== this.#durableHolder && !segment.growing)",
        "dead.filter((segment) => !segment.growing || dead.length > 1).reverse()",
      ),
    ),
  ),
  on(
    "full disk after a restart",
    fault(
      22,
      "free-all-at-once",
      edit(
        "store.ts",
        "await this.#unlink([segment]);\n      await this.#folder.syncRemovals();",
        "await this.#unlink([segment]);",
      ),
    ),
  ),
  on(
    "members",
    fault(
      23,
      "no-tombstone",
      edit("store.ts", "    for (const id of this.#written.keys()) if (!view.has(id)) changes.set(id, null);\n", ""),
    ),
  ),
  fault(
    24,
    "base-next",
    edit("segments/segment-folder.ts", "const base = Math.min(first, this.#writtenEnd(next));", "const base = next;"),
  ),

  // ---- reporting
  fault(
    25,
    "all-bad-is-loss",
    edit(
      "segments/recovery.ts",
      "const bytes = Math.min(range.to, segment.provenLength) - range.from;",
      "const bytes = range.to - range.from;",
    ),
  ),
  fault(25, "older-is-proven", edit("segments/damage.ts", "told?.provenLength ?? 0;", "this.#segment.size;")),
  fault(
    25,
    "gap-by-base",
    edit(
      "segments/recovery.ts",
      "if (sequence > expected && needsBelow(base)) losses",
      "if (base > lowest && needsBelow(base)) losses",
    ),
  ),
  fault(
    25,
    "loss-untold",
    edit(
      "segments/recovery.ts",
      "losses: lossesOf(scans, segments, cursors, hasSnapshot).filter(",
      "losses: ([] as Loss[]).filter(",
    ),
  ),
  fault(
    25,
    "loss-read-untold",
    edit("segments/damage.ts", "await this.#onDamage({ from, to: damageTo });", "void this.#onDamage;"),
  ),
  fault(
    25,
    "cut-short-untold",
    edit(
      "segments/damage.ts",
      "const missing = isEnd ? [{ from: segment.size, to: Number.POSITIVE_INFINITY }] : [];",
      "const missing: Range[] = [];",
    ),
  ),

  // ---- what holds at any time
  on(
    "settling",
    fault(
      26,
      "unsettled-cursor",
      edit("consumer/progress.ts", "if (this.settle === undefined && isBehind)", "if (isBehind)"),
    ),
  ),
  on(
    "failing disk",
    fault(
      27,
      "carried-end-by-base",
      edit(
        "segments/segment-folder.ts",
        "this.#segments.find(({ carries }, i) => i > index && !carries)",
        "this.#segments[index + 1]",
      ),
    ),
  ),
  fault(28, "close-proves-nothing", edit("log.ts", "        await this.#store.proveTail();\n", "")),
  on(
    "backups",
    fault(
      32,
      "old-hides-new",
      edit(
        "segments/recovery.ts",
        "if (own === UNKNOWN_GENERATION || own === generation)",
        "if (own >= UNKNOWN_GENERATION)",
      ),
    ),
  ),
  on(
    "backups",
    fault(
      32,
      "restored-for-ever",
      edit("store.ts", "    await this.#deleteRestored();\n    if (settleFailure", "    if (settleFailure"),
    ),
  ),
  fault(
    30,
    "exit-writes-a-block",
    edit("store.ts", "const packed = blocks.map(({ kept }) =>", "const packed = blocks.slice(0, 1).map(({ kept }) =>"),
  ),
  on(
    "full budgets",
    fault(
      31,
      "dropped-uncounted",
      edit(
        "readership.ts",
        "for (const consumer of this.#consumers.values()) dropped += consumer.drop(from, to);",
        "for (const consumer of this.#consumers.values()) dropped = consumer.drop(from, to);",
      ),
    ),
  ),
  fault(
    29,
    "handles-kept",
    edit("segments/reader.ts", "    for (const stream of streams) await stream.close();\n", "    void streams;\n"),
  ),
];
