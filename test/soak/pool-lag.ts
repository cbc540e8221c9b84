/**
 * One member of a pool is away while millions of records come: what the others notice of it, what memory takes, what its
 * own limit gives up, and that it gets the rest when it is back. `npm run soak -- --pool-lag 10000000`.
 */
import type { LogRecord } from "../../src/record.js";
import type { Pool } from "../../src/runtime/pool.js";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH, type FlushSettings } from "../../src/runtime/settings.js";
import type { Answer } from "../../src/targets/target.js";
import { ScriptedTarget } from "../support/scripted-target.js";

export interface LagOptions {
  readonly folder: string;
  /** How many come while the member is away. */
  readonly records: number;
  /** How many of them may wait for it; older ones are given up. */
  readonly limit: number;
  readonly payloads: readonly object[];
  /** How long the flow is looked at with all members there, and again at the end, in ms. */
  readonly pacedMs: number;
  readonly say?: (text: string) => void;
}

/** Records per second that the slowest of the others got, and how long the latest one in a hundred took, in ms. */
export interface Pace {
  readonly perSecond: number;
  readonly p99Ms: number;
}

export interface LagFigures {
  /** A flow of ten thousand a second: while all are there, and while one is away and far behind. */
  readonly before: Pace;
  readonly behind: Pace;
  /** As fast as it goes, while all are there. */
  readonly allPerSecond: number;
  /** Likewise: the CPU for each record soon after the member went, and at the end, in us. */
  readonly earlyCpuUs: number;
  readonly lateCpuUs: number;
  readonly earlyPerSecond: number;
  readonly latePerSecond: number;
  /** The most that waited for the one that was away. */
  readonly lag: number;
  readonly dropped: Readonly<Record<string, number>>;
  readonly refused: number;
  readonly sent: number;
  readonly delivered: Readonly<Record<string, number>>;
  /** Records that came to any of them twice, or out of order. */
  readonly wrong: number;
  readonly usedBytes: number;
  readonly memoryBytes: number;
  readonly grownBytes: number;
  readonly diskBytes: number;
  readonly drainPerSecond: number;
}

const PACED_PER_SECOND = 10_000;
const WARM_UP = 20_000;
const SLICES = 20;
const PER_TURN = 200;
/** More than this must not wait for those that are there, or they would be measured from the disk. */
const MOST_WAITING = 20_000;
/** The disk has to take what comes, or the bound on memory would speak before the member's own limit. */
const MOST_MEMORY = 0.5;
/** The block that is just filled counts when it is full. */
const BLOCK_MARGIN_BYTES = 128 * 1024;

/** Keeps nothing but whether all came in order, and how late. */
class CountingTarget extends ScriptedTarget {
  delivered = 0;
  wrong = 0;
  /** Of records that carry the time of their sending, while wanted. */
  delaysMs: number[] | undefined;
  #highest = -1;

