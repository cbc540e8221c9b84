/**
 * Runs a log on a simulated disk, crashes it at every step in many ways, and checks each time that the next life keeps
 * every promise of the one before; then lets that life work on, and crashes it too.
 */
import type { Clock } from "../../src/clock.js";
import type { Compression } from "../../src/log/compression.js";
import { Log, StorageError } from "../../src/log/log.js";
import type { LogRecord } from "../../src/record.js";
import { errno, Killed, type Random, seededRandom, SimDisk } from "../support/sim-disk.js";
import { type Crash, Oracle, Violation } from "./oracle.js";

export { Violation };

export interface ExploreOptions {
  readonly profile: "posix" | "ext4";
  readonly seed: number;
  /** Stops after about this many crash states. */
  readonly states: number;
  readonly onProgress?: (states: number) => void;
}

export interface Explored {
  states: number;
  kills: number;
  damaged: number;
  /** Lives that ended in a crash after an earlier crash. */
  nested: number;
  seed: number;
}

/** Where a life went wrong, and how to see it again. */
export class ExploreError extends Error {
  override readonly name = "ExploreError";
  readonly states: number;
  constructor(message: string, states: number, cause: unknown) {
    super(message, { cause });
    this.states = states;
  }
}

const FOLDER = "/q/log";
const CONSUMERS = ["a", "b"];
const LOG_ID = Buffer.alloc(16, 7);

const plain: Compression = {
  deflate: () => Promise.resolve(undefined),
  inflate: (stored) => Promise.resolve(stored),
};

class StepClock implements Clock {
  readonly bootId = new Uint8Array(8);
  now = 1_000;
  elapsedMs(): number {
    return this.now++;
  }
  wallMs(): number {
    return 1_700_000_000_000 + this.now;
  }
  after(): never {
    throw new Error("the log itself starts no timer");
  }
}

interface Image {
  readonly disk: SimDisk;
  readonly oracle: Oracle;
  readonly crash: Crash;
  readonly damaged: boolean;
}

interface Life {
  readonly log: Log;
  readonly oracle: Oracle;
  readonly disk: SimDisk;
  readonly offsets: Map<number, number>;
}

/** The number that a record carries. */
function numberOf(record: LogRecord): number {
  return Number.parseInt(record.bytes.toString("latin1"), 10);
}

/** Payloads differ in length, so that blocks and sectors never align. */
function payloadOf(n: number): string {
  return `${n}.${"0".repeat(1 + ((n * 37) % 90))}`;
}

export class Explorer {
  readonly #options: ExploreOptions;
  readonly #random: Random;
  readonly result: Explored;

  constructor(options: ExploreOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.result = { states: 0, kills: 0, damaged: 0, nested: 0, seed: options.seed };
  }

  async run(): Promise<Explored> {
    let reported = 0;
    while (this.result.states < this.#options.states) {
      const oracle = new Oracle();
      for (const id of CONSUMERS) oracle.addConsumer(id);
      await this.#guard(() => this.#live(new SimDisk(), oracle, 0));
      if (this.result.states - reported >= 10_000) this.#options.onProgress?.((reported = this.result.states));
    }
    return this.result;
  }

