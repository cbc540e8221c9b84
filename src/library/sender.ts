/**
 * What exporters and pools of the library have in common: made at once, opened at first use, closed once.
 */
import { deepCopy } from "../deep-copy.js";
import type { Routing } from "../record.js";
import { NotAcceptedError } from "../runtime/limits.js";
import type { Member } from "../runtime/member.js";
import type { Done } from "../runtime/queue.js";
import type { Transform, TransformContext } from "../transform.js";
import { type DeadLetterBox, DeadLetters } from "./dead-letters.js";
import { held } from "./hold.js";
import { type CheckedRuntime, checkSender, OptionError, type SenderOptions } from "./options.js";
import { leaseRuntime, type RuntimeLease } from "./runtimes.js";

/** What the engine opens for it. */
export interface OpenQueue {
  readonly members: ReadonlyMap<string, Member>;
  send(payload: unknown, routing: Routing, done: Done, context?: TransformContext): void;
  close(): Promise<void>;
}

// For pools and exporters among themselves:
/** Whoever delivers for this one. */
export const MEMBERS = Symbol("members");
/** Those of them that are open already. */
export const OPEN_MEMBERS = Symbol("open members");
/** Where their rejected records are. */
export const BOXES = Symbol("dead letters");
/** The runtime of a pool becomes that of members who have not been given one. */
export const INHERIT = Symbol("inherit the runtime");

export abstract class Sender<Opened extends OpenQueue = OpenQueue> {
  /** Of its queue: see `name` of the options. */
  readonly name: string;
  /** Undefined when there is none. */
  readonly transform: Transform | undefined;
  /** The records that were rejected, and what can be done with them. */
  readonly deadLetters: DeadLetters = new DeadLetters(() => this[BOXES]());
  #runtime: CheckedRuntime;
  #hasOwnRuntime: boolean;
  #opening: Promise<Opened> | undefined;
  #opened: Opened | undefined;
  #lease: RuntimeLease | undefined;
  /** Sends that wait for the opening: later ones must not pass them. */
  #waiting = 0;
  #closed: Promise<void> | undefined;

  /**
   * @param defaultName when the options give none
   * @throws {OptionError} when an option cannot be used
   */
  constructor(defaultName: string, options: SenderOptions) {
    const { name, transform, runtime } = checkSender(options);
    this.name = name ?? defaultName;
    this.transform = transform;
    this.#runtime = runtime;
    this.#hasOwnRuntime = options.runtime !== undefined;
  }

  /**
   * Sends data; an array is many records. Resolves when it is accepted at the durability that was chosen: `interval` (the
   * default): in memory, and soon on disk; `everyMessage`: on disk; `delivered`: each record has its end, in the target
   * or in the dead letters.
   * @param routing where this goes, if not where the options say (`file`, `database`, `collection`, `index`, `id` ...),
   * and its `topic`
   * @throws {NotAcceptedError} the queue is full and the overflow policy `refuse`, or it is closed
   * @throws {TransformError | PayloadError} it can never be sent; it is in the dead letters
   * @throws errors of the disk, when the queue cannot be opened
   */
  async send(data: unknown, routing: Routing = {}): Promise<void> {
    checkRouting(routing);
    await held(this.accept(data, routing));
  }

  protected async accept(data: unknown, routing: Routing): Promise<void> {
    let opened = this.#opened;
    let payload = data;
    if (opened === undefined || this.#waiting > 0) {
      payload = deepCopy(data); // the caller may go on using it
      this.#waiting++;
      try {
        opened = await this.opened();
      } finally {
        this.#waiting--;
      }
    }
    await new Promise<void>((resolve, reject) => {
      opened.send(payload, routing, (error) => (error === undefined ? resolve() : reject(error)), routing);
    });
  }

  /**
   * Opens the queue, as the first `send` does. Worth calling at the start: what an earlier life of the program left
   * unsent goes on being delivered from then on.
   * @throws {FolderInUseError} when another process has the folder
   * @throws {OptionError} when another exporter has the name
   * @throws errors of the disk
   */
  async ready(): Promise<void> {
    await held(this.opened());
  }

