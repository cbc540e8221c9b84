/**
 * A pool: one queue, many members. Each record is stored once; each member has its own place, pace, circuit and dead
 * letters, so that a slow or dead one neither delays the others nor bars the entry.
 */
import type { DeadLetters } from "../delivery/dead-letters.js";
import type { Routing } from "../record.js";
import type { Transform, TransformContext } from "../transform.js";
import { type ExporterStatus, Member, type MemberOptions, settled } from "./member.js";
import { viewOf } from "./member-routing.js";
import { type Done, Queue } from "./queue.js";
import { NotAcceptedError } from "./limits.js";
import type { LogStore } from "./log-store.js";
import type { FlushSettings } from "./settings.js";

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
  readonly #members = new Map<string, Member>();
  /** Members are changed one after the other. */
  #changing: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  private constructor(store: LogStore, queue: Queue, deadLetters: DeadLetters) {
    this.id = queue.id;
    this.#store = store;
    store.enter(this);
    this.queue = queue;
    this.deadLetters = deadLetters;
  }

  static async open(store: LogStore, { id, flush, transform, onChange }: PoolOptions): Promise<Pool> {
    const deadLetters = await store.openDeadLetters(id, flush);
    try {
      const queue = await Queue.open(store, {
        id,
        consumers: [],
        flush,
        transform,
        setAside: (payload, routing, rejection) => deadLetters.setAsidePayload(payload, routing, rejection),
        onChange: () => onChange?.(),
      });
      return new Pool(store, queue, deadLetters);
    } catch (error) {
      await deadLetters.close();
      throw error;
    }
  }

  /** Takes one payload for all members, as `Exporter.send` does. */
  send(payload: unknown, routing: Routing, done: Done, context?: TransformContext): void {
    if (this.#members.size === 0 && this.queue.log.orphans.size === 0) {
      return done(new NotAcceptedError("no-members", "The pool has no members: nobody would store it."));
    }
    this.queue.send(payload, routing, done, context);
    for (const member of this.#members.values()) member.nudge();
  }

  get members(): ReadonlyMap<string, Member> {
    return this.#members;
  }

  /** Members that left their place behind and have not come back: with the records that wait for each. */
  get orphans(): ReadonlyMap<string, number> {
    return this.queue.orphans;
  }

  /** Gives a member that is not known yet its place at once; it is opened later. */
  reserve(id: string): void {
    if (this.#closed === undefined) this.queue.log.reserve(id);
  }

  /** Opens a member: a known one goes on where it was, a new one starts at the present. */
  addMember(options: MemberOptions): Promise<Member> {
    return this.#inTurn(async () => {
      const known = this.#members.get(options.id);
      if (known !== undefined) return known;
      if (this.#closed !== undefined) throw new NotAcceptedError("closed", "The pool is closed.");
      const consumer = this.queue.consumer(options.id);
      consumer.view = viewOf(options.id);
      await consumer.findOldest();
      const deadLetters = await this.#store.openDeadLetters(`${this.id}/${options.id}`, options.flush);
      const member = Member.open(this.#store, this.queue, deadLetters, options);
      this.#members.set(options.id, member);
      return member;
    });
  }

  /** Closes a member. It keeps its place, as an orphan, until it comes back or `forgetMember` is called. */
  releaseMember(id: string): Promise<void> {
    return this.#inTurn(async () => {
      const member = this.#members.get(id);
      this.#members.delete(id);
      await member?.close();
      this.queue.log.releaseConsumer(id);
    });
  }

  /** Gives up an orphan's place, and with it what only it waited for. */
  forgetMember(id: string): Promise<void> {
    return this.#inTurn(() => {
      if (this.#members.has(id)) throw new Error(`${id} is a member of this pool`);
      this.queue.log.removeConsumer(id);
      this.queue.poke();
      return Promise.resolve();
    });
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
      const results = await Promise.allSettled([...this.#members.values()].map((member) => member.close()));
      results.push(await settled(this.queue.close()), await settled(this.deadLetters.close()));
      this.#store.leave(this);
      const failed = results.find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
    }));
  }
}
