/**
 * Holds messages, in order, that cannot be accepted yet: the queue is still opening, or an expression is being
 * evaluated. Nothing here is durable, so it is bounded, and whoever sent a message hears when it was not taken.
 */
import { NodeError, asError } from "./errors.js";

/** Opening takes milliseconds; a previous instance may need seconds to close, while a fast flow sends thousands. */
export const MAX_WAITING = 10_000;

export interface Waiting<T> {
  /** What to accept: at once, or as soon as the promise has it. Rejects: this message alone failed. */
  readonly item: T | Promise<T>;
  readonly done: (error?: Error) => void;
}

export class Intake<T> {
  readonly #accept: (item: T, done: (error?: Error) => void) => void;
  readonly #max: number;
  readonly #waiting = new Set<Waiting<T>>();
  #isOpen = false;
  #isDraining = false;
  #drained: Promise<void> = Promise.resolve();

  /** @param max most messages that wait; `nodeMessageBufferMaxLength` of Node-RED's settings where that is set */
  constructor(accept: (item: T, done: (error?: Error) => void) => void, max: number) {
    this.#accept = accept;
    this.#max = max;
  }

  /** Nothing waits and the queue is open: a message may be accepted directly, without passing one before it. */
  get isClear(): boolean {
    return this.#isOpen && this.#waiting.size === 0;
  }

  get isEmpty(): boolean {
    return this.#waiting.size === 0;
  }

  add(item: T | Promise<T>, done: (error?: Error) => void): void {
    // A failure is told in its turn, by #drain; until then it is not "unhandled".
    if (item instanceof Promise) item.catch(() => undefined);
    if (this.#waiting.size >= this.#max) {
      done(new NodeError("too-many-waiting", `More than ${this.#max} messages are waiting to be accepted.`));
      return;
    }
    this.#waiting.add({ item, done });
    if (this.#isOpen) this.#startDraining();
  }

  /** From now on messages are accepted. */
  open(): void {
    this.#isOpen = true;
    this.#startDraining();
  }

  /** Resolves when what waits now has been accepted or refused. */
  drained(): Promise<void> {
    return this.#drained;
  }

  /** Tells the senders of all that waits that it was not accepted. */
  refuse(error: Error): void {
    const refused = [...this.#waiting];
    this.#waiting.clear();
    for (const { done } of refused) done(error);
  }

  #startDraining(): void {
    if (!this.#isDraining) this.#drained = this.#drain();
  }

  async #drain(): Promise<void> {
    this.#isDraining = true;
    for (const waiting of this.#waiting) {
      let item: T;
      try {
        item = waiting.item instanceof Promise ? await waiting.item : waiting.item;
      } catch (error) {
        if (this.#waiting.delete(waiting)) waiting.done(asError(error));
        continue;
      }
      // Gone from the set: refused while its value was being waited for, and its sender knows.
      if (this.#waiting.delete(waiting)) this.#accept(item, waiting.done);
    }
    this.#isDraining = false;
  }
}
