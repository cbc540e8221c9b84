/**
 * The way from a node into its queue: messages are accepted in order as soon as the queue is open, what cannot be
 * opened is tried again, and closing hands over everything before Node-RED's deadline. Whether the queue is that of one
 * exporter or of a pool is its owner's business.
 */
import type { Clock, Timer } from "../../src/clock.js";
import type { Routing } from "../../src/record.js";
import type { TransformContext } from "../../src/transform.js";
import type { RuntimeHandle, RuntimeUser } from "../runtime/shared-runtime.js";
import { type Steered, obey, together } from "./commands.js";
import { NodeError, asError } from "./errors.js";
import { Intake } from "./intake.js";

export type Done = (error?: Error) => void;

/** What a message is to the queue. */
export interface Item {
  readonly payload: unknown;
  readonly routing: Routing;
  /** The rest of the message, where a transform looks at it. */
  readonly context?: TransformContext | undefined;
}

/** What an entry uses of the engine's exporter or pool. */
export interface EntryHandle extends Steered {
  send(payload: unknown, routing: Routing, done: Done, context?: TransformContext): void;
  close(): Promise<void>;
}

export interface EntryOptions<H extends EntryHandle> {
  open(runtime: RuntimeHandle): Promise<H>;
  /** True: nothing need be opened before the first message comes. */
  readonly mayRest?: ((runtime: RuntimeHandle) => Promise<boolean>) | undefined;
  readonly onOpen: (handle: H) => void;
  readonly onRest?: (() => void) | undefined;
  readonly onFailure: (error: Error) => void;
  /** Most messages that wait in memory while the queue is opening. */
  readonly maxWaiting: number;
  /** A deep copy: what waits must not change when the flow goes on using the object. */
  readonly clone: <T extends object>(value: T) => T;
  readonly clock: Clock;
  /** Whether `msg.resilient` may give up records. Default false. */
  readonly mayDiscard?: boolean;
}

/** A queue whose folder could not be opened is tried again, as the runtime itself is. */
const RETRY_MS = 5_000;
/** How long a closing node waits for what it still holds to be accepted; Node-RED gives it 15 s for everything. */
const CLOSE_WAITS_MS = 4_000;

type State<H> =
  | { readonly kind: "opening" }
  | { readonly kind: "resting"; readonly runtime: RuntimeHandle }
  | { readonly kind: "failed"; readonly error: Error }
  | { readonly kind: "open"; readonly handle: H }
  | { readonly kind: "closed" };

export class Entry<H extends EntryHandle> implements RuntimeUser {
  readonly #options: EntryOptions<H>;
  readonly #intake: Intake<Item>;
  #state: State<H> = { kind: "opening" };
  #opening: Promise<void> = Promise.resolve();
  #retry: Timer | undefined;
  /** What was ordered while the queue was opening. */
  readonly #commands: (() => void)[] = [];
  /** Called at each change of state; only closing waits for one. */
  #onChange: () => void = () => undefined;
  #closed: Promise<void> | undefined;

  constructor(options: EntryOptions<H>) {
    this.#options = options;
    this.#intake = new Intake((item, done) => this.#send(item, done), options.maxWaiting);
  }

  onRuntimeOpen(runtime: RuntimeHandle): void {
    if (this.#state.kind !== "closed") this.#opening = this.#openOrRest(runtime);
  }

  onRuntimeFailure(error: Error): void {
    this.#fail(error);
  }

  get handle(): H | undefined {
    return this.#state.kind === "open" ? this.#state.handle : undefined;
  }

  get isResting(): boolean {
    return this.#state.kind === "resting";
  }

  /** Why no message can be taken at the moment; undefined when one can, if only later. */
  get refusal(): NodeError | undefined {
    if (this.#state.kind === "failed") return notOpen(this.#state.error);
    return this.#state.kind === "closed" ? closedError() : undefined;
  }

  /** Calls `done` when the record is as durable as the user asked, or with the reason why it was not taken. */
  take(item: Item | Promise<Item>, done: Done): void {
    this.wake();
    if (item instanceof Promise) this.#intake.add(item, done);
    else if (this.#intake.isClear) this.#send(item, done);
    else this.#intake.add(this.#options.clone(item), done);
  }

  /** Opens what rests. */
  wake(): void {
    if (this.#state.kind !== "resting") return;
    const { runtime } = this.#state;
    this.#change({ kind: "opening" });
    this.#opening = this.#open(runtime);
  }

  /** Obeys `msg.resilient`, with the other places that the same node delivers from. */
  command(command: unknown, others: readonly Steered[], done: Done): void {
    if (this.#state.kind === "opening" && this.#commands.length < this.#options.maxWaiting) {
      this.#commands.push(() => this.command(command, others, done));
      return;
    }
    if (this.#state.kind !== "open" && this.#state.kind !== "resting") return done(this.refusal ?? notOpen());
    const own = this.#state.kind === "open" ? [this.#state.handle] : [];
    obey(command, together([...own, ...others]), this.#options.mayDiscard === true).then(() => done(), done);
  }

  #send({ payload, routing, context }: Item, done: Done): void {
    if (this.#state.kind === "open") this.#state.handle.send(payload, routing, done, context);
    else done(this.refusal ?? notOpen());
  }

  async #openOrRest(runtime: RuntimeHandle): Promise<void> {
    try {
      const mayRest = await this.#options.mayRest?.(runtime);
      if (this.#state.kind === "closed") return;
      if (mayRest !== true || !this.#intake.isEmpty) return await this.#open(runtime);
    } catch (error) {
      this.#onOpenFailure(asError(error), runtime);
      return;
    }
    this.#change({ kind: "resting", runtime });
    this.#options.onRest?.();
  }

  async #open(runtime: RuntimeHandle): Promise<void> {
    try {
      const handle = await this.#options.open(runtime);
      // Closed while it was opening: nobody else knows of it.
      if (this.#state.kind === "closed") return await handle.close();
      this.#change({ kind: "open", handle });
      this.#options.onOpen(handle);
      this.#intake.open();
    } catch (error) {
      this.#onOpenFailure(asError(error), runtime);
    }
  }

  #onOpenFailure(error: Error, runtime: RuntimeHandle): void {
    this.#fail(error);
    if (this.#closed !== undefined) return;
    this.#retry = this.#options.clock.after(RETRY_MS, () => this.onRuntimeOpen(runtime));
  }

  #fail(error: Error): void {
    if (this.#state.kind === "closed") return;
    this.#change({ kind: "failed", error });
    this.#options.onFailure(error);
    this.#intake.refuse(notOpen(error));
  }

  #change(state: State<H>): void {
    this.#state = state;
    this.#onChange();
    if (state.kind !== "opening") for (const command of this.#commands.splice(0)) command();
  }

  /** Accepts what waits, then closes the queue. Safe to call twice. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    await this.#untilAccepted();
    this.#retry?.cancel();
    this.#intake.refuse(closedError());
    const last = this.#state;
    this.#change({ kind: "closed" });
    await this.#opening;
    if (last.kind === "open") await last.handle.close();
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

function notOpen(cause?: Error): NodeError {
  if (cause === undefined) return new NodeError("not-open", "The queue is not open yet.");
  return new NodeError("not-open", `The queue could not be opened: ${cause.message}`, { cause });
}

function closedError(): NodeError {
  return new NodeError("closed", "The node was closed before the message was accepted.");
}
