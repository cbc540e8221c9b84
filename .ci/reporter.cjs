/**
 * Mocha's spec output, and the counts in a file (reporter option `summary`), so that several runs add up to one line;
 * with the names of what failed, so that nobody has to look for them.
 */
const { writeFileSync } = require("node:fs");
const Mocha = require("mocha");

module.exports = class SummaryReporter extends Mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const file = options.reporterOptions?.summary;
    const failed = [];
    runner.on(Mocha.Runner.constants.EVENT_TEST_FAIL, (test) => failed.push(test.fullTitle()));
    runner.once(Mocha.Runner.constants.EVENT_RUN_END, () => {
      const { passes, failures, pending } = runner.stats;
      const counts = { passed: passes, failed: failures, skipped: pending, failures: failed };
      if (file) writeFileSync(file, JSON.stringify(counts));
    });
  }
};
