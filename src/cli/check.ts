/** `check`: reads every byte of every file, and says what is damaged, and whether anyone still needed it. */
import { type Files, systemFiles } from "../files.js";
import { KEEPER } from "../delivery/dead-letters.js";
import { BytesError } from "../log/format/bytes.js";
import { deflateCompression } from "../log/format/compression.js";
import { decodeSnapshot, type Predecessor } from "../log/format/cursor.js";
import { BLOCK_HEADER_BYTES, BLOCK_KINDS, decodeSegmentHeader, parseSegmentName } from "../log/format/frame.js";
import type { Log } from "../log/log.js";
import { type Range, RangeSet } from "../log/format/ranges.js";
import type { Loss } from "../log/segments/recovery.js";
import { type Segment, SegmentReader } from "../log/segments/segment.js";
import { DEAD } from "../runtime/folder.js";
import { hasLostPlaces, waitersIn, waitingIn } from "../runtime/waiting.js";
import { type QueueFolder, type QueuePlace, nameOf } from "./queue-folder.js";
import { type Output, bytesText, count } from "./text.js";
import { basename } from "node:path";

interface Finding {
  readonly kind: "lost" | "missing" | "damaged" | "torn" | "unreadable" | "foreign" | "unknown";
  readonly text: string;
}

/** Each is a reason for the exit code 1. */
const DAMAGE: ReadonlySet<Finding["kind"]> = new Set(["lost", "missing", "damaged", "unreadable"]);

interface Checked {
  readonly blocks: number;
  readonly files: number;
  readonly records: number;
  readonly findings: readonly Finding[];
}

/** Resolves to the exit code: 1 when anything is damaged or cannot be read. */
export async function check(folder: QueueFolder, output: Output): Promise<number> {
  let damaged = 0;
  const places = await folder.places();
  for (const place of places) {
    const { blocks, files, records, findings } = await checkOne(folder, place);
    const isDamaged = findings.some(({ kind }) => DAMAGE.has(kind));
    if (isDamaged) damaged++;
    const what = `${count(files, "file")}, ${count(blocks, "intact block")}, ${count(records, "record")} wanted`;
    await output.line(`${nameOf(place)}: ${what}${isDamaged ? ", DAMAGED" : ""}`);
    for (const { text } of findings) await output.line(`  ${text}`);
  }
  if (damaged === 0) await output.line(`${count(places.length, "queue")}: no damage`);
  else {
    await output.line(
      `${damaged} of ${count(places.length, "queue")} damaged. What is intact will be delivered as it is:`,
    );
    await output.line("there is nothing to repair, and nothing to delete.");
  }
  return damaged === 0 ? 0 : 1;
}

async function checkOne(folder: QueueFolder, place: QueuePlace): Promise<Checked> {
  let losses: Loss[] = [];
  try {
    return await folder.look(
      place,
      async (log) => {
        losses = [...log.found.losses];
        const scans: SegmentScan[] = [];
        for (const segment of log.found.segments) scans.push(await scanSegment(segment, systemFiles));
        const records = await readWanted(log, place);
        const findings = [...findingsOf(scans, losses), ...(await othersIn(place, log))];
        const blocks = scans.reduce((sum, scan) => sum + scan.blocks, 0);
        return { files: scans.length, blocks, records, findings };
      },
      (loss) => losses.push(loss),
    );
  } catch (error) {
    const text = `cannot be read: ${(error as Error).message}`;
    return { files: 0, blocks: 0, records: 0, findings: [{ kind: "unreadable", text }] };
  }
}

interface SegmentScan {
  readonly segment: Segment;
  readonly blocks: number;
  readonly hasHeader: boolean;
  readonly bad: readonly Range[];
  /** The highest that its own blocks say was synced. */
  readonly syncedTo: number;
  readonly predecessor: Predecessor | undefined;
}

