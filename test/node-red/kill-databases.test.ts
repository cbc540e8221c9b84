/**
 * Real Node-REDs and their databases, killed at random moments under 2,000 messages a second: every record is in the
 * database once, counted there. Many more kills: `KILLS=50 HOLDS=50`, or the soak.
 */
import assert from "node:assert/strict";
import { Chaos } from "../chaos/chaos.js";
import { ElasticsearchSubject } from "../chaos/elasticsearch-subject.js";
import { MongodbSubject } from "../chaos/mongodb-subject.js";
import type { Subject } from "../chaos/subject.js";
import { START_TIMEOUT_MS, VERSIONS } from "../servers/elasticsearch.js";
import { needMongoServer } from "../servers/mongodb.js";
import { seededRandom } from "../support/fake-clock.js";
import type { NodeRedVersion } from "../support/node-red-install.js";
import { skipBecause } from "../support/skip.js";

const KILLS = Number(process.env["KILLS"] ?? 5);

describe("kill -9 of Node-RED 4.1 and of MongoDB", function () {
  this.timeout(KILLS * 120_000 + 600_000);

  before(async function () {
    await needMongoServer(this);
  });

  it("loses no record that was written, and stores none twice", async () => {
    await survive("4.1", await MongodbSubject.start(), Number(process.env["HOLDS"] ?? 5));
  });
});

describe("kill -9 of Node-RED 5 and of Elasticsearch", function () {
  this.timeout(KILLS * 120_000 + 2 * START_TIMEOUT_MS);

  before(function () {
    if (VERSIONS[0] === "given") skipBecause(this, "a given server is not killed");
  });

  it("loses no record that was written, and stores none twice", async () => {
    await survive("5", await ElasticsearchSubject.start(), Number(process.env["HOLDS"] ?? 3));
  });
});

async function survive(
  version: NodeRedVersion,
  subject: Subject & { readonly holds: number },
  holds: number,
): Promise<void> {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
  const steps: string[] = [];
  const random = seededRandom(seed);
  const chaos = await Chaos.start({
    version,
    subject,
    random,
    messagesPerSecond: 2_000,
    turnChance: 0.9,
    onStep: (step) => steps.push(step),
  });
  try {
    let lives = 0;
    while (lives < KILLS || subject.holds < holds) {
      await chaos.kill();
      lives++;
    }
    const { kills, accepted, checked, arrived, violations } = await chaos.finish();

    const told = `seed ${seed}\n${steps.join("\n")}\n${chaos.nodeRed.lines.slice(-30).join("\n")}`;
    assert.deepEqual(violations, [], told);
    assert.ok(checked > KILLS * 500, `only ${checked} of ${accepted} were promised. ${told}`);
    process.stdout.write(
      `    ${kills} kills of Node-RED, ${subject.holds} of the server, ${checked} records checked, ${arrived} arrived (seed ${seed})\n`,
    );
  } finally {
    await chaos.close();
  }
}
