import assert from "node:assert/strict";
import { ProblemLog } from "../../../nodes/shared/problem-log.js";
import { FakeClock } from "../../support/fake-clock.js";

describe("log lines of a node", () => {
  it("writes a cause that comes back every second once a minute, with a count", async () => {
    const clock = new FakeClock();
    const lines: string[] = [];
    const log = new ProblemLog(clock, (line) => lines.push(line));

    for (let second = 0; second < 121; second++) {
      log.add("refused", "The target refused the connection.");
      await clock.advance(1_000);
    }

    assert.deepEqual(lines, [
      "The target refused the connection.",
      "The target refused the connection. (and 59 times more since the last line)",
      "The target refused the connection. (and 59 times more since the last line)",
    ]);
  });

  it("writes another cause at once", () => {
    const lines: string[] = [];
    const log = new ProblemLog(new FakeClock(), (line) => lines.push(line));

    log.add("refused", "a");
    log.add("reset", "b");

    assert.deepEqual(lines, ["a", "b"]);
  });

  it("does not grow without end when every cause is new", () => {
    const lines: string[] = [];
    const log = new ProblemLog(new FakeClock(), (line) => lines.push(line));

    for (let i = 0; i < 1_000; i++) log.add(`cause ${i}`, "x");
    log.add("cause 999", "x");
    log.add("cause 0", "x");

    assert.equal(lines.length, 1_001, "the newest cause is remembered, the oldest is not");
  });
});
