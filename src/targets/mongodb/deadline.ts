/**
 * How long one call may take. A signal of its own for each call, so that one that ends never ends another.
 */
import type { Clock } from "../../clock.js";
import { TargetUnavailableError } from "../target.js";

/** A time limit and the caller's signal, as one fresh signal for one call. */
export class Deadline {
  readonly #outer: AbortSignal;
  readonly #controller = new AbortController();
  readonly #cancel: () => void;
  /** True when the time limit, not the caller, has ended the call. */
  hasPassed = false;

  constructor(clock: Clock, ms: number, outer: AbortSignal) {
    this.#outer = outer;
    const abort = (): void => this.#controller.abort();
    const timer = clock.after(ms, () => {
      this.hasPassed = true;
      abort();
    });
    this.#cancel = () => {
      timer.cancel();
      outer.removeEventListener("abort", abort);
    };
    if (outer.aborted) abort();
    else outer.addEventListener("abort", abort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** @throws the caller's reason when its signal ended the call, instead of whatever the driver made of it */
  async limit<T>(call: Promise<T>): Promise<T> {
    try {
      return await Promise.race([call, this.#aborted()]);
    } catch (error) {
      if (this.#outer.aborted) throw this.#outer.reason;
      if (this.hasPassed) throw new TargetUnavailableError("MongoDB did not answer in time", { code: "ETIMEDOUT" });
      throw error;
    } finally {
      this.#cancel();
      // Told already, or of no interest any more: the race was lost.
      call.catch(() => {});
    }
  }

  #aborted(): Promise<never> {
    const { signal } = this;
    return new Promise((_, reject) => {
      const refuse = (): void => reject(new Error("aborted"));
      if (signal.aborted) refuse();
      else signal.addEventListener("abort", refuse, { once: true });
    });
  }
}
