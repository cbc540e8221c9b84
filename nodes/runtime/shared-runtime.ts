/**
 * The one runtime behind a config node: opened when the node starts, tried again while that fails, and closed after
 * the exporters that use it. Node-RED closes config nodes beside their users and waits for nobody, so users register.
 */
import type { Clock, Timer } from "../../src/clock.js";
import type { Runtime } from "../../src/runtime/runtime.js";
import { asError } from "../shared/errors.js";

/** What the nodes use of the engine's runtime; the tests of the nodes script it. */
export type RuntimeHandle = Pick<Runtime, "openExporter" | "openPool" | "hasLeft" | "close">;

export interface RuntimeUser {
  /** The runtime is open, once. */
  onRuntimeOpen(runtime: RuntimeHandle): void;
  /** It could not be opened; that is tried again. */
  onRuntimeFailure(error: Error): void;
}

/** The other Node-RED may be stopped, the disk mounted, the permission granted: nobody should have to deploy for that. */
const RETRY_MS = 5_000;
/** Node-RED gives a node 15 s to close. What is left after this is for closing the logs. */
const MAX_WAIT_FOR_USERS_MS = 11_000;

type State =
  | { readonly kind: "opening" }
  | { readonly kind: "failed"; readonly error: Error; readonly retry: Timer }
  | { readonly kind: "open"; readonly runtime: RuntimeHandle }
  | { readonly kind: "closed" };

interface Registration {
  readonly nodeId: string;
  readonly user: RuntimeUser;
  readonly left: Promise<void>;
  /** False while an earlier instance of the same node has not let go of its queue. */
  isReady: boolean;
}

export class SharedRuntime {
  readonly #open: () => Promise<RuntimeHandle>;
  readonly #onFailure: (error: Error) => void;
  readonly #clock: Clock;
  /** In the order they came. A new instance of a node waits until the ones before have let go of its queue. */
  readonly #users = new Set<Registration>();
  #state: State = { kind: "opening" };
  #opening: Promise<void>;
  #closed: Promise<void> | undefined;

  /** Starts to open at once. `onFailure` hears of each attempt that failed. */
  constructor(open: () => Promise<RuntimeHandle>, onFailure: (error: Error) => void, clock: Clock) {
    this.#open = open;
    this.#onFailure = onFailure;
    this.#clock = clock;
    this.#opening = this.#tryOpen();
  }

  /** Tells the user when the runtime is open. Returns what the user calls when it has closed everything it opened. */
  register(nodeId: string, user: RuntimeUser): () => void {
    const before = [...this.#users].filter((other) => other.nodeId === nodeId);
    let leave!: () => void;
    const left = new Promise<void>((resolve) => (leave = resolve));
    const registration: Registration = { nodeId, user, left, isReady: before.length === 0 };
    this.#users.add(registration);
    if (registration.isReady) this.#tell(registration);
    else void Promise.all(before.map((other) => other.left)).then(() => this.#becomeReady(registration));
    return () => {
      this.#users.delete(registration);
      leave();
    };
  }

  /** Waits for the users to leave, then closes the runtime. Safe to call twice. Never rejects before that is done. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  #becomeReady(registration: Registration): void {
    // It may have left as well meanwhile.
    if (!this.#users.has(registration)) return;
    registration.isReady = true;
    this.#tell(registration);
  }

  /** The state as it is now; later changes come by themselves, to all who are registered. */
  #tell({ user, isReady }: Registration): void {
    if (!isReady) return;
    if (this.#state.kind === "open") user.onRuntimeOpen(this.#state.runtime);
    else if (this.#state.kind === "failed") user.onRuntimeFailure(this.#state.error);
  }

  async #tryOpen(): Promise<void> {
    try {
      this.#state = { kind: "open", runtime: await this.#open() };
    } catch (thrown) {
      const error = asError(thrown);
      const retry = this.#clock.after(RETRY_MS, () => {
        this.#opening = this.#tryOpen();
      });
      this.#state = { kind: "failed", error, retry };
      this.#onFailure(error);
    }
    for (const registration of this.#users) this.#tell(registration);
  }

  async #close(): Promise<void> {
    await this.#untilUsersLeft();
    if (this.#state.kind === "failed") this.#state.retry.cancel();
    await this.#opening;
    const last = this.#state;
    if (last.kind === "failed") last.retry.cancel();
    this.#state = { kind: "closed" };
    if (last.kind === "open") await last.runtime.close();
  }

  /** Users may wait for the runtime to open, to hand over what they hold: so it goes on opening meanwhile. */
  async #untilUsersLeft(): Promise<void> {
    let timer!: Timer;
    const tooLate = new Promise<void>((resolve) => (timer = this.#clock.after(MAX_WAIT_FOR_USERS_MS, resolve)));
    await Promise.race([Promise.all(Array.from(this.#users, ({ left }) => left)), tooLate]);
    timer.cancel();
  }
}
