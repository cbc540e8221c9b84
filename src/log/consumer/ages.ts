/**
 * When records that one reader waits for were accepted, of as few of them as tell how old the oldest is: the first one,
 * and the first of each batch taken since.
 */
interface Mark {
  readonly offset: number;
  readonly acceptedAtMs: number;
}

export class Ages {
  /** In order. */
  #marks: Mark[] = [];
  /** What the first of them tells of was given up. */
  #isOldestUnknown = false;

  get isOldestUnknown(): boolean {
    return this.#isOldestUnknown;
  }

  /** Wall time at which about the oldest was accepted; undefined: nothing waits. */
  get oldestAcceptedAtMs(): number | undefined {
    return this.#marks[0]?.acceptedAtMs;
  }

  note(offset: number, acceptedAtMs: number): void {
    this.#marks.push({ offset, acceptedAtMs });
  }

  /** Notes a record unless one further on is noted: records that are given back are taken again. */
  taken({ offset, acceptedAtMs }: Mark): void {
    if (offset > (this.#marks.at(-1)?.offset ?? -1)) this.note(offset, acceptedAtMs);
  }

  /** The cursor has moved there. */
  passed(cursor: number): void {
    while (this.#marks.length > 1 && this.#marks[1]!.offset <= cursor) {
      this.#marks.shift();
      this.#isOldestUnknown = false;
    }
  }

  /**
   * The same, over records that were given up. Only what is taken leaves marks, and a target that is away takes nothing:
   * by the first one the age would grow beyond any limit.
   */
  dropped(cursor: number): void {
    const first = this.#marks[0];
    this.#isOldestUnknown = first !== undefined && first.offset < cursor;
  }

  /** The oldest was looked up. */
  found(offset: number, acceptedAtMs: number): void {
    this.#marks[0] = { offset, acceptedAtMs };
    this.#isOldestUnknown = false;
  }

  clear(): void {
    this.#marks.length = 0;
    this.#isOldestUnknown = false;
  }
}
