/**
 * Runs a log on a simulated disk, crashes it at every step in many ways, and checks each time that the next life keeps
 * every promise of the one before; then lets that life work on, and crashes it too. What is promised is `oracle.ts`,
 * what kind of day it is `scenario.ts`, and what is done to the files by hand `harm.ts`.
 */
import type { Clock } from "../../src/clock.js";
import type { LogConsumer } from "../../src/log/consumer/consumer.js";
import type { RecordBlock } from "../../src/log/format/block.js";
import { RecordBlock as Block } from "../../src/log/format/block.js";
import { isErrno } from "../../src/files.js";
import { StorageError } from "../../src/log/errors.js";
import { Log } from "../../src/log/log.js";
import type { Loss } from "../../src/log/segments/recovery.js";
import { frameBlocks, packRecords } from "../../src/log/segments/segment.js";
import type { Encoded, LogRecord } from "../../src/record.js";
import { errno, type Random, seededRandom, SimDisk, type Writing } from "../support/sim-disk.js";
import { type Aftermath, harm, Inventory } from "./harm.js";
import { type Crash, Oracle, Violation } from "./oracle.js";
import { pickScenario, type Scenario } from "./scenario.js";

export { Violation };

export type Profile = "posix" | "ext4";

export interface ExploreOptions {
  readonly profile: Profile;
  readonly seed: number;
  /** Stops after about this many crash states. */
  readonly states: number;
  /** The kind of day; each time another by default. */
  readonly scenario?: string;
  readonly onProgress?: (states: number) => void;
}

export interface Explored {
  states: number;
  kills: number;
  harmed: number;
  /** Crashes that came after an earlier crash. */
  nested: number;
}

/** Where a life went wrong. */
export class ExploreError extends Error {
  override readonly name = "ExploreError";
  readonly states: number;
  constructor(message: string, states: number, cause: unknown) {
    super(message, { cause });
    this.states = states;
  }
}

const FOLDER = "/q/log";
const LOG_ID = Buffer.alloc(16, 7);
/** All consumers there may ever be. */
const ALL = ["a", "b", "c"];

class StepClock implements Clock {
  readonly bootId = new Uint8Array(8);
  readonly isWallTrusted = true;
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
  readonly harmed: boolean;
  /** The life before had closed the log, after rounds that all went well. */
  readonly closed: boolean;
}

interface Life {
  readonly scenario: Scenario;
  readonly log: Log;
  readonly oracle: Oracle;
  readonly disk: SimDisk;
  /** Where each record stands. */
  readonly offsets: Map<number, number>;
  readonly depth: number;
  readonly images: Image[];
  /** Consumers that are open: the others are orphans, if the log knows them. */
  readonly present: Set<string>;
  isReadOnly: boolean;
  /** A round had failed: what it left unproven stays so. */
  hadTrouble: boolean;
  isClosed: boolean;
  /** The process ends by itself, but the machine goes on: no power is cut while it writes its last. */
  isExiting: boolean;
}

/** False when torn bytes may have held the cursor of this consumer: then it begins before them. */
function isPlaced({ found }: Log, id: string): boolean {
  return found.cursors.has(id) || found.newcomerOffset === found.nextOffset;
}

/** The number that a record carries. */
function numberOf(bytes: Buffer): number {
  return Number.parseInt(bytes.toString("latin1", 0, 8), 10);
}

/** Payloads differ in length, so that blocks and sectors never align. */
function payloadOf(n: number, forged: Buffer | undefined): Encoded {
  const text = Buffer.from(`${n}.${"0".repeat(1 + ((n * 37) % 90))}`);
  const isForged = forged !== undefined && n % 3 === 0;
  return { codec: 0, bytes: isForged ? Buffer.concat([text, forged]) : text };
}

