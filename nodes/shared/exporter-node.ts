/**
 * What all exporter nodes have in common, from the first message to the last: messages are accepted in order as soon
 * as the queue is open, the node shows how the queue is doing, rejected records reach Catch nodes, and closing hands
 * over everything before Node-RED's deadline. Reading the dialog's values is `become-exporter.ts`.
 */
import type { Node, NodeMessageInFlow, NodeStatus } from "node-red";
import type { Clock, Timer } from "../../src/clock.js";
import type { DeliveryEvent } from "../../src/delivery/events.js";
import type { Routing } from "../../src/record.js";
import type { Exporter, ExporterStatus } from "../../src/runtime/exporter.js";
import type { FlushSettings } from "../../src/runtime/settings.js";
import type { Rejection, Target } from "../../src/targets/target.js";
import type { RuntimeHandle, RuntimeUser } from "../runtime/shared-runtime.js";
import { NodeError, asError, rejectionFor } from "./errors.js";
import { Intake } from "./intake.js";
import { ProblemLog } from "./problem-log.js";
import { type Translate, statusOf } from "./status.js";
import type { TypedValue } from "./typed-value.js";

/** What the nodes use of the engine's exporter; the tests of the nodes script it. */
export type ExporterHandle = Pick<Exporter, "send" | "status" | "flush" | "pause" | "resume" | "close">;

/** What a kind of exporter adds. */
export interface ExporterKind {
  /** Made each time that the queue is opened. */
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
  /** Whether `msg.resilient` steers the exporter. Off: such a message is a record like any other. */
  readonly takesCommands: boolean;
  /** Most messages that wait in memory while the queue is opening. */
  readonly maxWaiting: number;
  readonly text: Translate;
  /** A deep copy: what waits must not change when the flow goes on using the object. */
  readonly clone: <T extends object>(value: T) => T;
  readonly clock: Clock;
}

/** A queue whose folder could not be opened is tried again, as the runtime itself is. */
const RETRY_MS = 5_000;
/** How long a closing node waits for what it still holds to be accepted; Node-RED gives it 15 s for everything. */
const CLOSE_WAITS_MS = 4_000;

type State =
  | { readonly kind: "opening" }
  | { readonly kind: "failed"; readonly error: Error }
  | { readonly kind: "open"; readonly exporter: ExporterHandle }
  | { readonly kind: "closed" };

interface Item {
  readonly payload: unknown;
  readonly routing: Routing;
}

type Done = (error?: Error) => void;

export class ExporterNode implements RuntimeUser {
  readonly #options: ExporterOptions;
  readonly #problemLog: ProblemLog;
  readonly #intake: Intake<Item>;
  #leave: () => void = () => undefined;
  #state: State = { kind: "opening" };
  #opening: Promise<void> = Promise.resolve();
  #retry: Timer | undefined;
  /** Called at each change of state; only closing waits for one. */
  #onChange: () => void = () => undefined;
  #shown = "";
  #closed: Promise<void> | undefined;

  constructor(options: ExporterOptions) {
    this.#options = options;
    this.#problemLog = new ProblemLog(options.clock, (message) => options.node.warn(message));
    this.#intake = new Intake((item, done) => this.#send(item, done), options.maxWaiting);
    this.#show({ fill: "grey", shape: "ring", text: options.text("status.opening") });
  }

  /** @param register of the runtime's node: calls back when the runtime is open, returns the way to leave it */
  start(register: (user: RuntimeUser) => () => void): void {
    this.#leave = register(this);
  }

