/**
 * The life of a pool node: its members are looked up from its wires, each message is stored once for all of them, and
 * everything else that is wired gets the message as from any other node. Reading the dialog's values is `pool.ts`.
 */
import type { Node, NodeMessageInFlow, NodeStatus } from "node-red";
import type { Clock } from "../../src/clock.js";
import type { Routing } from "../../src/record.js";
import type { MemberOptions } from "../../src/runtime/member.js";
import { mergeRoutings } from "../../src/runtime/member-routing.js";
import type { Pool } from "../../src/runtime/pool.js";
import type { FlushSettings } from "../../src/runtime/settings.js";
import type { Transform } from "../../src/transform.js";
import type { RuntimeHandle, RuntimeUser } from "../runtime/shared-runtime.js";
import { contextOf } from "../shared/context.js";
import { type Done, Entry, type EntryHandle, type Item } from "../shared/entry.js";
import { type Steered, together } from "../shared/commands.js";
import { NodeError, asError } from "../shared/errors.js";
import { present } from "../shared/exporter-node.js";
import {
  type FeedingPool,
  type MemberHandle,
  type PoolMember,
  isStoredFor,
  markStored,
  storedFor,
} from "../shared/membership.js";
import { ProblemLog } from "../shared/problem-log.js";
import type { Translate } from "../shared/status.js";
import type { TypedValue } from "../shared/typed-value.js";
import type { Described } from "./described.js";
import { type PoolView, poolStatus } from "./pool-status.js";
import { type Followed, followWires } from "./wires.js";

export interface PoolNodeOptions {
  readonly node: Node;
  readonly getNode: (id: string) => Node | null | undefined;
  /** Begins to look at the flows as they are now: see `describer`. */
  readonly describer: () => (id: string) => Described | undefined;
  /** What of a message is the data, for all members. */
  readonly data: TypedValue;
  readonly flush: FlushSettings;
  /** An array is one record, not one for each of its items. */
  readonly keepsArrays: boolean;
  /** In place of its members' own, for what comes through the pool. */
  readonly transform: Transform | undefined;
  readonly takesCommands: boolean;
  /** Whether `msg.resilient` may give up records. */
  readonly mayDiscard: boolean;
  readonly maxWaiting: number;
  /** Texts of all nodes, and of this one. */
  readonly text: Translate;
  readonly ownText: Translate;
  readonly clone: <T extends object>(value: T) => T;
  readonly clock: Clock;
  /** Resolves when the flows have started: before that, members may not be there yet. */
  readonly flowsStarted: Promise<void>;
}

const NO_ROUTINGS: readonly Routing[] = [];

export class PoolNode implements RuntimeUser, FeedingPool, PoolMember {
  readonly id: string;
  readonly hasTransform: boolean;
  /** Itself, as one that has had a message which it has sent on. */
  readonly #loopId: string;
  readonly #options: PoolNodeOptions;
  readonly #problemLog: ProblemLog;
  readonly #entry: Entry<PoolHandle>;
  #leave: () => void = () => undefined;
  #followed: Followed;
  /** The wires that `#followed` was read from. */
  #wires: unknown;
  #hasStarted = false;
  readonly #joined = new Map<string, PoolMember>();
  /** Who says where a message goes: the members, and those that were here and are disabled, or being deployed anew. */
  #guides: ReadonlyMap<string, PoolMember> = new Map();
  readonly #feeding = new Set<FeedingPool>();
  /** Resolves when the queue is open. */
  #opened!: (pool: Pool) => void;
  #gaveUp!: (error: Error) => void;
  readonly #pool: Promise<Pool>;
  #lastRoutings: readonly Routing[] = NO_ROUTINGS;
  #lastMerged: Routing = {};
  #shown = "";
  #closed: Promise<void> | undefined;

