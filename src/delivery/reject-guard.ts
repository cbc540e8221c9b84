/**
 * Tells bad records from a bad setting. A wrong pipeline name, a strict mapping or a new validator rejects everything,
 * and looks record by record like bad data; without this guard it would empty the backlog into the dead letters.
 */

/** Destinations remembered. A forgotten one merely counts as new. */
const MOST_DESTINATIONS = 1_000;

interface Watch {
  hasDelivered: boolean;
  /** Code of the latest rejections, and how many in a row had it and nothing else. */
  code: string;
  streak: number;
  /** The destination is held for this code: nothing more is rejected with it until something is delivered. */
  isHolding: boolean;
}

export class RejectGuard {
  readonly #watches = new Map<string, Watch>();

  onDelivered(destination: string): void {
    const watch = this.#watchOf(destination);
    watch.hasDelivered = true;
    watch.isHolding = false;
    watch.streak = 0;
  }

  /**
   * A batch came back with rejections and nothing delivered. True: hold the destination, reject none of them.
   * @param code the code that all of them share; undefined when they differ or some were not rejected
   * @param limit how many of one kind make it suspicious
   */
  holdsBack(destination: string, code: string | undefined, records: number, limit: number): boolean {
    const watch = this.#watchOf(destination);
    if (code === undefined) {
      watch.isHolding = false;
      watch.streak = 0;
      return false;
    }
    watch.streak = watch.code === code ? watch.streak + records : records;
    watch.isHolding &&= watch.code === code;
    watch.code = code;
    watch.isHolding ||= records >= limit || (!watch.hasDelivered && watch.streak >= limit);
    return watch.isHolding;
  }

  /** The user has switched it off, or wants another look. */
  clear(): void {
    this.#watches.clear();
  }

  #watchOf(destination: string): Watch {
    let watch = this.#watches.get(destination);
    if (watch === undefined) {
      if (this.#watches.size >= MOST_DESTINATIONS) this.#watches.delete(this.#watches.keys().next().value!);
      watch = { hasDelivered: false, code: "", streak: 0, isHolding: false };
      this.#watches.set(destination, watch);
    }
    return watch;
  }
}
