/**
 * Chaos with an oracle, for as long as one likes: real Node-REDs are fed, killed and started, their target comes and goes,
 * and after each bout everything that was promised must be in the target, once and in order.
 *   npm run soak                               200 kills of each Node-RED
 *   npm run soak -- --minutes 30               for half an hour, the versions in turn
 *   npm run soak -- --kills 50 --version 5 --target file --seed 7
 * Targets: file, mongodb, elasticsearch; pool (of three files) and pool-mixed (one of each), under
 * 2,000 messages a second; one-file (of two members of a pool).
 *   npm run soak -- --pool-lag 10000000        one member of a pool is away while so many records come
 * Ends with exit code 1 at the first bout in which a promise was not kept; its folder is left for looking into.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Chaos } from "../chaos/chaos.js";
import { ElasticsearchSubject } from "../chaos/elasticsearch-subject.js";
import { FileSubject } from "../chaos/file-subject.js";
import { MongodbSubject } from "../chaos/mongodb-subject.js";
import { OneFileSubject } from "../chaos/one-file-subject.js";
import { PoolSubject } from "../chaos/pool-subject.js";
import type { Subject } from "../chaos/subject.js";
import { seededRandom } from "../support/fake-clock.js";
import { NODE_RED_VERSIONS, type NodeRedVersion } from "../support/node-red-install.js";
import { readings100 } from "../bench/readings.js";
import { poolLag, violationsOf } from "./pool-lag.js";

/** Another target is another line here. */
const SUBJECTS: Readonly<Record<string, (folder: string) => Promise<Subject>>> = {
  file: (folder) => FileSubject.in(folder),
  // Their servers are killed as often as Node-RED is.
  mongodb: () => MongodbSubject.start(),
  elasticsearch: () => ElasticsearchSubject.start(),
  pool: async (folder) =>
    new PoolSubject([await fileIn(folder, "a"), await fileIn(folder, "b"), await fileIn(folder, "c")]),
  "one-file": async (folder) => new OneFileSubject(await FileSubject.in(folder)),
  "pool-mixed": async (folder) =>
    new PoolSubject([await fileIn(folder, "a"), await MongodbSubject.start(), await ElasticsearchSubject.start()]),
};

function fileIn(folder: string, name: string): Promise<Subject> {
  mkdirSync(join(folder, name));
  return FileSubject.in(join(folder, name));
}

/** After so many kills everything is looked at, and the next bout begins with empty folders. */
const KILLS_PER_BOUT = 20;
const MESSAGES_PER_SECOND = 1_000;
/** Into a pool, whose members are taken away in most lives. */
const POOL_PER_SECOND = 2_000;
const POOL_TURN_CHANCE = 0.9;
const DEFAULT_KILLS = 200;
/** What the others of a pool must keep of their rate while one is far behind. */
const LAG_RATIO = 0.95;

interface Plan {
  readonly versions: readonly NodeRedVersion[];
  readonly subject: (folder: string) => Promise<Subject>;
  readonly seed: number;
  /** For each version; without a limit when there is one in time. */
  readonly kills: number;
  readonly endsAtMs: number;
}

interface Total {
  kills: number;
  accepted: number;
  checked: number;
}

void main();

async function main(): Promise<void> {
  const lag = positive("pool-lag", asked()["pool-lag"]);
  if (lag !== undefined) return fallBehind(lag);
  const plan = planned();
  const total: Total = { kills: 0, accepted: 0, checked: 0 };
  const killsOf = new Map<NodeRedVersion, number>();
  let hasHeld = true;
  for (let bout = 0; hasHeld && performance.now() < plan.endsAtMs; bout++) {
    const version = plan.versions[bout % plan.versions.length]!;
    const left = plan.kills - (killsOf.get(version) ?? 0);
    if (left <= 0) break;
    const kills = Math.min(left, KILLS_PER_BOUT);
    hasHeld = await fight(plan, version, plan.seed + bout, kills, total);
    killsOf.set(version, kills + (killsOf.get(version) ?? 0));
    say(`so far ${total.kills} kills, ${total.checked} of ${total.accepted} accepted records promised and checked`);
  }
  say(hasHeld ? "every promise was kept" : "A PROMISE WAS NOT KEPT");
  process.exitCode = hasHeld ? 0 : 1;
}

