/**
 * The deep crash enumeration: `npm run crash -- --states 1000000 [--seed N] [--profile posix|ext4]`. Without a profile
 * half of the states is run under each. Ends with 1 at the first violation, whose seed it names.
 */
import { parseArgs } from "node:util";
import { Explorer, ExploreError } from "./explore.js";

const { values } = parseArgs({
  options: { states: { type: "string" }, seed: { type: "string" }, profile: { type: "string" } },
});
const states = Number(values.states ?? 100_000);
const seed = Number(values.seed ?? Math.floor(Math.random() * 1e9));
const profiles = (["posix", "ext4"] as const).filter((profile) => (values.profile ?? profile) === profile);

async function main(): Promise<void> {
  for (const profile of profiles) {
    const started = performance.now();
    const seconds = (): string => ((performance.now() - started) / 1_000).toFixed(1);
    const explorer = new Explorer({
      profile,
      seed,
      states: states / profiles.length,
      onProgress: (done) => process.stdout.write(`${profile}: ${done} states, ${seconds()} s\n`),
    });
    const { kills, harmed, nested, states: done } = await explorer.run();
    const kinds = `${kills} kills, ${done - kills} power cuts, ${harmed} damaged by hand, ${nested} after an earlier crash`;
    process.stdout.write(`${profile}: ${done} crash states, no violation (${kinds}); seed ${seed}, ${seconds()} s\n`);
  }
}

main().catch((error: unknown) => {
  const where = error instanceof ExploreError ? ` (seed ${seed})` : "";
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  process.stderr.write(
    `${error instanceof Error ? error.message : ""}${where}\n${String(cause instanceof Error ? cause.stack : cause)}\n`,
  );
  process.exitCode = 1;
});