/** What a block would look like to one who did not look where it stands. */
async function forgedBlock(scenario: Scenario): Promise<Buffer> {
  const head = { origin: 300, idBase: Buffer.alloc(16), bootId: Buffer.alloc(8), baseElapsedMs: 0, baseTimeMs: 0 };
  const block: RecordBlock = Block.begin(head);
  block.append(300, 0, {}, 0, Buffer.from("9999."));
  return frameBlocks([await packRecords(block, scenario.compression)], 0, 0, 0);
}

/** A target that could not make durable what it has. */
class NotSettled extends Error {}

export class Explorer {
  readonly #options: ExploreOptions;
  readonly #random: Random;
  readonly result: Explored = { states: 0, kills: 0, harmed: 0, nested: 0 };
  #forged: Buffer | undefined;
  #losses: Loss[] = [];

  constructor(options: ExploreOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
  }

  /** @throws {ExploreError} at the first promise that was not kept */
  async run(): Promise<Explored> {
    let reported = 0;
    while (this.result.states < this.#options.states) {
      const scenario = pickScenario(this.#random, this.#options.scenario);
      this.#forged = scenario.forged ? await forgedBlock(scenario) : undefined;
      const oracle = new Oracle();
      for (const id of scenario.consumers) oracle.addConsumer(id);
      try {
        await this.#live(scenario, new SimDisk(), oracle, 0);
      } catch (error) {
        const { message } = error as Error;
        throw new ExploreError(`${scenario.name}: ${message}`, this.result.states, error);
      }
      if (this.result.states - reported >= 1_000) this.#options.onProgress?.((reported = this.result.states));
    }
    return this.result;
  }

  #chance(probability: number): boolean {
    return probability > 0 && this.#random() < probability;
  }

  #pick(below: number): number {
    return Math.floor(this.#random() * below);
  }

