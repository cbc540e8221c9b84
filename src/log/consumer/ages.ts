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
    while (this.#marks.length > 1 && this.#marks[1]!.offset <= cursor) this.#marks.shift();
  }

  clear(): void {
    this.#marks.length = 0;
  }
}
