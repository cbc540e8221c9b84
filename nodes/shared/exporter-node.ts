/**
 * What all exporter nodes have in common: what of a message is the data and where it goes, how the node shows the state
 * of its deliveries, and that rejected records reach Catch nodes. The way into its queue is `entry.ts`; reading the
 * dialog's values is `become-exporter.ts`.
 */
import type { Node, NodeMessageInFlow, NodeStatus } from "node-red";
import type { Clock } from "../../src/clock.js";
import type { DeliveryEvent } from "../../src/delivery/events.js";
import type { Routing } from "../../src/record.js";
import type { Exporter, ExporterStatus } from "../../src/runtime/exporter.js";
import type { MemberOptions } from "../../src/runtime/member.js";
import { type DeliveryReport, reportOf } from "../../src/library/report.js";
import type { FlushSettings } from "../../src/runtime/settings.js";
import type { Rejection, Target } from "../../src/targets/target.js";
import type { Transform } from "../../src/transform.js";
import type { RuntimeHandle, RuntimeUser } from "../runtime/shared-runtime.js";
import { combined } from "./combined-status.js";
import type { Steered } from "./commands.js";
import { contextOf } from "./context.js";
import { type Done, Entry, type Item } from "./entry.js";
import { NodeError, asError, rejectionFor } from "./errors.js";
import { type FeedingPool, Places, type PoolMember, isStoredFor } from "./membership.js";
import { ProblemLog } from "./problem-log.js";
import { type Translate, statusOf } from "./status.js";
import type { TypedValue } from "./typed-value.js";

/** What the nodes use of the engine's exporter; the tests of the nodes script it. */
export type ExporterHandle = Pick<Exporter, "send" | "status" | "close" | keyof Steered>;

/** What a kind of exporter adds. */
export interface ExporterKind {
  /** Made each time that a queue is opened: its own, or that of a pool. */
  target(): Target;
  /** True when `routingOf` gives a promise. */
  readonly routesLater: boolean;
  /**
   * Where a message goes.
   * @throws NodeError when the message names no usable destination
   */
  routingOf(message: NodeMessageInFlow): Routing | Promise<Routing>;
  /** A few words about the destination for the status: "120 of 1000 lines". Empty: nothing to say. */
  note?(): string;
  /** What the user should not forget, always shown: "certificate not checked". Empty: nothing. */
  readonly warning?: string;
}

export interface ExporterOptions {
  readonly node: Node;
  readonly kind: ExporterKind;
  /** What of a message is the data. */
  readonly data: TypedValue;
  readonly flush: FlushSettings;
  /** An array is one record, not one for each of its items. Default false. */
  readonly keepsArrays?: boolean;
  /** Applied to what comes to the node itself, not through a pool. */
  readonly transform?: Transform | undefined;
  /** Whether `msg.resilient` steers the exporter. Off: such a message is a record like any other. */
  readonly takesCommands: boolean;
  /** Whether such a message may give up records. Default false. */
  readonly mayDiscard?: boolean;
  /** Hears what came of each batch, where the node has an output for it. */
  readonly onReport?: ((report: DeliveryReport) => void) | undefined;
  /** Most messages that wait in memory while the queue is opening. */
  readonly maxWaiting: number;
  readonly text: Translate;
  /** A deep copy: what waits must not change when the flow goes on using the object. */
  readonly clone: <T extends object>(value: T) => T;
  readonly clock: Clock;
  /** Resolves when the flows have started: pools know their members then. Default: at once. */
  readonly flowsStarted?: Promise<void>;
}

export class ExporterNode implements RuntimeUser, PoolMember {
  readonly id: string;
  readonly hasTransform: boolean;
  readonly #options: ExporterOptions;
  readonly #problemLog: ProblemLog;
  readonly #entry: Entry<ExporterHandle>;
  readonly #places: Places;
  #leave: () => void = () => undefined;
  /** Of its own queue, as last heard. */
  #own: ExporterStatus | undefined;
  #shown = "";
  #closed: Promise<void> | undefined;