/** One bout. Returns whether every promise was kept. */
async function fight(
  { subject, endsAtMs }: Plan,
  version: NodeRedVersion,
  seed: number,
  kills: number,
  total: Total,
): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), "resilient-soak-"));
  say(`Node-RED ${version}, seed ${seed}`);
  const made = await subject(folder);
  const isPool = made.parts !== undefined;
  const userDir = join(folder, "node-red");
  mkdirSync(userDir);
  const chaos = await Chaos.start({
    version,
    subject: made,
    random: seededRandom(seed),
    messagesPerSecond: isPool ? POOL_PER_SECOND : MESSAGES_PER_SECOND,
    ...(isPool ? { turnChance: POOL_TURN_CHANCE } : {}),
    userDir,
    onStep: say,
  });
  let hasHeld = false;
  try {
    for (let i = 0; i < kills && performance.now() < endsAtMs; i++) await chaos.kill();
    const result = await chaos.finish();
    total.kills += result.kills;
    total.accepted += result.accepted;
    total.checked += result.checked;
    hasHeld = result.violations.length === 0;
    for (const violation of result.violations) say(`VIOLATION ${violation}`);
    if (!hasHeld) {
      for (const line of chaos.nodeRed.lines.slice(-60)) say(`| ${line}`);
      writeFileSync(join(folder, "node-red.log"), chaos.nodeRed.lines.join("\n"));
    }
  } finally {
    await chaos.close();
    if (hasHeld) rmSync(folder, { recursive: true, force: true });
    else say(`left for looking into: ${folder}`);
  }
  return hasHeld;
}

/** Nine tenths of what comes may wait for the member that is away. */
async function fallBehind(records: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "resilient-soak-"));
  const limit = Math.ceil(records * 0.9);
  const payloads = readings100();
  const figures = await poolLag({ folder: join(folder, "queues"), records, limit, payloads, pacedMs: 20_000, say });
  rmSync(folder, { recursive: true, force: true });
  say(JSON.stringify(figures, undefined, 2));
  const violations = violationsOf(figures, limit);
  const ratio = figures.behind.perSecond / figures.before.perSecond;
  const fast = figures.latePerSecond / figures.earlyPerSecond;
  say(
    `the others' rate with ${figures.lag} records of lag: ${ratio.toFixed(3)} of before; as fast as it goes: ${fast.toFixed(3)}`,
  );
  if (ratio < LAG_RATIO) violations.push(`${ratio.toFixed(3)} of the rate before`);
  for (const violation of violations) say(`VIOLATION ${violation}`);
  say(violations.length === 0 ? "every promise was kept" : "A PROMISE WAS NOT KEPT");
  process.exitCode = violations.length === 0 ? 0 : 1;
}

function asked() {
  const options = {
    minutes: { type: "string" },
    kills: { type: "string" },
    target: { type: "string", default: "file" },
    version: { type: "string" },
    seed: { type: "string" },
    "pool-lag": { type: "string" },
  } as const;
  return parseArgs({ options }).values;
}

function planned(): Plan {
  const values = asked();
  const subject = Object.hasOwn(SUBJECTS, values.target) ? SUBJECTS[values.target] : undefined;
  if (subject === undefined) throw new Error(`--target is one of ${Object.keys(SUBJECTS).join(", ")}`);
  const versions = NODE_RED_VERSIONS.filter((version) => values.version === undefined || version === values.version);
  if (versions.length === 0) throw new Error(`--version is one of ${NODE_RED_VERSIONS.join(", ")}`);
  const minutes = positive("minutes", values.minutes);
  const kills = positive("kills", values.kills) ?? (minutes === undefined ? DEFAULT_KILLS : Number.POSITIVE_INFINITY);
  const endsAtMs = minutes === undefined ? Number.POSITIVE_INFINITY : performance.now() + minutes * 60_000;
  return { versions, subject, seed: positive("seed", values.seed) ?? Date.now() % 1_000_000, kills, endsAtMs };
}

function positive(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (value > 0) return value;
  throw new Error(`--${name} takes a number above 0`);
}

function say(text: string): void {
  process.stdout.write(`${(performance.now() / 1_000).toFixed(1).padStart(8)} s  ${text}\n`);
}
