/**
 * The crash enumeration, as far as two minutes go, and the proof that it can fail: faults are planted in copies of the
 * log, one at a time, and each must be found. `npm run crash` goes deeper.
 */
import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { build } from "./build.js";
import { faultOptions, isFound, MUTANTS } from "./mutants.js";
import { type Job, type Result, runAll } from "./pool.js";

/** States of each of the explorations of the log as it is: 100,000 and more in all. */
const EXPLORATIONS = [1, 2, 3].flatMap((seed) =>
  (["posix", "ext4"] as const).map((profile) => ({ profile, seed, states: 17_000 })),
);

describe("a log whose process is killed or whose power is cut at any step", function () {
  // A minute on two cores that are free; many times that on a machine that is busy.
  this.timeout(900_000);
  const results = new Map<string, Result>();

  before(async () => {
    const built = await build(MUTANTS);
    const jobs: Job[] = [];
    for (const options of EXPLORATIONS) {
      const onDone: Job["onDone"] = (result) => results.set(`${options.profile} ${options.seed}`, result);
      jobs.push({ task: { crashFolder: built.crashFolder(), options }, onDone });
    }
    for (const fault of MUTANTS) {
      const task = { crashFolder: built.crashFolder(fault.name), options: faultOptions(fault, 1) };
      jobs.push({ task, onDone: (result) => results.set(fault.name, result) });
    }
    try {
      await runAll(built, jobs, Math.min(2, availableParallelism()));
    } finally {
      built.remove();
    }
  });

  for (const { profile, seed, states } of EXPLORATIONS) {
    it(`loses, repeats, invents or misreports nothing in ${states} crashes (${profile}, seed ${seed})`, () => {
      const result = results.get(`${profile} ${seed}`)!;

      assert.equal(result.kind === "violation" ? result.message + result.stack : "", "");
    });
  }

  for (const { name, rule } of MUTANTS) {
    it(`is not believed when rule ${rule} is broken (${name})`, () => {
      const result = results.get(name)!;

      assert.ok(isFound(result), result.kind === "violation" ? result.message : "nothing was found");
    });
  }
});
