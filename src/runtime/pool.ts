/**
 * A pool: one queue, many members. Each record is stored once; each member has its own place, pace, circuit and dead
 * letters, so that a slow or dead one neither delays the others nor bars the entry.
 */
import type { DeadLetters } from "../delivery/dead-letters.js";
import type { LogConsumer } from "../log/consumer/consumer.js";
import type { Routing } from "../record.js";
import type { Transform, TransformContext } from "../transform.js";
import { type ExporterStatus, Member, type MemberOptions, settled } from "./member.js";
import { viewOf } from "./member-routing.js";
import { type Done, Queue } from "./queue.js";
import { LagBudget } from "./lag.js";
import { NotAcceptedError } from "./limits.js";
import type { LogStore } from "./log-store.js";
import type { FlushSettings } from "./settings.js";
import { BEGINNING, isBeginning } from "./waiting.js";

export interface PoolOptions {
  readonly id: string;
  /** What concerns the log; each member's own concerns its delivery. */
  readonly flush: FlushSettings;
  /** Applied once to each payload, at acceptance; members' own do not run for what comes through the pool. */
  readonly transform?: Transform | undefined;
  /** Called when something changed for the pool as a whole. */
  readonly onChange?: () => void;
}

export class Pool {
  readonly id: string;
  readonly #store: LogStore;
  readonly queue: Queue;
  /** What could not be accepted at all; each member has its own for what its target rejects. */
  readonly deadLetters: DeadLetters;
  #willNudge = false;
  readonly #members = new Map<string, Member>();
  /** Whose place is being taken or left at the moment: neither a member nor an orphan, and yet someone to store for. */
  readonly #between = new Set<string>();
  /** How far each may be behind, by its own limits; and the end of the looking after that. */
  readonly #lags = new Map<string, { readonly budget: LagBudget; readonly stop: () => void }>();
  /** Members are changed one after the other. */
  #changing: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  private constructor(store: LogStore, queue: Queue, deadLetters: DeadLetters) {
    this.id = queue.id;
    this.#store = store;
    store.enter(this);
    this.queue = queue;
    this.deadLetters = deadLetters;
    queue.log.onConfirmed(() => this.#forgetBeginnings());
  }

  static async open(store: LogStore, { id, flush, transform, onChange }: PoolOptions): Promise<Pool> {
    const deadLetters = await store.openDeadLetters(id, flush);
    try {
      let told: () => void = () => undefined;
      const queue = await Queue.open(store, {
        id,
        consumers: [],
        flush,
        transform,
        setAside: (payload, routing, rejection) => deadLetters.setAsidePayload(payload, routing, rejection),
        onChange: () => onChange?.(),
        onAccepted: () => told(),
      });
      const pool = new Pool(store, queue, deadLetters);
      told = () => pool.#onAccepted();
      return pool;
    } catch (error) {
      await deadLetters.close();
      throw error;
    }
  }

  /** Takes one payload for all members, as `Exporter.send` does. */
  send(payload: unknown, routing: Routing, done: Done, context?: TransformContext): void {
    if (this.#members.size === 0 && this.#between.size === 0 && this.queue.log.orphans.size === 0) {
      return done(new NotAcceptedError("no-members", "The pool has no members: nobody would store it."));
    }
    this.queue.send(payload, routing, done, context);
  }

  #onAccepted(): void {
    for (const { budget } of this.#lags.values()) budget.keep();
    this.#nudgeSoon();
  }

