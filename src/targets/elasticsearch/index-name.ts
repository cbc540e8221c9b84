/**
 * The date in the name of an index. Which names may be used at all is `names.ts`.
 */
import { formatUtc } from "../../date-codes.js";
import { indexProblem } from "../../names.js";

const HOUR_MS = 3_600_000;

/**
 * The name of the index for a record of that time: `name`, then `dateSuffix` with its codes replaced in UTC.
 * Always by the time of the record, never by the time of sending: a backlog would land in today's index, and a retry
 * across midnight would store a record twice.
 *
 * Codes: `%Y` year, `%m` month, `%d` day, `%H` hour, `%j` day of the year, `%G` and `%V` ISO year and week, `%%` a
 * percent sign. No code is finer than an hour.
 */
export function resolveIndexName(name: string, dateSuffix: string, atMs: number): string {
  return dateSuffix === "" ? name : name + formatUtc(dateSuffix, atMs);
}

/** The same, remembering the last hour: the codes are not looked at again for each record. */
export class IndexNames {
  readonly #dateSuffix: string;
  #hour = NaN;
  #suffix = "";

  constructor(dateSuffix: string) {
    this.#dateSuffix = dateSuffix;
  }

  resolve(name: string, atMs: number): string {
    if (this.#dateSuffix === "") return name;
    const hour = Math.floor(atMs / HOUR_MS);
    if (hour !== this.#hour) {
      this.#suffix = formatUtc(this.#dateSuffix, atMs);
      this.#hour = hour;
    }
    return name + this.#suffix;
  }
}

/** What is wrong with a date suffix, in words. */
export function dateSuffixProblem(dateSuffix: string): string | undefined {
  const unknown = /%(?![YmdHjGV%])/u.exec(dateSuffix);
  if (unknown !== null) return `has the unknown code "${dateSuffix.slice(unknown.index, unknown.index + 2)}"`;
  return dateSuffix === "" ? undefined : indexProblem(`x${formatUtc(dateSuffix, 0)}`);
}
