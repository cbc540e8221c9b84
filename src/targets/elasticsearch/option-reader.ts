/**
 * Reads typed values out of options that come from outside. Which options there are is `options.ts`.
 */

/** Wrong options: `field` names the one. Its value is never quoted, since it may be a secret. */
export class ElasticsearchOptionsError extends Error {
  override readonly name = "ElasticsearchOptionsError";
  readonly code = "bad-option";
  readonly field: string;
  constructor(field: string, problem: string) {
    super(`${field} ${problem}`);
    this.field = field;
  }
}

export function fail(field: string, problem: string): never {
  throw new ElasticsearchOptionsError(field, problem);
}

/** Reads typed values out of something unknown, naming the option that is wrong. */
export class OptionReader {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #path: string;

  constructor(values: unknown, path: string) {
    if (typeof values !== "object" || values === null || Array.isArray(values)) {
      fail(path === "" ? "options" : path, "must be an object");
    }
    this.#values = values as Record<string, unknown>;
    this.#path = path;
  }

  names(): string[] {
    return Object.keys(this.#values);
  }

  /** A name that is misspelt must not go unnoticed: its value would be ignored. */
  only(names: readonly string[]): void {
    for (const name of this.names()) if (!names.includes(name)) fail(this.#pathOf(name), "is not an option");
  }

  section(name: string): OptionReader {
    return new OptionReader(this.#get(name) ?? {}, this.#pathOf(name));
  }

  text(name: string, otherwise: string): string {
    const value = this.#get(name) ?? otherwise;
    return typeof value === "string" ? value : fail(this.#pathOf(name), "must be a text");
  }

  required(name: string): string {
    const text = this.text(name, "");
    return text === "" ? fail(this.#pathOf(name), "is missing") : text;
  }

  texts(name: string, otherwise: readonly string[]): readonly string[] {
    const value = this.#get(name) ?? otherwise;
    const list: readonly unknown[] = Array.isArray(value) ? value : [value];
    return list.map((one) => (typeof one === "string" ? one : fail(this.#pathOf(name), "must be a list of texts")));
  }

  flag(name: string, otherwise: boolean): boolean {
    const value = this.#get(name) ?? otherwise;
    return typeof value === "boolean" ? value : fail(this.#pathOf(name), "must be true or false");
  }

  number(name: string, least: number, most: number, otherwise: number): number {
    const value = this.#get(name) ?? otherwise;
    if (typeof value !== "number" || !(value >= least && value <= most)) {
      return fail(this.#pathOf(name), `must be a number from ${least} to ${most}`);
    }
    return value;
  }

  /** As `number`, where 0 means: no limit. */
  numberOrZero(name: string, least: number, most: number, otherwise: number): number {
    return this.#get(name) === 0 ? 0 : this.number(name, least, most, otherwise);
  }

  choice<Choice extends string>(name: string, choices: readonly Choice[], otherwise: Choice): Choice {
    const value = this.#get(name) ?? otherwise;
    const found = choices.find((choice) => choice === value);
    return found ?? fail(this.#pathOf(name), `must be one of ${choices.join(", ")}`);
  }

  #get(name: string): unknown {
    // Own properties only: options may come from JSON that somebody else wrote.
    return Object.hasOwn(this.#values, name) ? this.#values[name] : undefined;
  }

  #pathOf(name: string): string {
    return this.#path === "" ? name : `${this.#path}.${name}`;
  }
}
