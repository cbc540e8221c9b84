/**
 * A pool of several targets under 2,000 messages a second, each target taken away and given back at random, Node-RED
 * killed: every member has every record, once. More kills: `KILLS=50`, or the soak.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Chaos } from "../chaos/chaos.js";
import { ElasticsearchSubject } from "../chaos/elasticsearch-subject.js";
import { FileSubject } from "../chaos/file-subject.js";
import { MongodbSubject } from "../chaos/mongodb-subject.js";
import { PoolSubject } from "../chaos/pool-subject.js";
import type { Subject } from "../chaos/subject.js";
import { START_TIMEOUT_MS, VERSIONS } from "../servers/elasticsearch.js";
import { needMongoServer } from "../servers/mongodb.js";
import { seededRandom } from "../support/fake-clock.js";
import type { NodeRedVersion } from "../support/node-red-install.js";
import { skipBecause } from "../support/skip.js";

const KILLS = Number(process.env["KILLS"] ?? 5);

describe("kill -9 of Node-RED with a pool", function () {
  this.timeout(KILLS * 120_000 + 2 * START_TIMEOUT_MS);
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "resilient-pool-kill-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const fileIn = (name: string): Promise<Subject> => {
    mkdirSync(join(folder, name));
    return FileSubject.in(join(folder, name));
  };

  it("of three files loses no record that was written, and doubles none, in Node-RED 4.1", async () => {
    await survive("4.1", [await fileIn("a"), await fileIn("b"), await fileIn("c")]);
  });

  it("of a file, MongoDB and Elasticsearch loses no record that was written, and doubles none, in Node-RED 5", async function () {
    await needMongoServer(this);
    this.timeout(KILLS * 120_000 + 2 * START_TIMEOUT_MS); // that was for the building of the server
    if (VERSIONS[0] === "given") skipBecause(this, "a given server is not killed");
    await survive("5", [await fileIn("a"), await MongodbSubject.start(), await ElasticsearchSubject.start()]);
  });
});

async function survive(version: NodeRedVersion, members: readonly Subject[]): Promise<void> {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
  const steps: string[] = [];
  const chaos = await Chaos.start({
    version,
    subject: new PoolSubject(members),
    random: seededRandom(seed),
    messagesPerSecond: 2_000,
    turnChance: 0.9,
    onStep: (step) => steps.push(step),
  });
  try {
    for (let i = 0; i < KILLS; i++) await chaos.kill();
    const { kills, accepted, checked, arrived, violations } = await chaos.finish();

    const told = `seed ${seed}\n${steps.join("\n")}\n${telling(chaos.nodeRed.lines).join("\n")}`;
    assert.deepEqual(violations, [], told);
    assert.ok(kills >= KILLS && checked > KILLS * 100, `only ${checked} of ${accepted} were promised. ${told}`);
    process.stdout.write(`    ${kills} kills, ${checked} records checked in each, ${arrived} arrived (seed ${seed})\n`);
  } finally {
    await chaos.close();
  }
}

/** Of all lives: what the nodes say of themselves, and the statuses that count drops. */
function telling(lines: readonly string[]): string[] {
  return lines.filter((line) => /\[resilient-|dropped|caught|Started flows/.test(line)).slice(-200);
}
