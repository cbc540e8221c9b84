/**
 * Mocha's spec output, and the counts in a file (reporter option `summary`), so that several runs add up to one line.
 */
const { writeFileSync } = require("node:fs");
const Mocha = require("mocha");

module.exports = class SummaryReporter extends Mocha.reporters.Spec {
  constructor(runner, options) {
    super(runner, options);
    const file = options.reporterOptions?.summary;
    runner.once(Mocha.Runner.constants.EVENT_RUN_END, () => {
      const { passes, failures, pending } = runner.stats;
      if (file) writeFileSync(file, JSON.stringify({ passed: passes, failed: failures, skipped: pending }));
    });
  }
};