async function scanSegment(segment: Segment, files: Files): Promise<SegmentScan> {
  const reader = new SegmentReader(segment, files, deflateCompression);
  const undecodable: Range[] = [];
  let blocks = 0;
  let syncedTo = 0;
  let predecessor: Predecessor | undefined;
  try {
    const hasHeader = decodeSegmentHeader(await reader.header()) !== undefined;
    for (let block = await reader.next(); block !== undefined; block = await reader.next()) {
      const { header, position } = block;
      syncedTo = Math.max(syncedTo, header.syncedTo);
      try {
        const body = await block.body();
        if (header.kind === BLOCK_KINDS.snapshot) ({ predecessor } = decodeSnapshot(body));
        blocks++;
      } catch (error) {
        if (!(error instanceof BytesError)) throw error;
        undecodable.push({ from: position, to: position + BLOCK_HEADER_BYTES + header.storedLength });
      }
    }
    return { segment, blocks, hasHeader, bad: [...reader.bad, ...undecodable], syncedTo, predecessor };
  } finally {
    await reader.close();
  }
}

/** Reads all that anyone waits for: what is missing there is told as a loss. Resolves to how many records that is. */
async function readWanted(log: Log, { kind }: QueuePlace): Promise<number> {
  let records = 0;
  const wanted = kind === DEAD ? log.addConsumer(KEEPER).unconfirmed() : waitingIn(log);
  for await (const { offset } of wanted) records += offset >= 0 ? 1 : 0;
  return records;
}

function findingsOf(scans: readonly SegmentScan[], losses: readonly Loss[]): Finding[] {
  const findings: Finding[] = [];
  for (const loss of losses) {
    if (loss.kind === "missing-segment") {
      findings.push({ kind: "missing", text: `a file is missing before ${basename(loss.path)}: what it had is lost` });
    }
  }
  for (const [i, { segment, hasHeader, bad, syncedTo }] of scans.entries()) {
    const name = basename(segment.path);
    const told = scans[i + 1]?.predecessor;
    const provenLength = Math.max(syncedTo, told?.epoch === segment.epoch ? told.provenLength : 0);
    if (!hasHeader && segment.size > 0) {
      findings.push({ kind: "damaged", text: `${name}: the header is damaged, which costs nothing` });
    }
    const lost = RangeSet.of(
      losses.flatMap(({ path, from, bytes }) =>
        path === segment.path && bytes > 0 ? [{ from, to: from + bytes }] : [],
      ),
    );
    const missing = provenLength > segment.size ? [{ from: segment.size, to: provenLength }] : [];
    for (const { from, to } of [...bad, ...missing]) {
      const damagedTo = Math.min(to, provenLength);
      if (damagedTo > from) findings.push(damageAt(name, from, damagedTo, lost.countIn(from, damagedTo) > 0));
      if (to > Math.max(from, provenLength)) {
        const start = Math.max(from, provenLength);
        const where = `${name}: ${bytesText(to - start)} at ${start} cannot be read`;
        findings.push({ kind: "torn", text: `${where}; as after a crash: nothing shows that they were ever safe` });
      }
    }
  }
  return findings;
}

function damageAt(name: string, from: number, to: number, isLost: boolean): Finding {
  const where = `${name}: ${bytesText(to - from)} at ${from} cannot be read`;
  return isLost
    ? { kind: "lost", text: `${where}; somebody was waiting for what stood there, or near it` }
    : { kind: "damaged", text: `${where}; nobody was waiting for it` };
}

/** What lies in the folder of a queue and is none of its files. */
async function othersIn({ folder }: QueuePlace, log: Log): Promise<Finding[]> {
  const findings: Finding[] = log.found.foreign.map((path) => ({
    kind: "foreign",
    text: `${basename(path)} belongs to another queue or is a copy, and is left alone`,
  }));
  for (const name of await systemFiles.list(folder)) {
    if (parseSegmentName(name) === undefined) findings.push({ kind: "unknown", text: `${name} is no queue file` });
  }
  if (
    hasLostPlaces(log) ||
    (waitersIn(log).length === 0 && log.found.segments.length > 0 && log.found.cursors.size === 0)
  )
    findings.push({
      kind: "lost",
      text: "how far its readers were is lost: some of what they have had will come again",
    });
  return findings;
}
