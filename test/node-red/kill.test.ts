/** Real Node-REDs, killed at random moments under 1,000 messages a second, their file taken away half of the time. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Chaos } from "../chaos/chaos.js";
import { FileSubject } from "../chaos/file-subject.js";
import { seededRandom } from "../support/fake-clock.js";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";

/** More, and for longer: `npm run soak`. */
const KILLS = 10;

for (const version of NODE_RED_VERSIONS) {
  describe(`kill -9 of Node-RED ${version}`, function () {
    this.timeout(KILLS * 60_000 + 600_000);

    it("loses no record that was written, doubles none and keeps their order", async () => {
      const seed = Date.now() % 1_000_000;
      const folder = mkdtempSync(join(tmpdir(), "resilient-kill-"));
      const steps: string[] = [];
      const chaos = await Chaos.start({
        version,
        subject: await FileSubject.in(folder),
        random: seededRandom(seed),
        messagesPerSecond: 1_000,
        onStep: (step) => steps.push(step),
      });
      try {
        for (let i = 0; i < KILLS; i++) await chaos.kill();
        const { kills, accepted, checked, arrived, violations } = await chaos.finish();

        const told = `seed ${seed}\n${steps.join("\n")}\n${chaos.nodeRed.lines.slice(-30).join("\n")}`;
        assert.deepEqual(violations, [], told);
        assert.ok(kills >= KILLS && checked > KILLS * 100, `only ${checked} of ${accepted} were promised. ${told}`);
        process.stdout.write(`    ${kills} kills, ${checked} records checked, ${arrived} arrived (seed ${seed})\n`);
      } finally {
        await chaos.close();
        rmSync(folder, { recursive: true, force: true });
      }
    });
  });
}