  async #guard(life: () => Promise<void>): Promise<void> {
    try {
      await life();
    } catch (error) {
      throw new ExploreError(
        `after ${this.result.states} states: ${(error as Error).message}`,
        this.result.states,
        error,
      );
    }
  }

  #chance(probability: number): boolean {
    return this.#random() < probability;
  }

  #open(disk: SimDisk): Promise<Log> {
    return Log.open({
      folder: FOLDER,
      logId: LOG_ID,
      files: disk,
      clock: new StepClock(),
      random: (bytes) => Buffer.from(Array.from({ length: bytes }, () => Math.floor(this.#random() * 256))),
      compression: plain,
      consumers: CONSUMERS,
      segmentBytes: 600,
      persistent: true,
      onLoss: () => undefined,
    });
  }

  /** One life: opens, works, and is crashed at every change it makes to the disk. */
  async #live(disk: SimDisk, oracle: Oracle, depth: number): Promise<void> {
    const images: Image[] = [];
    const log = await this.#open(disk);
    const life: Life = { log, oracle, disk, offsets: new Map() };
    for (const id of CONSUMERS) {
      for await (const record of log.consumer(id).unconfirmed()) life.offsets.set(numberOf(record), record.offset);
    }
    disk.before = (call, _disk, inWrite) => {
      this.#picture(life, images, depth);
      if (inWrite !== undefined && this.#chance(0.3)) {
        // Dying in the middle of a write leaves its front in the page cache.
        const torn = disk.afterKill();
        const name = [...disk.names].find(([, inode]) => inode === inWrite.inode)![0];
        const front = inWrite.bytes.subarray(0, Math.floor(this.#random() * inWrite.bytes.length));
        if (front.length > 0) torn.put(torn.names.get(name)!, front, inWrite.at);
        images.push({ disk: torn, oracle: oracle.copy(), crash: "kill", damaged: false });
      }
      if (call === "sync" && this.#chance(0.02)) throw errno("EIO");
      if (call === "write" && this.#chance(0.01)) throw errno("EIO");
    };
    const steps = depth === 0 ? 24 : 6 + Math.floor(this.#random() * 8);
    for (let i = 0; i < steps && !oracle.isFull; i++) await this.#step(life);
    if (this.#chance(0.3)) await this.#attempt(() => log.close());
    this.#picture(life, images, depth);
    disk.before = () => undefined;
    await log.close().catch(() => undefined);
    for (const image of images) await this.#crashed(image, depth);
  }

  /** Keeps what the disk may look like if the world ended now. */
  #picture(life: Life, images: Image[], depth: number): void {
    this.#note(life);
    const { disk, oracle } = life;
    const many = depth === 0 ? 6 : 1;
    for (let i = 0; i < many; i++) {
      const kill = this.#chance(0.3);
      const image = kill ? disk.afterKill() : disk.afterPowerCut(this.#random, this.#options.profile);
      const damaged = this.#chance(0.15);
      if (damaged) this.#harm(image);
      images.push({ disk: image, oracle: oracle.copy(), crash: kill ? "kill" : "power", damaged });
    }
  }

  /** What someone may do to the files by hand. */
  #harm(disk: SimDisk): void {
    const names = [...disk.names.keys()];
    const name = names[Math.floor(this.#random() * names.length)];
    if (name === undefined) return;
    const inode = disk.names.get(name)!;
    const bytes = Buffer.from(inode.cache);
    const at = Math.floor(this.#random() * bytes.length);
    const way = Math.floor(this.#random() * 5);
    if (way === 0) {
      disk.names.delete(name);
      disk.durableNames.delete(name);
      return;
    }
    if (way === 1 && bytes.length > 0) bytes[at]! ^= 1 << Math.floor(this.#random() * 8);
    if (way === 2) bytes.fill(0, at);
    if (way === 3) bytes.fill(0, at, Math.min(bytes.length, at + 64));
    inode.cache = inode.durable = way === 4 ? bytes.subarray(0, at) : bytes;
    inode.pending = [];
  }

  /** Which confirmations stand in cursors by now. */
  #note({ log, oracle, offsets }: Life): void {
    for (const [cursors, durable] of [[log.writtenCursors, false] as const, [log.durableCursors, true] as const]) {
      if (cursors === undefined) continue;
      for (const [id, { offset, ranges }] of cursors) {
        const isConfirmed = (n: number): boolean => {
          const at = offsets.get(n);
          return at !== undefined && (at < offset || ranges.some(({ from, to }) => at >= from && at < to));
        };
        oracle.cursor(id, isConfirmed, durable);
      }
    }
  }

  async #attempt(action: () => Promise<void>): Promise<boolean> {
    try {
      await action();
      return true;
    } catch (error) {
      if (error instanceof StorageError) return false; // the disk said no; the next round tries again
      throw error;
    }
  }

  async #step(life: Life): Promise<void> {
    const { log, oracle, disk } = life;
    const dice = this.#random();
    if (dice < 0.4) {
      for (let i = 1 + Math.floor(this.#random() * 4); i > 0; i--) {
        const n = oracle.accepted();
        life.offsets.set(n, log.append(payloadOf(n), { topic: `t${n % 3}` }));
      }
    } else if (dice < 0.6) {
      const count = oracle.count;
      if (await this.#attempt(() => log.write())) oracle.wrote(count, false);
    } else if (dice < 0.75) {
      const count = oracle.count;
      if (await this.#attempt(() => log.sync())) oracle.wrote(count, true);
    } else if (dice < 0.95) {
      await this.#consume(life);
    } else if (dice < 0.97) {
      disk.capacity = this.#used(disk) + Math.floor(this.#random() * 300);
    } else {
      disk.capacity = Number.POSITIVE_INFINITY;
    }
    this.#note(life);
  }

  #used(disk: SimDisk): number {
    let used = 0;
    for (const { cache } of disk.names.values()) used += cache.length;
    return used;
  }

  async #consume({ log, oracle }: Life): Promise<void> {
    const id = CONSUMERS[Math.floor(this.#random() * CONSUMERS.length)]!;
    const consumer = log.consumer(id);
    if (consumer.untaken === 0) return;
    const records = await takeNow(consumer, 1 + Math.floor(this.#random() * 8));
    // A part is confirmed, the rest given back: a partial failure.
    const all = this.#chance(0.6);
    const confirmed = records.filter(() => all || this.#chance(0.6));
    for (const record of confirmed) oracle.confirmed(id, numberOf(record));
    consumer.confirm(confirmed);
    consumer.release(records.filter((record) => !confirmed.includes(record)));
  }

  /** The next life: what it finds is checked, then it works on. */
  async #crashed(image: Image, depth: number): Promise<void> {
    const { disk, crash, damaged } = image;
    const { oracle } = image;
    this.result.states++;
    if (crash === "kill") this.result.kills++;
    if (damaged) this.result.damaged++;
    if (depth > 0) this.result.nested++;
    disk.capacity = Number.POSITIVE_INFINITY;
    const changes = disk.changes;
    const log = await this.#open(disk);
    const again = await this.#open(disk);
    if (disk.changes !== changes) throw new Violation("opening changed the disk");
    if (again.nextOffset !== log.nextOffset) throw new Violation("opening twice gave two next offsets");
    if (!damaged && log.found.losses.length > 0) {
      throw new Violation(`a loss was reported that did not happen: ${JSON.stringify(log.found.losses)}`);
    }
    for (const id of CONSUMERS) {
      const found = await readAll(log, id);
      const twice = await readAll(again, id);
      if (found.join() !== twice.join()) throw new Violation("opening twice gave two contents");
      oracle.check(id, found, crash, damaged);
      oracle.nextLife(id, found, crash);
    }
    for (const id of CONSUMERS) await again.consumer(id).close(); // not the log itself: closing it would write
    if (!damaged && depth < 2 && this.#chance(depth === 0 ? 0.06 : 0.02)) {
      await log.consumer("a").close();
      return this.#live(disk, oracle, depth + 1);
    }
    await this.#worksOn(log, oracle, damaged);
  }

  /** New records reach everyone, behind all that waited; and the folder empties. */
  async #worksOn(log: Log, oracle: Oracle, damaged: boolean): Promise<void> {
    const n = oracle.accepted();
    log.append(payloadOf(n), {});
    if (this.#chance(0.5)) await log.write();
    for (const id of CONSUMERS) {
      const consumer = log.consumer(id);
      const found: number[] = [];
      while (consumer.untaken > 0) {
        const records = await takeNow(consumer, 5);
        if (records.length === 0) break;
        found.push(...records.map(numberOf));
        consumer.confirm(records);
      }
      if (found.at(-1) !== n) throw new Violation(`${id} did not get the new record ${n}, but ${found.join()}`);
      oracle.check(id, found, "kill", damaged);
      if (consumer.backlog().records !== 0)
        throw new Violation(
          `${id} has a backlog of ${consumer.backlog().records}: ${JSON.stringify(consumer.settled)}, next ${log.nextOffset}, damaged ${damaged} found ${JSON.stringify([...log.found.cursors])} ${JSON.stringify(log.found.segments)}`,
        );
    }
    await log.sync();
    await log.sync();
    if (log.segmentCount > 0)
      throw new Violation(`${log.segmentCount} segments are left after everything was confirmed`);
    await log.close();
  }
}

/** Takes what is there, without waiting for more. */
async function takeNow(consumer: ReturnType<Log["consumer"]>, records: number): Promise<LogRecord[]> {
  const abort = new AbortController();
  const taking = consumer.take({ records, bytes: 1 << 20 }, abort.signal);
  let isDone = false;
  void taking.then(
    () => (isDone = true),
    () => (isDone = true),
  );
  for (let i = 0; i < 200 && !isDone; i++) await Promise.resolve();
  if (!isDone) abort.abort(new Killed("nothing to take"));
  try {
    return await taking;
  } catch (error) {
    if (error instanceof Killed) return [];
    throw error;
  }
}

async function readAll(log: Log, id: string): Promise<number[]> {
  const found: number[] = [];
  for await (const record of log.consumer(id).unconfirmed()) {
    const n = numberOf(record);
    if (record.bytes.toString("latin1") !== payloadOf(n)) throw new Violation(`the payload of ${n} was changed`);
    found.push(n);
  }
  return found;
}
