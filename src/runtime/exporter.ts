/**
 * One exporter: a queue of its own, and the one member that delivers from it.
 */
import type { FlushReport } from "../delivery/events.js";
import type { Routing } from "../record.js";
import type { Transform, TransformContext } from "../transform.js";
import { type ExporterStatus, Member, type MemberOptions, settled } from "./member.js";
import { type Done, Queue } from "./queue.js";
import type { LogStore } from "./log-store.js";

export type { ExporterStatus };

/** `id` names the log: the same id finds the same records again. */
export interface ExporterOptions extends MemberOptions {
  /** Applied once to each payload, at acceptance. Default: none. */
  readonly transform?: Transform | undefined;
}

export class Exporter {
  readonly id: string;
  readonly queue: Queue;
  readonly #member: Member;
  #closed: Promise<void> | undefined;

  readonly #store: LogStore;

  private constructor(store: LogStore, queue: Queue, member: Member) {
    this.#store = store;
    store.enter(this);
    this.id = queue.id;
    this.queue = queue;
    this.#member = member;
  }

  static async open(store: LogStore, options: ExporterOptions): Promise<Exporter> {
    const { id, flush, transform } = options;
    const deadLetters = await store.openDeadLetters(id, flush);
    let member: Member | undefined;
    let queue: Queue | undefined;
    try {
      queue = await Queue.open(store, {
        id,
        consumers: [id],
        flush,
        transform,
        setAside: (payload, routing, rejection) => deadLetters.setAsidePayload(payload, routing, rejection),
        onChange: () => member?.changed(),
      });
      member = Member.open(store, queue, deadLetters, options);
      return new Exporter(store, queue, member);
    } catch (error) {
      await queue?.close();
      await deadLetters.close();
      throw error;
    }
  }

  /**
   * Takes one payload; an array is many records. `done` is called once, when all of it is accepted at the durability the
   * user chose, or with the error when it is not: then nothing of it was taken. Never throws, never blocks.
   */
  send(payload: unknown, routing: Routing, done: Done, context?: TransformContext): void {
    this.queue.send(payload, routing, done, context);
    this.#member.nudge();
  }

  status(): ExporterStatus {
    return this.#member.status();
  }

  /** Sends what waits now. Resolves when all of it was tried, or as soon as the target cannot be used. */
  flush(): Promise<FlushReport> {
    return this.#member.flush();
  }

  pause(): void {
    this.#member.pause();
  }

  resume(): void {
    this.#member.resume();
  }

  /** Lets go of the target until `takeUp`; what comes meanwhile waits. */
  letGo(): Promise<void> {
    return this.#member.letGo();
  }

  takeUp(): Promise<void> {
    return this.#member.takeUp();
  }

  /** The one who delivers: its dead letters, and what can be done with them. */
  get member(): Member {
    return this.#member;
  }

  /** As a pool has them: the one, by its id. */
  get members(): ReadonlyMap<string, Member> {
    return new Map([[this.#member.id, this.#member]]);
  }

  /** Gives up everything that waits. Returns how many records that was. */
  discard(): number {
    return this.#member.discard();
  }

  /** Stops delivering, then writes and syncs what waits. Each step runs though one failed. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    const results: PromiseSettledResult<void>[] = [];
    // What is given back to the queue is safe there when that is closed; only then do the dead letters let go of it.
    for (const step of [() => this.#member.stop(), () => this.queue.close(), () => this.#member.close()]) {
      results.push(await settled(step()));
    }
    this.#store.leave(this);
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }
}