  constructor(options: PoolNodeOptions) {
    const { node, transform, maxWaiting, clone, clock, text, mayDiscard } = options;
    this.id = node.id;
    this.#loopId = `loop:${node.id}`;
    this.hasTransform = transform !== undefined;
    this.#options = options;
    this.#problemLog = new ProblemLog(clock, (message) => node.warn(message));
    this.#pool = new Promise((resolve, reject) => {
      this.#opened = resolve;
      this.#gaveUp = reject;
    });
    this.#pool.catch(() => undefined); // whoever waits for it hears of it
    this.#followed = {
      members: new Map(),
      storedFor: [],
      absent: new Set(),
      disabled: new Set(),
      hasOthers: false,
      isLoop: false,
    };
    this.#entry = new Entry<PoolHandle>({
      open: (runtime) => this.#open(runtime),
      mayRest: (runtime) => this.#mayRest(runtime),
      onOpen: ({ pool }) => this.#onOpen(pool),
      onRest: () => this.#showStatus(),
      onFailure: (error) => this.#onFailure(error),
      maxWaiting,
      clone,
      clock,
      mayDiscard,
    });
    this.#show({ fill: "grey", shape: "ring", text: text("status.opening") });
  }

  start(register: (user: RuntimeUser) => () => void): void {
    this.#leave = register(this);
  }

  onRuntimeOpen(runtime: RuntimeHandle): void {
    this.#entry.onRuntimeOpen(runtime);
  }

  onRuntimeFailure(error: Error): void {
    this.#entry.onRuntimeFailure(error);
  }

  /** Flows have started or changed: the wires may lead elsewhere, and a node may be another one under the same id. */
  onFlowsStarted(): void {
    if (this.#closed !== undefined) return;
    this.#hasStarted = true;
    this.#follow();
  }

  // ---- as a pool

  async deliver(options: () => MemberOptions): Promise<MemberHandle> {
    const pool = await this.#pool;
    const { onStatus, ...rest } = options();
    return pool.addMember({
      ...rest,
      onStatus: (status) => {
        onStatus?.(status);
        this.#showStatus();
      },
    });
  }

  async release(id: string): Promise<void> {
    this.#joined.delete(id);
    await this.#entry.handle?.pool.releaseMember(id);
    this.#showStatus();
  }

  // ---- as a member of another pool: that one stores for what is wired here; this one only stands between

  get routesLater(): boolean {
    return false;
  }

  routingOf(): Routing {
    return {};
  }

  join(pool: FeedingPool): void {
    this.#feeding.add(pool);
  }

  async part(pool: FeedingPool): Promise<void> {
    this.#feeding.delete(pool);
    if (this.#feeding.size === 0) this.#entry.wake();
  }

  // ---- messages

  /** @param send hands the message on to what is no member */
  accept(message: NodeMessageInFlow, send: (message: NodeMessageInFlow) => void, done: Done): void {
    if (this.#hasStarted && this.#wires !== wiresOf(this.#options.node)) this.#follow();
    // Sent on by this pool, and back through other pools alone: it would go round for ever, and be stored each time.
    if (isStoredFor(message, this.#loopId)) return done();
    // A pool above has stored it for all that is wired here; the rest still gets it.
    if (isStoredFor(message, this.id)) {
      if (this.#followed.hasOthers) send(message);
      return done();
    }
    if (this.#options.takesCommands && message["resilient"] !== undefined) {
      return this.#entry.command(message["resilient"], [], done);
    }
    this.#store(message, done);
    if (!this.#followed.hasOthers) return;
    // A transform that fails later gives back the message as it was, so the flow gets another.
    const onward = this.hasTransform ? this.#options.clone(message) : message;
    const { isLoop, storedFor: ids } = this.#followed;
    markStored(onward, storedFor(isLoop ? [...ids, this.#loopId] : ids));
    send(onward);
  }

  #store(message: NodeMessageInFlow, done: Done): void {
    const refusal = this.#entry.refusal ?? this.#nobody();
    if (refusal !== undefined) return done(refusal);
    const { data, clone } = this.#options;
    try {
      if (data.kind === "later" || [...this.#guides.values()].some(({ routesLater }) => routesLater)) {
        this.#entry.take(this.#itemLater(clone(message)), done);
      } else {
        const payload = present(data.evaluate(message));
        this.#entry.take(this.#item(payload, this.#routingsOf(message) as Routing[], message), done);
      }
    } catch (error) {
      done(asError(error));
    }
  }

  /** Before the flows have started nobody knows who is wired, and before the queue is open not who has a place in it. */
  #nobody(): NodeError | undefined {
    const { members, absent } = this.#followed;
    if (!this.#hasStarted || members.size > 0) return undefined;
    const orphans = this.#entry.handle?.pool.orphans;
    if (absent.size > 0 && (orphans === undefined || [...absent].some((id) => orphans.has(id)))) return undefined;
    return new NodeError("no-members", this.#options.ownText("error.noMembers"));
  }

  async #itemLater(message: NodeMessageInFlow): Promise<Item> {
    const payload = present(await this.#options.data.evaluate(message));
    const routings: Routing[] = [];
    for (const routing of this.#routingsOf(message)) routings.push(await routing);
    return this.#item(payload, routings, message);
  }

  #item(data: unknown, routings: readonly Routing[], message: NodeMessageInFlow): Item {
    const payload = this.#options.keepsArrays && Array.isArray(data) ? [data] : data;
    const routing = this.#merged(routings);
    return this.hasTransform ? { payload, routing, context: contextOf(message) } : { payload, routing };
  }

  #routingsOf(message: NodeMessageInFlow): (Routing | Promise<Routing>)[] {
    return Array.from(this.#guides.values(), (member) => member.routingOf(message));
  }

  /** Nearly all messages go where the one before went: the log recognises the same object. */
  #merged(routings: readonly Routing[]): Routing {
    const isSame =
      routings.length === this.#lastRoutings.length && routings.every((r, i) => r === this.#lastRoutings[i]);
    if (!isSame) {
      const ids = [...this.#guides.keys()];
      this.#lastMerged = mergeRoutings(routings.map((routing, i) => [ids[i]!, routing] as const));
      this.#lastRoutings = routings;
    }
    return this.#lastMerged;
  }

  // ---- members

  #follow(): void {
    const { node, getNode, describer } = this.#options;
    this.#wires = wiresOf(node);
    this.#followed = followWires(node, this.hasTransform, getNode, describer());
    const gone = [...this.#guides].filter(([id]) => this.#followed.absent.has(id));
    this.#guides = new Map([...this.#followed.members, ...gone]);
    this.#lastRoutings = NO_ROUTINGS;
    const pool = this.#entry.handle?.pool;
    const { members } = this.#followed;
    // At once: what comes next is for the new ones too.
    if (pool !== undefined) this.#reserve(pool);
    for (const [id, member] of this.#joined) {
      if (members.get(id) === member) continue;
      this.#joined.delete(id);
      member.part(this).catch((error: unknown) => this.#problemLog.add("release", asError(error).message));
    }
    for (const [id, member] of members) {
      if (this.#joined.has(id)) continue;
      this.#joined.set(id, member);
      member.join(this);
    }
    this.#showStatus();
  }

  /** Also for those that are disabled: a place is known to the queue itself only while something waits there. */
  #reserve(pool: Pool): void {
    const { members, disabled } = this.#followed;
    for (const id of [...members.keys(), ...disabled]) pool.reserve(id);
  }

  async #open(runtime: RuntimeHandle): Promise<PoolHandle> {
    const { flush, transform } = this.#options;
    const pool = await runtime.openPool({
      id: this.id,
      flush,
      transform,
      onChange: () => this.#showStatus(),
    });
    return new PoolHandle(pool);
  }

  /** What only another pool feeds needs no queue of its own, unless something still waits there. */
  async #mayRest(runtime: RuntimeHandle): Promise<boolean> {
    await this.#options.flowsStarted;
    return this.#feeding.size > 0 && !(await runtime.hasLeft(this.id));
  }

  #onOpen(pool: Pool): void {
    // Before the first message: a new member starts here, not when its target is there.
    this.#reserve(pool);
    this.#opened(pool);
    this.#showStatus();
  }

  #onFailure(error: Error): void {
    this.#problemLog.add("open", error.message);
    this.#show({ fill: "red", shape: "ring", text: this.#options.text("status.notOpen") });
  }

  // ---- what people see

  /** How it stands: its members, and those who left their place behind. Undefined while the queue is not open. */
  get view(): PoolView | undefined {
    const pool = this.#entry.handle?.pool;
    if (pool === undefined) return undefined;
    const { members, absent } = this.#followed;
    const statuses = pool.statuses();
    const orphans = pool.orphans;
    return {
      members: [
        ...Array.from(members.keys(), (id) => {
          const status = statuses.get(id);
          return { id, isDisabled: false, status, waiting: status?.waiting ?? orphans.get(id) ?? 0 };
        }),
        ...[...absent].flatMap((id) => {
          const waiting = orphans.get(id);
          return waiting === undefined ? [] : [{ id, isDisabled: true, status: undefined, waiting }];
        }),
      ],
      orphans: [...orphans].flatMap(([id, waiting]) => (members.has(id) || absent.has(id) ? [] : [{ id, waiting }])),
      waiting: pool.queue.log.backlogRecords,
      rejected: pool.deadLetters.count,
      filtered: pool.queue.filtered,
      dropped: pool.queue.dropped.newest,
      storage: pool.queue.storage,
    };
  }

  /** Gives up what waits for one that is no longer wired. */
  async discardOrphan(id: string): Promise<void> {
    await this.#entry.handle?.pool.forgetMember(id);
    this.#showStatus();
  }

  /** Gives it to a member. Resolves to how many records that is. */
  async adoptOrphan(id: string, by: string): Promise<number> {
    const pool = await this.#pool;
    const taken = await pool.adoptOrphan(id, by);
    this.#showStatus();
    return taken;
  }

  #showStatus(): void {
    if (this.#entry.refusal !== undefined) return; // that is what is shown
    const { text, ownText } = this.#options;
    if (this.#entry.isResting) return this.#show({ fill: "green", shape: "dot", text: ownText("status.fed") });
    const { view } = this;
    if (view === undefined) return;
    if (view.storage !== undefined) this.#problemLog.add("storage", view.storage.message);
    this.#show(poolStatus(view, text, ownText));
  }

  #show(status: NodeStatus): void {
    const key = `${status.fill} ${status.shape} ${status.text}`;
    if (key === this.#shown || this.#closed !== undefined) return;
    this.#shown = key;
    this.#options.node.status(status);
  }

  /** Accepts what waits, then closes the queue and lets go of the runtime. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    try {
      await this.#entry.close();
    } finally {
      this.#gaveUp(new NodeError("closed", "The pool was closed."));
      const joined = [...this.#joined.values()];
      this.#joined.clear();
      await Promise.allSettled(joined.map((member) => member.part(this)));
      this.#leave();
    }
  }
}

/** The engine's pool, steered as one. */
class PoolHandle implements EntryHandle {
  readonly pool: Pool;

  constructor(pool: Pool) {
    this.pool = pool;
  }

  send(...sent: Parameters<Pool["send"]>): void {
    this.pool.send(...sent);
  }

  get #members(): Steered {
    return together([...this.pool.members.values()]);
  }

  flush(): Promise<unknown> {
    return this.#members.flush();
  }

  pause(): void {
    this.#members.pause();
  }

  resume(): void {
    this.#members.resume();
  }

  letGo(): Promise<unknown> {
    return this.#members.letGo();
  }

  takeUp(): Promise<unknown> {
    return this.#members.takeUp();
  }

  discard(): void {
    this.#members.discard();
  }

  close(): Promise<void> {
    return this.pool.close();
  }
}

function wiresOf(node: Node): unknown {
  return (node as Node & { readonly wires?: unknown }).wires;
}