  onRuntimeOpen(runtime: RuntimeHandle): void {
    if (this.#state.kind !== "closed") this.#opening = this.#open(runtime);
  }

  onRuntimeFailure(error: Error): void {
    this.#fail(error);
  }

  /** Calls `done` when the record is as durable as the user asked, or with the reason why the message was not taken. */
  accept(message: NodeMessageInFlow, done: Done): void {
    if (this.#options.takesCommands && message["resilient"] !== undefined) {
      return this.#command(message["resilient"], done);
    }
    if (this.#state.kind === "failed") return done(notOpen(this.#state.error));
    if (this.#state.kind === "closed") return done(closedError());
    try {
      if (this.#options.data.kind === "later" || this.#options.kind.routesLater) {
        this.#intake.add(this.#itemLater(this.#options.clone(message)), done);
        return;
      }
      const item = { payload: this.#payloadOf(message), routing: this.#options.kind.routingOf(message) as Routing };
      if (this.#intake.isClear) this.#send(item, done);
      else this.#intake.add(this.#options.clone(item), done);
    } catch (error) {
      done(asError(error));
    }
  }

  /** Accepts what waits, then closes the queue and lets go of the runtime. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  #payloadOf(message: NodeMessageInFlow): unknown {
    return present(this.#options.data.evaluate(message));
  }

  async #itemLater(message: NodeMessageInFlow): Promise<Item> {
    const payload = present(await this.#options.data.evaluate(message));
    return { payload, routing: await this.#options.kind.routingOf(message) };
  }

  #send({ payload, routing }: Item, done: Done): void {
    if (this.#state.kind === "open") this.#state.exporter.send(payload, routing, done);
    else done(this.#state.kind === "failed" ? notOpen(this.#state.error) : closedError());
  }

  #command(command: unknown, done: Done): void {
    if (this.#state.kind !== "open") {
      return done(this.#state.kind === "failed" ? notOpen(this.#state.error) : notOpen());
    }
    const { exporter } = this.#state;
    switch (command) {
      case "flush":
        exporter.flush().then(() => done(), done);
        return;
      case "pause":
        exporter.pause();
        return done();
      case "resume":
        exporter.resume();
        return done();
      default:
        return done(
          new NodeError(
            "unknown-command",
            `msg.resilient must be "flush", "pause" or "resume", not ${shown(command)}.`,
          ),
        );
    }
  }

  async #open(runtime: RuntimeHandle): Promise<void> {
    const { node, kind, flush } = this.#options;
    try {
      const exporter = await runtime.openExporter({
        id: node.id,
        target: kind.target(),
        flush,
        onStatus: (status) => this.#onStatus(status),
        onRejected: ({ payload, rejection, routing }) => this.#onRejected(payload, rejection, routing),
        onEvent: (event) => this.#onEvent(event),
      });
      // Closed while it was opening: nobody else knows of it.
      if (this.#state.kind === "closed") return await exporter.close();
      this.#change({ kind: "open", exporter });
      this.#onStatus(exporter.status());
      this.#intake.open();
    } catch (error) {
      this.#fail(asError(error));
      if (this.#closed !== undefined) return;
      this.#retry = this.#options.clock.after(RETRY_MS, () => this.onRuntimeOpen(runtime));
    }
  }

  #fail(error: Error): void {
    if (this.#state.kind === "closed") return;
    this.#change({ kind: "failed", error });
    this.#problemLog.add("open", error.message);
    this.#show({ fill: "red", shape: "ring", text: this.#options.text("status.notOpen") });
    this.#intake.refuse(notOpen(error));
  }

  #change(state: State): void {
    this.#state = state;
    this.#onChange();
  }

  #onStatus(status: ExporterStatus): void {
    if (status.problem !== undefined) this.#problemLog.add(status.problem.code, status.problem.message);
    if (status.storage !== undefined) this.#problemLog.add("storage", status.storage.message);
    const { kind, text } = this.#options;
    this.#show(statusOf(status, text, kind.note?.(), kind.warning));
  }

  #onRejected(payload: unknown, rejection: Rejection, routing: Routing): void {
    const { error, message } = rejectionFor(payload, rejection, routing);
    this.#options.node.error(error, message);
  }

  /** What a status does not show, or not for long. */
  #onEvent(event: DeliveryEvent): void {
    switch (event.kind) {
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
    await this.#untilAccepted();
    this.#retry?.cancel();
    this.#intake.refuse(closedError());
    const last = this.#state;
    this.#change({ kind: "closed" });
    try {
      await this.#opening;
      if (last.kind === "open") await last.exporter.close();
    } finally {
      this.#leave();
    }
  }

  /** What came while the queue was opening, or waits for its expression, is worth a moment; but not the deadline. */
  async #untilAccepted(): Promise<void> {
    let timer!: Timer;
    const tooLate = new Promise<void>((resolve) => (timer = this.#options.clock.after(CLOSE_WAITS_MS, resolve)));
    if (this.#state.kind === "opening") {
      await Promise.race([tooLate, new Promise<void>((resolve) => (this.#onChange = resolve))]);
    }
    await Promise.race([tooLate, this.#intake.drained()]);
    timer.cancel();
  }
}

function present(payload: unknown): unknown {
  if (payload !== undefined) return payload;
  throw new NodeError(
    "no-data",
    "The message holds nothing to send: the property or expression chosen as data gave nothing.",
  );
}

function notOpen(cause?: Error): NodeError {
  if (cause === undefined) return new NodeError("not-open", "The queue is not open yet.");
  return new NodeError("not-open", `The queue could not be opened: ${cause.message}`, { cause });
}

function closedError(): NodeError {
  return new NodeError("closed", "The node was closed before the message was accepted.");
}

/** Text from a message, short enough for a log line. */
function shown(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value.slice(0, 40)) : typeof value;
}