  /** Records wait. Known once it is open (`ready`); false before. */
  get hasUnsent(): boolean {
    return this[OPEN_MEMBERS]().some((member) => member.status().waiting > 0);
  }

  /** Sends nothing more until `resume`; what comes meanwhile waits. */
  async pause(): Promise<void> {
    for (const member of await this[MEMBERS]()) member.pause();
  }

  /** Goes on, and looks at once at a target that was away. */
  async resume(): Promise<void> {
    for (const member of await this[MEMBERS]()) member.resume();
  }

  /** Lets go of the target, its file or connection, until `takeUp`; what comes meanwhile waits. */
  async letGo(): Promise<void> {
    await held(Promise.all((await this[MEMBERS]()).map((member) => member.letGo())));
  }

  async takeUp(): Promise<void> {
    await held(Promise.all((await this[MEMBERS]()).map((member) => member.takeUp())));
  }

  /** Gives up everything that waits. Resolves to how many records that was, counted for each who waited for it. */
  async discard(): Promise<number> {
    return (await this[MEMBERS]()).reduce((sum, member) => sum + member.discard(), 0);
  }

  /** Writes and syncs what waits, and lets go of everything. What was not delivered is sent in the next life. */
  close(): Promise<void> {
    return (this.#closed ??= held(this.closeAll()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  protected abstract openIn(lease: RuntimeLease): Promise<Opened>;

  protected opened(): Promise<Opened> {
    if (this.#closed !== undefined) return Promise.reject(new NotAcceptedError("closed", `${this.name} is closed.`));
    return (this.#opening ??= this.#open().catch((error: unknown) => {
      this.#opening = undefined; // the next call tries anew
      throw error;
    }));
  }

  async #open(): Promise<Opened> {
    const lease = await leaseRuntime(this.#runtime, this.name);
    try {
      const opened = await this.openIn(lease);
      this.#lease = lease;
      return (this.#opened = opened);
    } catch (error) {
      await lease.release();
      throw error;
    }
  }

  protected async closeAll(): Promise<void> {
    try {
      await this.#opening;
    } catch {
      // Never opened: whoever asked for that has heard why, and nothing is left to close.
      return;
    }
    try {
      await this.#opened?.close();
    } finally {
      await this.#lease?.release();
    }
  }

  protected get runtime(): CheckedRuntime {
    return this.#runtime;
  }

  protected get hasOwnRuntime(): boolean {
    return this.#hasOwnRuntime;
  }

  /** The first pool decides. Returns whether this one's queue is in that runtime. */
  [INHERIT](runtime: CheckedRuntime): boolean {
    if (!this.#hasOwnRuntime && this.#opening === undefined) {
      this.#runtime = runtime;
      this.#hasOwnRuntime = true;
    }
    return this.#runtime.folder === runtime.folder;
  }

  async [MEMBERS](): Promise<readonly Member[]> {
    return [...(await held(this.opened())).members.values()];
  }

  [OPEN_MEMBERS](): readonly Member[] {
    return [...(this.#opened?.members.values() ?? [])];
  }

  async [BOXES](): Promise<readonly DeadLetterBox[]> {
    return [...(await held(this.opened())).members.values()].map((member) => ({
      exporter: member.id,
      letters: member.deadLetters,
      requeue: (filter) => member.requeue(filter),
    }));
  }
}

/** Text and nothing else: routing is stored with the record, and names places. */
function checkRouting(routing: unknown): asserts routing is Routing {
  if (typeof routing !== "object" || routing === null || Array.isArray(routing)) {
    throw new OptionError('The routing must be an object, such as { collection: "readings" }.');
  }
  for (const [name, value] of Object.entries(routing)) {
    if (typeof value !== "string") throw new OptionError(`${name} of the routing must be a text.`);
  }
}
