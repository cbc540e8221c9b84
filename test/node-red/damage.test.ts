/** Queue folders that a user, a bad card or a copy has damaged: Node-RED starts, delivers the rest, and says so. */
import assert from "node:assert/strict";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { EJSON } from "bson";
import { exportRecords } from "../../src/cli/export.js";
import { QueueFolder } from "../../src/cli/queue-folder.js";
import { FileSubject } from "../chaos/file-subject.js";
import { chaosFlow, EXPORTER_ID, isIntact, withoutSource } from "../chaos/flow.js";
import { Witness } from "../chaos/witness.js";
import { type Flow, type NodeRed, startNodeRed } from "../support/node-red.js";
import { tmpdir } from "node:os";
import { until } from "./flows.js";

const LIVES = 3;
const RECORDS_PER_LIFE = 700;

interface Damage {
  readonly what: string;
  readonly how: (segments: readonly string[], queue: string) => void;
  /** What the log must say. */
  readonly says: RegExp;
  /** Records that must be missing at least, and lives whose records may be missing at most. */
  readonly loses: readonly [number, number];
}

const DAMAGES: readonly Damage[] = [
  {
    what: "a bit flipped in the middle of a segment",
    how: ([first]) => {
      const bytes = readFileSync(first!);
      const at = Math.floor(bytes.length / 2);
      bytes[at] = bytes[at]! ^ 0x10;
      writeFileSync(first!, bytes);
    },
    says: /damage|cannot be read|unreadable/i,
    loses: [1, 2],
  },
  {
    what: "a segment deleted",
    how: (segments) => rmSync(segments[1]!),
    says: /missing/i,
    loses: [1, 2],
  },
  {
    what: "a segment truncated",
    how: ([first]) => truncateSync(first!, Math.floor(statSync(first!).size / 2)),
    says: /damage|cannot be read|unreadable|cut/i,
    loses: [1, 2],
  },
  {
    what: "a segment full of zeroes",
    how: (segments) => writeFileSync(segments[1]!, Buffer.alloc(statSync(segments[1]!).size)),
    says: /damage|cannot be read|unreadable/i,
    loses: [1, 2],
  },
  {
    what: "a folder that was copied from another machine",
    how: (_, queue) => rmSync(join(queue, "queue.id")),
    says: /./,
    loses: [0, 0],
  },
];

describe("a damaged queue folder", () => {
  let folder: string;
  let template: string;
  let witness: Witness;
  let sent: Set<number>;
  /** Records of the longest life: how long one takes is up to the machine. */
  let mostPerLife = 0;
  let nodeRed: NodeRed | undefined;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "resilient-damage-"));
    template = join(folder, "template");
    mkdirSync(template);
    mkdirSync(join(folder, "out"));
    const subject = await FileSubject.in(join(folder, "out"));
    await subject.hold(0);
    witness = await Witness.listen();
    const maker = await startNodeRed("5", { flows: flowFor(subject, witness.port, template) });
    const heard: number[] = [];
    for (let life = 0; life < LIVES; life++) {
      if (life > 0) await maker.restart();
      await until("enough records", () => witness.count > RECORDS_PER_LIFE);
      await maker.stop();
      const accepted = await witness.take();
      for (const { n } of accepted) heard.push(n);
      mostPerLife = Math.max(mostPerLife, accepted.length);
    }
    await maker.remove();
    sent = await waitingIn(template);
    assert.deepEqual(
      heard.filter((n) => !sent.has(n)),
      [],
      "accepted, and not in the queue",
    );
    assert.ok(segmentsOf(template).length >= 2, "each life has a segment of its own");
  });
  afterEach(async () => nodeRed?.remove());
  after(async () => {
    await witness.close();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const [index, { what, how, says, loses }] of DAMAGES.entries()) {
    it(`is opened with ${what}: what is intact is delivered once and in order, and the log tells`, async () => {
      const queue = join(folder, `queue-${index}`);
      cpSync(template, queue, { recursive: true });
      how(segmentsOf(queue), queue);
      mkdirSync(join(folder, `out-${index}`));
      const subject = await FileSubject.in(join(folder, `out-${index}`));

      nodeRed = await startNodeRed("5", { flows: withoutSource(flowFor(subject, witness.port, queue)) });
      await until("the queue to be empty", () => segmentsOf(queue).length === 0);

      const arrived: number[] = [];
      for await (const value of subject.arrived()) {
        assert.ok(isIntact(value), JSON.stringify(value));
        arrived.push(value.n);
      }
      assert.deepEqual(
        arrived,
        [...new Set(arrived)].sort((a, b) => a - b),
      );
      assert.ok(
        arrived.every((n) => sent.has(n)),
        "a record arrived that was never sent",
      );
      const lost = sent.size - arrived.length;
      assert.ok(lost >= loses[0] && lost <= loses[1] * mostPerLife, `${lost} of ${sent.size} records are missing`);
      const warnings = nodeRed.lines.filter((line) => line.includes("[resilient-runtime:"));
      assert.ok(loses[1] === 0 ? warnings.length === 0 : warnings.some((line) => says.test(line)), warnings.join("\n"));
      process.stdout.write(`      ${lost} of ${sent.size} lost. ${warnings.join(" | ")}\n`);
    });
  }
});

/** What the queues of a folder hold: a flow that is being stopped may accept a message that nobody hears of. */
async function waitingIn(queue: string): Promise<Set<number>> {
  const found = new Set<number>();
  const output = {
    line(text: string): Promise<void> {
      found.add((EJSON.parse(text) as { payload: { n: number } }).payload.n);
      return Promise.resolve();
    },
    note: () => undefined,
  };
  await exportRecords(await QueueFolder.open(queue), { log: undefined, consumer: undefined, dead: false }, output);
  return found;
}

function flowFor(subject: FileSubject, witnessPort: number, queue: string): Flow {
  return chaosFlow({ exporter: subject.exporter, witnessPort, messagesPerSecond: 1_000, runtime: { folder: queue } });
}

function segmentsOf(queue: string): string[] {
  const folder = join(queue, "logs", EXPORTER_ID);
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith(".seg"))
      .sort()
      .map((name) => join(folder, name));
  } catch {
    return []; // the folder of an empty queue is not kept
  }
}