  /** Each member looks at a clock for it: once for what is sent in one go, not for each record. */
  #nudgeSoon(): void {
    if (this.#willNudge) return;
    this.#willNudge = true;
    queueMicrotask(() => {
      this.#willNudge = false;
      for (const member of this.#members.values()) member.nudge();
    });
  }

  get members(): ReadonlyMap<string, Member> {
    return this.#members;
  }

  /** Members that left their place behind and have not come back: with the records that wait for each. */
  get orphans(): ReadonlyMap<string, number> {
    return new Map([...this.queue.orphans].filter(([id]) => !isBeginning(id)));
  }

  /** Gives a member that is not known yet its place at once; it is opened later. */
  reserve(id: string): void {
    const { log } = this.queue;
    if (this.#closed !== undefined || this.#members.has(id) || log.orphans.has(id)) return;
    // Should it ever take over what another has left, it must be known what it has had itself.
    if (log.backlogRecords > 0) log.reserve(BEGINNING + id);
    log.reserve(id);
  }

  /** Opens a member: a known one goes on where it was, a new one starts at the present. */
  addMember(options: MemberOptions): Promise<Member> {
    return this.#inTurn(async () => {
      const known = this.#members.get(options.id);
      if (known !== undefined) return known;
      if (this.#closed !== undefined) throw new NotAcceptedError("closed", "The pool is closed.");
      const { id, flush } = options;
      this.reserve(id);
      this.#between.add(id);
      let deadLetters: DeadLetters | undefined;
      try {
        deadLetters = await this.#store.openDeadLetters(`${this.id}/${id}`, flush);
        const consumer = this.queue.consumer(id);
        consumer.view = viewOf(id);
        await consumer.findOldest();
        const member = Member.open(this.#store, this.queue, deadLetters, options);
        this.#members.set(id, member);
        this.#limit(consumer, flush, member);
        return member;
      } catch (error) {
        // It keeps its place, and can be added again.
        this.queue.log.releaseConsumer(id);
        await deadLetters?.close();
        throw error;
      } finally {
        this.#between.delete(id);
      }
    });
  }

  /** Closes a member. It keeps its place, as an orphan, until it comes back or `forgetMember` is called. */
  releaseMember(id: string): Promise<void> {
    return this.#inTurn(async () => {
      const member = this.#members.get(id);
      if (member === undefined) return;
      this.#members.delete(id);
      this.#between.add(id);
      this.#lags.get(id)?.stop();
      this.#lags.delete(id);
      try {
        await member.close();
        await this.queue.consumer(id).settleNow();
      } finally {
        this.queue.log.releaseConsumer(id);
        this.#between.delete(id);
      }
    });
  }

  #limit(consumer: LogConsumer, flush: FlushSettings, member: Member): void {
    if (flush.backlogRecords === 0 && flush.backlogBytes === 0 && flush.backlogAgeMs === 0) return;
    const budget = new LagBudget(this.queue.log, consumer, flush, this.#store.clock, () => {
      this.queue.poke();
      member.changed();
    });
    this.#lags.set(consumer.id, { budget, stop: this.#store.watch(`${this.id}/${consumer.id}`, budget) });
  }

  /**
   * Gives what waits for an orphan to a member: what that has not had itself, because it came later. Resolves to how many
   * records that is. @throws when either is not there
   */
  adoptOrphan(orphan: string, by: string): Promise<number> {
    return this.#inTurn(async () => {
      const { log } = this.queue;
      const place = log.orphans.get(orphan);
      const member = this.#members.get(by);
      if (place === undefined || member === undefined) throw new Error(`${orphan} or ${by} is not there`);
      // Names from messages were noted for the one that is gone.
      log.consumer(by).view = viewOf(by, orphan);
      // One who was here when nothing waited has had everything that could wait now.
      const taken = await member.takeOver(place, log.orphans.get(BEGINNING + by)?.offset ?? 0);
      this.#forget(orphan);
      return taken;
    });
  }

  /** Gives up an orphan's place, and with it what only it waited for. */
  forgetMember(id: string): Promise<void> {
    return this.#inTurn(() => {
      if (this.#members.has(id)) throw new Error(`${id} is a member of this pool`);
      this.#forget(id);
      return Promise.resolve();
    });
  }

  #forget(id: string): void {
    this.queue.log.removeConsumer(id);
    this.queue.log.removeConsumer(BEGINNING + id);
    this.#forgetBeginnings();
    this.queue.poke();
  }

  /** A beginning that everyone has passed says nothing any more, and would keep records for nobody. */
  #forgetBeginnings(): void {
    const { log } = this.queue;
    if (log.orphans.size === 0) return;
    const beginnings = [...log.orphans].filter(([id]) => isBeginning(id));
    if (beginnings.length === 0) return;
    let lowest: number = log.nextOffset;
    for (const { offset } of this.#consumers()) lowest = Math.min(lowest, offset);
    for (const [id, { offset }] of log.orphans) if (!isBeginning(id)) lowest = Math.min(lowest, offset);
    for (const [id, { offset }] of beginnings) if (offset <= lowest) log.removeConsumer(id);
  }

  #consumers(): LogConsumer[] {
    return [...this.#members.keys()].map((id) => this.queue.log.consumer(id));
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const changing = this.#changing.then(change);
    this.#changing = changing.catch(() => undefined); // the caller hears of it
    return changing;
  }

  statuses(): ReadonlyMap<string, ExporterStatus> {
    return new Map([...this.#members].map(([id, member]) => [id, member.status()]));
  }

  /** Stops delivering, then writes and syncs what waits. Each step runs though one failed. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#inTurn(async () => {
      for (const { stop } of this.#lags.values()) stop();
      const members = [...this.#members.values()];
      const results = await Promise.allSettled(members.map((member) => member.stop()));
      results.push(await settled(this.queue.close()));
      // Not before: what they give back to the queue is safe there now.
      results.push(...(await Promise.allSettled([...members, this.deadLetters].map((letters) => letters.close()))));
      this.#store.leave(this);
      const failed = results.find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
    }));
  }
}
