/**
 * Skips a test, or from a `before` hook a whole suite, for want of something this machine lacks, and says what.
 */
import type { Context } from "mocha";

export function skipBecause(context: Context, why: string): never {
  process.stdout.write(`    skipped: ${why}\n`);
  return context.skip();
}