  constructor(options: ExporterOptions) {
    this.id = options.node.id;
    this.hasTransform = options.transform !== undefined;
    this.#options = options;
    this.#places = new Places(this.id);
    this.#problemLog = new ProblemLog(options.clock, (message) => options.node.warn(message));
    const { clone, clock, maxWaiting, mayDiscard = false } = options;
    this.#entry = new Entry<ExporterHandle>({
      open: (runtime) => this.#open(runtime),
      mayRest: options.flowsStarted === undefined ? undefined : (runtime) => this.#mayRest(runtime),
      onOpen: (exporter) => this.#onStatus(exporter.status()),
      onRest: () => this.#showStatus(),
      onFailure: (error) => this.#onFailure(error),
      maxWaiting,
      clone,
      clock,
      mayDiscard,
    });
    this.#show({ fill: "grey", shape: "ring", text: options.text("status.opening") });
  }

  /** @param register of the runtime's node: calls back when the runtime is open, returns the way to leave it */
  start(register: (user: RuntimeUser) => () => void): void {
    this.#leave = register(this);
  }

  onRuntimeOpen(runtime: RuntimeHandle): void {
    this.#entry.onRuntimeOpen(runtime);
  }

  onRuntimeFailure(error: Error): void {
    this.#entry.onRuntimeFailure(error);
  }

  get routesLater(): boolean {
    return this.#options.kind.routesLater;
  }

  routingOf(message: NodeMessageInFlow): Routing | Promise<Routing> {
    return this.#options.kind.routingOf(message);
  }

  /** Calls `done` when the record is as durable as the user asked, or with the reason why the message was not taken. */
  accept(message: NodeMessageInFlow, done: Done): void {
    // A pool that we are a member of has sent it on: it waits for us there.
    if (isStoredFor(message, this.id)) return done();
    if (this.#options.takesCommands && message["resilient"] !== undefined) {
      // In the pools too: it is this exporter that is steered, wherever its records wait.
      return this.#entry.command(message["resilient"], this.#places.handles, done);
    }
    const { refusal } = this.#entry;
    if (refusal !== undefined) return done(refusal);
    const { data, kind } = this.#options;
    try {
      if (data.kind === "later" || kind.routesLater) {
        this.#entry.take(this.#itemLater(this.#options.clone(message)), done);
      } else {
        const payload = present(data.evaluate(message));
        this.#entry.take(this.#item(payload, kind.routingOf(message) as Routing, message), done);
      }
    } catch (error) {
      done(asError(error));
    }
  }

  /** Delivers from a place in the pool's queue as well. */
  join(pool: FeedingPool): void {
    this.#places
      .join(pool, () => this.#memberOptions())
      .catch((error: unknown) => {
        // Closed before it was open, or left: nothing is wrong with that.
        if (!(error instanceof NodeError)) this.#problemLog.add("pool", asError(error).message);
      });
  }

  async part(pool: FeedingPool): Promise<void> {
    try {
      await this.#places.leave(pool);
    } finally {
      if (this.#places.size === 0) this.#entry.wake();
      this.#showStatus();
    }
  }

  /** Accepts what waits, then closes the queue and lets go of the runtime. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #itemLater(message: NodeMessageInFlow): Promise<Item> {
    const payload = present(await this.#options.data.evaluate(message));
    return this.#item(payload, await this.#options.kind.routingOf(message), message);
  }

  #item(data: unknown, routing: Routing, message: NodeMessageInFlow): Item {
    const payload = this.#options.keepsArrays === true && Array.isArray(data) ? [data] : data;
    return this.hasTransform ? { payload, routing, context: contextOf(message) } : { payload, routing };
  }

  #open(runtime: RuntimeHandle): Promise<ExporterHandle> {
    const { transform } = this.#options;
    return runtime.openExporter({
      ...this.#memberOptions(),
      transform,
      onStatus: (status) => this.#onStatus(status),
    });
  }

  #memberOptions(): MemberOptions {
    const { kind, flush } = this.#options;
    return {
      id: this.id,
      target: () => kind.target(),
      flush,
      onStatus: (status) => this.#onHeard(status),
      onRejected: ({ payload, rejection, routing }) => this.#onRejected(payload, rejection, routing),
      onEvent: (event) => this.#onEvent(event),
    };
  }

  /** What is fed by pools alone needs no queue of its own, unless something still waits there. */
  async #mayRest(runtime: RuntimeHandle): Promise<boolean> {
    await this.#options.flowsStarted;
    return this.#places.size > 0 && !(await runtime.hasLeft(this.id));
  }

  #onFailure(error: Error): void {
    this.#problemLog.add("open", error.message);
    this.#show({ fill: "red", shape: "ring", text: this.#options.text("status.notOpen") });
  }

  #onStatus(status: ExporterStatus): void {
    this.#own = status;
    this.#onHeard(status);
  }

  #onHeard(status: ExporterStatus): void {
    if (status.problem !== undefined) this.#problemLog.add(status.problem.code, status.problem.message);
    if (status.storage !== undefined) this.#problemLog.add("storage", status.storage.message);
    this.#showStatus();
  }

  #showStatus(): void {
    if (this.#entry.refusal !== undefined) return; // that is what is shown
    const status = combined([...(this.#own === undefined ? [] : [this.#own]), ...this.#places.statuses]);
    if (status === undefined) return;
    const { kind, text } = this.#options;
    this.#show(statusOf(status, text, kind.note?.(), kind.warning));
  }

  #onRejected(payload: unknown, rejection: Rejection, routing: Routing): void {
    const { error, message } = rejectionFor(payload, rejection, routing);
    this.#options.node.error(error, message);
  }

  /** What a status does not show, or not for long. */
  #onEvent(event: DeliveryEvent): void {
    const { onReport } = this.#options;
    switch (event.kind) {
      case "answered":
        onReport?.(reportOf(event));
        break;
      case "setAsideFailed":
      case "sourceFailed":
      case "dropped":
        this.#problemLog.add(event.kind, event.cause.message);
        break;
      case "stopped":
        this.#options.node.error(event.cause);
        break;
      default:
        break;
    }
  }

  /** An editor that is open gets every status: only changes are sent. */
  #show(status: NodeStatus): void {
    const key = `${status.fill} ${status.shape} ${status.text}`;
    if (key === this.#shown || this.#closed !== undefined) return;
    this.#shown = key;
    this.#options.node.status(status);
  }

  async #close(): Promise<void> {
    try {
      const results = await Promise.allSettled([this.#entry.close(), this.#places.leaveAll()]);
      const failed = results.find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
    } finally {
      this.#leave();
    }
  }
}

export function present(payload: unknown): unknown {
  if (payload !== undefined) return payload;
  throw new NodeError(
    "no-data",
    "The message holds nothing to send: the property or expression chosen as data gave nothing.",
  );
}