  #open(scenario: Scenario, disk: SimDisk, consumers: readonly string[]): Promise<Log> {
    return Log.open({
      folder: FOLDER,
      logId: LOG_ID,
      files: disk,
      clock: new StepClock(),
      random: (count) => {
        const bytes = Buffer.allocUnsafe(count);
        for (let i = 0; i < count; i++) bytes[i] = this.#pick(256);
        return bytes;
      },
      compression: scenario.compression,
      consumers,
      persistent: true,
      segmentBytes: scenario.segmentBytes,
      onLoss: async (loss) => void this.#losses.push(loss),
    });
  }

  /** One life: opens, works, and is crashed at every change it makes to the disk. */
  async #live(scenario: Scenario, disk: SimDisk, oracle: Oracle, depth: number): Promise<void> {
    const present = new Set(this.#whoComes(scenario, oracle));
    const log = await this.#open(scenario, disk, [...present]);
    for (const id of oracle.consumers) {
      // One that nobody opens, and of whom the folder knows nothing, is forgotten.
      if (!log.orphans.has(id) && !present.has(id)) oracle.removeConsumer(id);
    }
    const offsets = new Map<number, number>();
    const life: Life = {
      scenario,
      log,
      oracle,
      disk,
      offsets,
      depth,
      present,
      images: [],
      isReadOnly: false,
      hadTrouble: false,
      isClosed: false,
      isExiting: false,
    };
    for (const id of present) {
      if (!isPlaced(log, id)) oracle.mayGetOlder(id);
      await this.#begin(life, id);
    }
    disk.before = (call, _disk, writing) => {
      if (call !== "read") this.#picture(life, writing);
      if (life.isReadOnly && call !== "read" && call !== "sync" && call !== "syncFolder") throw errno("EROFS");
      if (this.#chance(scenario.eio[call] ?? 0)) throw errno("EIO");
      if (call === "remove" && disk.capacity < Number.POSITIVE_INFINITY) oracle.freedFirst = true;
    };
    const steps = depth === 0 ? 24 : 6 + this.#pick(8);
    for (let i = 0; i < steps && !oracle.isFull; i++) await this.#step(life);
    if (this.#chance(0.3)) {
      const count = oracle.count;
      life.isClosed = await this.#attempt(() => log.close());
      if (life.isClosed) oracle.wrote(count, true);
      this.#picture(life, undefined);
    } else if (this.#chance(0.4)) {
      await this.#exit(life);
    } else {
      this.#picture(life, undefined);
    }
    disk.before = () => undefined;
    await this.#attempt(() => log.close());
    if (disk.openFiles > 0 && !life.isExiting)
      throw new Violation(`${disk.openFiles} files are still open after close`);
    for (const image of life.images) await this.#crashed(scenario, image, depth);
  }

  #whoComes({ members }: Scenario, oracle: Oracle): string[] {
    if (!members) return oracle.consumers;
    const comes = oracle.consumers.filter(() => this.#chance(0.8));
    const newcomer = ALL[this.#pick(ALL.length)]!;
    if (comes.length === 0 || (!oracle.has(newcomer) && this.#chance(0.2))) {
      oracle.addConsumer(newcomer);
      if (!comes.includes(newcomer)) comes.push(newcomer);
    }
    return comes;
  }

  async #begin({ scenario, log, oracle, offsets, depth }: Life, id: string): Promise<void> {
    const consumer = log.consumer(id);
    for await (const record of consumer.unconfirmed()) offsets.set(numberOf(record.bytes), record.offset);
    if (!scenario.settles || id !== "b") return;
    const failing = depth === 0 && this.#chance(scenario.unsettled) ? 1 : 0.1;
    consumer.settle = () => {
      if (this.#chance(failing)) return Promise.reject(new NotSettled());
      oracle.settled(id);
      return Promise.resolve();
    };
  }

  /** The process ends with an exception, maybe in the middle of a round, and writes what is in memory. */
  async #exit(life: Life): Promise<void> {
    const { log, oracle, scenario } = life;
    const rounds = [() => Promise.resolve(), () => log.write(), () => log.sync(), () => log.close()];
    // A close that a full disk makes fail leaves nothing open that could be written to.
    const mayFail =
      life.disk.capacity < Number.POSITIVE_INFINITY || life.isReadOnly || scenario.eio.write !== undefined;
    const round = this.#attempt(rounds[this.#pick(mayFail ? 3 : 4)]!);
    for (let i = this.#pick(30); i > 0; i--) await Promise.resolve();
    life.isExiting = true;
    try {
      log.writeNow();
      oracle.wrote(oracle.count, false);
    } catch (error) {
      if (!isErrno(error, "EIO", "ENOSPC", "EROFS")) throw error;
    }
    this.#picture(life, undefined);
    life.disk.before = () => undefined;
    await round;
  }

  /** Keeps what the disk may look like if the world ended now. */
  #picture(life: Life, writing: Writing | undefined): void {
    this.#note(life);
    const { disk, oracle, images, depth } = life;
    const closed = life.isClosed && !life.hadTrouble;
    const many = depth === 0 ? 6 : 1;
    for (let i = 0; i < many; i++) {
      const kill = life.isExiting || this.#chance(0.3);
      const image = kill ? disk.afterKill() : disk.afterPowerCut(this.#random, this.#options.profile);
      const harmed = this.#chance(0.15);
      images.push({ disk: image, oracle: oracle.copy(), crash: kill ? "kill" : "power", harmed, closed });
    }
    if (writing === undefined || !this.#chance(0.3)) return;
    // Dying in the middle of a write leaves its front in the page cache.
    const torn = disk.afterKill();
    const path = [...disk.names].find(([, inode]) => inode === writing.inode)![0];
    const front = writing.bytes.subarray(0, this.#pick(writing.bytes.length));
    if (front.length > 0) torn.put(torn.names.get(path)!, front, writing.at);
    images.push({ disk: torn, oracle: oracle.copy(), crash: "kill", harmed: false, closed: false });
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

  /** False when the disk or a target said no, as it may: the next round tries again. */
  async #attempt(action: () => Promise<void>): Promise<boolean> {
    try {
      await action();
      return true;
    } catch (error) {
      if (error instanceof StorageError || error instanceof NotSettled) return false;
      if ((error as Error).cause instanceof NotSettled) return false;
      if ((error as NodeJS.ErrnoException).code === "EIO") return false; // a read
      throw error;
    }
  }

  async #step(life: Life): Promise<void> {
    const { log, oracle, disk, scenario, present } = life;
    const round = async (action: () => Promise<void>): Promise<boolean> => {
      const isDone = await this.#attempt(action);
      life.hadTrouble ||= !isDone;
      return isDone;
    };
    const { accept, write, sync, full, readOnly, members, drops } = scenario;
    if (this.#chance(full)) disk.capacity = disk.usedBytes + this.#pick(300);
    else if (this.#chance(Math.max(0.02, full / 2))) disk.capacity = Number.POSITIVE_INFINITY;
    if (this.#chance(life.isReadOnly ? 0.3 : readOnly)) life.isReadOnly = !life.isReadOnly;
    if (members && this.#chance(0.15)) await this.#comeOrGo(life);
    if (this.#chance(drops) && present.size > 0) this.#drop(life);
    const dice = this.#random();
    const count = oracle.count;
    if (dice < accept) {
      for (let i = 1 + this.#pick(4); i > 0; i--) {
        const n = oracle.accepted();
        life.offsets.set(n, log.append(payloadOf(n, this.#forged), { topic: `t${n % 3}` }));
      }
    } else if (dice < accept + write) {
      if (await round(() => log.write())) oracle.wrote(count, false);
    } else if (dice < accept + write + sync) {
      if (await round(() => log.sync())) oracle.wrote(count, true);
    } else {
      await this.#attempt(() => this.#consume(life));
    }
    this.#note(life);
    this.#checkBacklog(life);
  }

  /** A budget is full: of the whole log, of its memory, or of one consumer. What is given up is counted, all of it. */
  #drop({ log, oracle, offsets, present, depth }: Life): void {
    const known = [...present, ...log.orphans.keys()].filter((id) => oracle.has(id));
    let dropped = 0;
    const giveUp = (id: string, isGone: (offset: number) => boolean): void => {
      for (const [n, offset] of offsets) {
        if (!oracle.waitsFor(id, n) || !isGone(offset)) continue;
        oracle.confirmed(id, n, true);
        dropped++;
      }
    };
    let counted: number;
    const way = this.#pick(3);
    // Nothing shows what leaves memory for an orphan, nor where its records of an earlier life stand.
    if (log.orphans.size > 0 && (way === 1 || depth > 0)) return;
    if (way === 0) {
      const end = log.lowestOffset + 1 + this.#pick(log.backlogRecords + 1);
      counted = log.dropBelow(end);
      for (const id of known) giveUp(id, (offset) => offset < end);
    } else if (way === 1) {
      counted = log.dropOldestInMemory() ?? 0;
      for (const id of known) giveUp(id, (offset) => log.consumer(id).isConfirmed(offset));
    } else {
      const id = [...present][this.#pick(present.size)]!;
      const consumer = log.consumer(id);
      const end = Math.min(log.nextOffset, consumer.offset + 1 + this.#pick(5));
      const before = consumer.dropped;
      counted = consumer.drop(consumer.offset, end);
      if (consumer.dropped !== before + counted) throw new Violation(`${id} says that other records were dropped`);
      giveUp(id, (offset) => offset < end);
    }
    // Offsets that a crash has left without a record count as well.
    if (depth === 0 ? counted !== dropped : counted < dropped) {
      throw new Violation(`${dropped} records were given up, and ${counted} counted`);
    }
  }

  /** What was accepted and neither confirmed nor given up is the backlog: in a first life, to the record. */
  #checkBacklog({ log, oracle, present, depth }: Life): void {
    if (depth > 0) return;
    for (const id of present) {
      const waiting = oracle.countWaiting(id);
      const { records } = log.consumer(id).backlog();
      if (records !== waiting)
        throw new Violation(`${waiting} records wait for ${id}, and its backlog says ${records}`);
    }
  }

  async #comeOrGo(life: Life): Promise<void> {
    const { log, oracle, present } = life;
    const id = ALL[this.#pick(ALL.length)]!;
    if (oracle.has(id) && this.#chance(0.5)) {
      if (oracle.consumers.length === 1) return;
      log.removeConsumer(id);
      oracle.removeConsumer(id);
      present.delete(id);
    } else if (present.has(id)) {
      log.releaseConsumer(id);
      present.delete(id);
    } else {
      log.addConsumer(id);
      oracle.addConsumer(id);
      if (!isPlaced(log, id)) oracle.mayGetOlder(id);
      present.add(id);
      await this.#attempt(() => this.#begin(life, id));
    }
  }

  async #consume({ scenario, log, oracle, present }: Life): Promise<void> {
    const id = [...present][this.#pick(present.size)];
    if (id === undefined) return;
    const consumer = log.consumer(id);
    if (consumer.untaken === 0) return;
    const records = await takeNow(consumer, 1 + this.#pick(scenario.take));
    // A part is confirmed, the rest given back: a partial failure.
    const all = this.#chance(0.6);
    const confirmed = records.filter(() => all || this.#chance(0.6));
    const settled = !(scenario.settles && id === "b");
    for (const record of confirmed) oracle.confirmed(id, numberOf(record.bytes), settled);
    consumer.confirm(confirmed);
    consumer.release(records.filter((record) => !confirmed.includes(record)));
  }

  async #crashed(scenario: Scenario, image: Image, depth: number): Promise<void> {
    this.result.states++;
    if (image.crash === "kill") this.result.kills++;
    if (depth > 0) this.result.nested++;
    image.disk.capacity = Number.POSITIVE_INFINITY;
    const aftermath = image.harmed ? await this.#harm(scenario, image.disk) : undefined;
    try {
      await this.#nextLife(scenario, image, aftermath, depth);
    } catch (error) {
      if (aftermath === undefined) throw error;
      throw new Violation(`${(error as Error).message}\n${aftermath.toString()}`, { cause: error });
    }
  }

  /** The next life: what it finds is checked, then it works on. */
  async #nextLife(scenario: Scenario, image: Image, aftermath: Aftermath | undefined, depth: number): Promise<void> {
    const { disk, crash, oracle } = image;
    const changes = disk.changes;
    this.#losses = [];
    const ids = oracle.consumers;
    const log = await this.#open(scenario, disk, ids);
    const missing: number[] = [];
    const found = new Map<string, number[]>();
    for (const id of ids) found.set(id, await this.#readAll(log, id));
    if (this.#chance(0.25)) await this.#openAgain(scenario, disk, log, found);
    if (disk.changes !== changes) throw new Violation("opening changed the disk");
    if (aftermath === undefined) oracle.checkShared(found);
    for (const [id, numbers] of found) {
      missing.push(...oracle.check(id, numbers, crash, aftermath, isPlaced(log, id)));
      oracle.nextLife(id, numbers, crash);
      const { records, bytes } = log.consumer(id).backlog();
      if (records < numbers.length || (numbers.length === 0 && (records > 0 || bytes > 0))) {
        throw new Violation(`${id} waits for ${numbers.length}, but its backlog says ${records} of ${bytes} bytes`);
      }
    }
    const isForgiven = ({ kind }: Loss): boolean => oracle.freedFirst && kind === "missing-segment";
    const losses = [...log.found.losses, ...this.#losses];
    if ((aftermath === undefined || aftermath.isHarmless) && !losses.every(isForgiven)) {
      throw new Violation(`a loss was reported that did not happen: ${JSON.stringify(losses)}`);
    }
    const untold = losses.length > 0 ? undefined : missing.find((n) => aftermath!.isFindable(n));
    if (untold !== undefined) throw new Violation(`${untold} had been safe and was lost by hand, and nobody was told`);
    if (image.closed && crash === "kill" && aftermath === undefined && log.found.carried.length > 0) {
      throw new Violation("what a close had made safe is written again");
    }
    if (aftermath === undefined && depth < 2 && this.#chance(depth === 0 ? scenario.nested : scenario.nested / 3)) {
      for (const id of ids) await log.consumer(id).close(); // not the log itself: that would write
      return this.#live(scenario, disk, oracle, depth + 1);
    }
    await this.#worksOn(log, disk, oracle, aftermath);
  }

  async #harm({ compression }: Scenario, disk: SimDisk): Promise<Aftermath | undefined> {
    const inventory = await Inventory.take(disk, compression, numberOf);
    const done = harm(disk, this.#random);
    if (done === undefined) return undefined;
    this.result.harmed++;
    return inventory.after(disk, done);
  }

  async #openAgain(scenario: Scenario, disk: SimDisk, log: Log, found: Map<string, number[]>): Promise<void> {
    const again = await this.#open(scenario, disk, [...found.keys()]);
    if (again.nextOffset !== log.nextOffset) throw new Violation("opening twice gave two next offsets");
    for (const [id, numbers] of found) {
      const twice = await this.#readAll(again, id);
      if (numbers.join() !== twice.join()) throw new Violation("opening twice gave two contents");
      await again.consumer(id).close();
    }
  }

  /** New records reach everyone, behind all that waited; then the folder empties, and nothing is held any more. */
  async #worksOn(log: Log, disk: SimDisk, oracle: Oracle, aftermath: Aftermath | undefined): Promise<void> {
    const n = oracle.accepted();
    log.append(payloadOf(n, this.#forged), {});
    if (this.#chance(0.5)) await log.write();
    for (const id of log.orphans.keys()) log.removeConsumer(id);
    for (const id of oracle.consumers) {
      const consumer = log.consumer(id);
      const found: number[] = [];
      while (consumer.untaken > 0) {
        const records = await takeNow(consumer, 5);
        if (records.length === 0) break;
        found.push(...records.map(({ bytes }) => numberOf(bytes)));
        consumer.confirm(records);
      }
      if (found.at(-1) !== n) throw new Violation(`${id} did not get the new record ${n}, but ${found.join()}`);
      oracle.check(id, found, "kill", aftermath, false);
      const { records, bytes } = consumer.backlog();
      if (records !== 0 || bytes !== 0) throw new Violation(`${id} has everything, and a backlog of ${records}`);
    }
    await log.sync();
    await log.sync();
    if (disk.names.size > 0) throw new Violation(`${disk.names.size} files are left after everything was confirmed`);
    if (log.unwrittenBytes !== 0 || log.diskBytes !== 0) throw new Violation("an empty log says that it holds bytes");
    if (log.writeDueMs(0) !== undefined || log.syncDueMs(0) !== undefined)
      throw new Violation("an empty log wants to write");
    await log.close();
    if (disk.openFiles > 0) throw new Violation(`${disk.openFiles} files are still open after close`);
  }

  async #readAll(log: Log, id: string): Promise<number[]> {
    const found: number[] = [];
    for await (const { bytes } of log.consumer(id).unconfirmed()) {
      const n = numberOf(bytes);
      if (!bytes.equals(payloadOf(n, this.#forged).bytes)) throw new Violation(`the payload of ${n} was changed`);
      found.push(n);
    }
    return found;
  }
}

/** Takes what is there, without waiting for more. */
async function takeNow(consumer: LogConsumer, records: number): Promise<LogRecord[]> {
  const abort = new AbortController();
  const taking = consumer.take({ records, bytes: 1 << 20 }, abort.signal);
  let isDone = false;
  void taking.then(
    () => (isDone = true),
    () => (isDone = true),
  );
  for (let i = 0; i < 200 && !isDone; i++) await Promise.resolve();
  if (isDone) return taking;
  abort.abort();
  return taking.catch((error: unknown) => {
    if (abort.signal.reason === error) return [];
    throw error;
  });
}
