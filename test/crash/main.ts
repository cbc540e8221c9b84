/**
 * The deep crash enumeration, on as many cores as there are:
 *   npm run crash -- --states 1000000 [--seed N] [--profile posix|ext4] [--scenario NAME] [--threads N]
 *   npm run crash -- --faults        plants every known fault and shows that it is found
 * Without a profile half of the states is run under each. Ends with 1 at a violation, whose seed it names, and when
 * nothing was explored.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { build } from "./build.js";
import type { Explored, Profile } from "./explore.js";
import { faultOptions, isFound, MUTANTS } from "./mutants.js";
import { type Job, runAll } from "./pool.js";

/** States of one seed: an exploration is repeated by its seed alone, so it should not take long. */
const STATES_PER_SEED = 20_000;

const { values } = parseArgs({
  options: {
    states: { type: "string", default: "100000" },
    seed: { type: "string" },
    profile: { type: "string" },
    threads: { type: "string" },
    faults: { type: "boolean", default: false },
    scenario: { type: "string" },
    only: { type: "string" },
  },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 1e9));
const threads = Number(values.threads ?? availableParallelism());
const profiles = (["posix", "ext4"] as const).filter((profile) => (values.profile ?? profile) === profile);

const started = performance.now();
const say = (line: string): boolean =>
  process.stdout.write(`${((performance.now() - started) / 1_000).toFixed(1).padStart(7)} s  ${line}\n`);

async function enumerate(states: number): Promise<void> {
  const built = await build([]);
  const total: Explored = { states: 0, kills: 0, harmed: 0, nested: 0 };
  const jobs: Job[] = [];
  const each = Math.ceil(states / profiles.length);
  const rounds = Math.ceil(each / STATES_PER_SEED);
  for (let i = 0; i < rounds; i++) {
    for (const profile of profiles) jobs.push(exploration(seed + i, profile, Math.min(STATES_PER_SEED, each)));
  }
  function exploration(jobSeed: number, profile: Profile, jobStates: number): Job {
    const { scenario } = values;
    const options = { profile, seed: jobSeed, states: jobStates, ...(scenario === undefined ? {} : { scenario }) };
    return {
      task: { crashFolder: built.crashFolder(), options },
      onDone(result) {
        if (result.kind === "clean" && result.explored.states > 0) {
          for (const key of ["states", "kills", "harmed", "nested"] as const) total[key] += result.explored[key];
          say(`${profile}, seed ${jobSeed}: ${result.explored.states} states, no violation; ${total.states} in all`);
          return;
        }
        process.exitCode = 1;
        if (result.kind === "clean") return void say(`${profile}, seed ${jobSeed}: NOTHING was explored`);
        say(`${profile}, seed ${jobSeed}: VIOLATION after ${result.states} states: ${result.message}`);
        process.stdout.write(`${result.stack}\n`);
      },
    };
  }
  try {
    await runAll(built, jobs, threads);
  } finally {
    built.remove();
  }
  const { states: done, kills, harmed, nested } = total;
  if (done === 0) process.exitCode = 1;
  const kinds = `${kills} kills, ${done - kills} power cuts; ${harmed} harmed by hand, ${nested} after an earlier crash`;
  const verdict = process.exitCode === 1 ? "and something is WRONG, see above" : "without a violation";
  say(`${done} crash states explored ${verdict} (${kinds}); seeds from ${seed}`);
}

async function plantFaults(): Promise<void> {
  const faults = MUTANTS.filter(({ name }) => values.only === undefined || values.only.split(",").includes(name));
  const built = await build(faults);
  const jobs = faults.map((fault): Job => {
    const { name } = fault;
    const task = { crashFolder: built.crashFolder(name), options: faultOptions(fault, seed) };
    const onDone: Job["onDone"] = (result) => {
      if (!isFound(result)) process.exitCode = 1;
      const found = result.kind === "clean" ? "" : `${result.states} states: ${result.message.split("\n")[0]}`;
      say(`${name.padEnd(22)} ${isFound(result) ? "" : "SURVIVED "}${found}`);
    };
    return { task, onDone };
  });
  try {
    await runAll(built, jobs, threads);
  } finally {
    built.remove();
  }
}

void (values.faults ? plantFaults() : enumerate(Number(values.states)));