  override deliver(batch: readonly LogRecord[]): Promise<Answer> {
    if (!this.isUp) return Promise.reject(new Error("away"));
    this.delivered += batch.length;
    for (const { offset } of batch) {
      if (offset <= this.#highest) this.wrong++;
      this.#highest = offset;
    }
    if (this.delaysMs !== undefined) {
      const { sentMs } = JSON.parse(batch[0]!.bytes.toString()) as { sentMs: number };
      this.delaysMs.push(performance.now() - sentMs);
    }
    return Promise.resolve({ outcomes: batch.map(() => ({ kind: "delivered" as const })) });
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export async function poolLag(options: LagOptions): Promise<LagFigures> {
  const { folder, records, limit, payloads, pacedMs, say } = options;
  // In order and one batch at a time: what comes twice is seen without remembering millions.
  const flush: FlushSettings = { ...DEFAULT_FLUSH, strictOrder: true };
  const runtime = await Runtime.open({ folder, flush });
  const pool = await runtime.openPool({ id: "pool", flush });
  const targets = { a: new CountingTarget(), b: new CountingTarget(), away: new CountingTarget() };
  for (const [id, target] of Object.entries(targets)) {
    await pool.addMember({ id, target, flush: id === "away" ? { ...flush, backlogRecords: limit } : flush });
  }
  const feed = new Feed(runtime, pool, payloads);
  const others = [targets.a, targets.b];
  global.gc?.();
  const baseBytes = process.memoryUsage.rss();
  let mostRss = 0;
  let usedBytes = 0;
  let lag = 0;
  let diskBytes = 0;
  const look = (): void => {
    mostRss = Math.max(mostRss, process.memoryUsage.rss());
    usedBytes = Math.max(usedBytes, runtime.used.memoryBytes);
    diskBytes = Math.max(diskBytes, runtime.used.diskBytes);
    lag = Math.max(lag, pool.members.get("away")!.status().waiting);
  };
  const looking = setInterval(look, 100);

  await feed.fast(WARM_UP);
  const all = await feed.fast(WARM_UP);
  const before = await feed.paced(pacedMs, others);
  targets.away.isUp = false;
  const slices: Slice[] = [];
  for (let i = 0; i < SLICES; i++) {
    slices.push(await feed.fast(Math.ceil(records / SLICES)));
    look();
    say?.(
      `${lag} behind, ${Math.round(slices.at(-1)!.perSecond)}/s, ${slices.at(-1)!.cpuUs.toFixed(2)} us of CPU each`,
    );
  }
  const behind = await feed.paced(pacedMs, others);
  await feed.idle();
  targets.away.isUp = true;
  const startedMs = performance.now();
  const waited = pool.members.get("away")!.status().waiting;
  pool.members.get("away")!.resume();
  while (pool.members.get("away")!.status().waiting > 0) await pause(20);
  const drainPerSecond = (waited / (performance.now() - startedMs)) * 1_000;
  clearInterval(looking);
  look();
  const dropped = Object.fromEntries([...pool.statuses()].map(([id, status]) => [id, status.dropped]));
  const { memoryBytes } = runtime.budgets;
  await runtime.close();
  // The first slices fill caches and find the batch size.
  const [early, late] = [slices.slice(2, 7), slices.slice(-5)].map(medianOf) as [Slice, Slice];
  return {
    before,
    behind,
    allPerSecond: all.perSecond,
    earlyCpuUs: early.cpuUs,
    lateCpuUs: late.cpuUs,
    earlyPerSecond: early.perSecond,
    latePerSecond: late.perSecond,
    lag,
    dropped,
    refused: feed.refused,
    sent: feed.sent,
    delivered: Object.fromEntries(Object.entries(targets).map(([id, { delivered }]) => [id, delivered])),
    wrong: Object.values(targets).reduce((sum, { wrong }) => sum + wrong, 0),
    usedBytes,
    memoryBytes,
    grownBytes: mostRss - baseBytes,
    diskBytes,
    drainPerSecond,
  };
}

interface Slice {
  readonly perSecond: number;
  readonly cpuUs: number;
}

/** Sends into the pool, and waits for those that are there. */
class Feed {
  readonly #runtime: Runtime;
  readonly #pool: Pool;
  readonly #payloads: readonly object[];
  sent = 0;
  refused = 0;

  constructor(runtime: Runtime, pool: Pool, payloads: readonly object[]) {
    this.#runtime = runtime;
    this.#pool = pool;
    this.#payloads = payloads;
  }

  get #isMemoryHalfFull(): boolean {
    return this.#runtime.used.memoryBytes > MOST_MEMORY * this.#runtime.budgets.memoryBytes;
  }

  /** As fast as those that are there take it, and the disk. */
  async fast(count: number): Promise<Slice> {
    const startedMs = performance.now();
    const cpu = process.cpuUsage();
    for (let i = 0; i < count;) {
      for (let n = 0; n < PER_TURN && i < count; n++, i++) this.#send();
      await turn();
      // Not turn by turn: that would be CPU time, more of it the slower the disk.
      while (this.#waiting() > MOST_WAITING || this.#isMemoryHalfFull) await pause(1);
    }
    await this.idle();
    const { user, system } = process.cpuUsage(cpu);
    return { perSecond: (count / (performance.now() - startedMs)) * 1_000, cpuUs: (user + system) / count };
  }

  /** A steady flow. */
  async paced(ms: number, targets: readonly CountingTarget[]): Promise<Pace> {
    const startedMs = performance.now();
    const before = targets.map(({ delivered }) => delivered);
    for (const target of targets) target.delaysMs = [];
    let elapsedMs = 0;
    for (let sent = 0; elapsedMs < ms; elapsedMs = performance.now() - startedMs) {
      for (const due = (elapsedMs * PACED_PER_SECOND) / 1_000; sent < due; sent++) this.#send();
      await pause(1);
    }
    await this.idle();
    const tookMs = performance.now() - startedMs;
    const delays = targets.flatMap(({ delaysMs }) => delaysMs!).sort((x, y) => x - y);
    for (const target of targets) target.delaysMs = undefined;
    const least = Math.min(...targets.map(({ delivered }, i) => delivered - before[i]!));
    return { perSecond: (least / tookMs) * 1_000, p99Ms: delays[Math.floor(delays.length * 0.99)] ?? 0 };
  }

  /** Resolves when those that are there have everything. */
  async idle(): Promise<void> {
    while (this.#waiting() > 0) await pause(2);
  }

  #waiting(): number {
    const { members } = this.#pool;
    return Math.max(members.get("a")!.status().waiting, members.get("b")!.status().waiting);
  }

  #send(): void {
    const payload = { ...this.#payloads[this.sent % this.#payloads.length], sentMs: performance.now() };
    this.sent++;
    this.#pool.send(payload, {}, (error) => {
      if (error !== undefined) this.refused++;
    });
  }
}

function medianOf(slices: readonly Slice[]): Slice {
  const middle = (values: number[]): number => values.sort((x, y) => x - y)[values.length >> 1]!;
  return {
    perSecond: middle(slices.map(({ perSecond }) => perSecond)),
    cpuUs: middle(slices.map(({ cpuUs }) => cpuUs)),
  };
}

/** What must hold, whatever the machine; in words where it does not. */
export function violationsOf(figures: LagFigures, limit: number): string[] {
  const { dropped, delivered, refused, sent, wrong, usedBytes, memoryBytes, grownBytes, lag } = figures;
  const violations: string[] = [];
  const must = (holds: boolean, what: string): void => void (holds || violations.push(what));
  must(refused === 0, `${refused} were refused at the entry`);
  must(dropped["a"] === 0 && dropped["b"] === 0, `others lost some: ${JSON.stringify(dropped)}`);
  must(delivered["a"] === sent && delivered["b"] === sent, `not all came: ${JSON.stringify(delivered)} of ${sent}`);
  must(lag <= limit + PER_TURN, `${lag} waited, of ${limit} that may`);
  must(lag >= limit, `only ${lag} waited, of ${limit} that may: something else gave records up`);
  must((dropped["away"] ?? 0) > 0, "the limit of the one that was away did nothing");
  must(
    delivered["away"]! + dropped["away"]! === sent,
    `the one that was away: ${JSON.stringify({ delivered, dropped })}`,
  );
  must(wrong === 0, `${wrong} came twice, or out of order`);
  must(usedBytes <= memoryBytes + BLOCK_MARGIN_BYTES, `${usedBytes} bytes of records in memory, of ${memoryBytes}`);
  must(grownBytes < 150 * 1024 * 1024, `memory grew by ${Math.round(grownBytes / 1024 / 1024)} MiB`);
  return violations;
}
