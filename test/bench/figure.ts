/**
 * What a figure is: something measured here beside something else measured in the same run, and what it has to reach.
 * A file in `figures/` exports as `figures` what it can measure; nothing else needs to know of it.
 */
export interface Figure {
  /** As `--only` names it. */
  readonly name: string;
  readonly what: string;
  /** Installs what it needs, where that takes long; bounded by itself, and not by the limit. What fails is a skipped peer. */
  prepare?(): Promise<unknown>;
  /** Longest it may take, in s: what takes longer hangs, and is a miss. Default 300; most take less than one minute. */
  readonly limitS?: number;
  /** One result for each peer. Runs in a process of its own, with `gc` exposed. */
  measure(): Promise<Measured[]>;
}

const LIMIT_S = 300;

export function limitMsOf({ limitS = LIMIT_S }: Figure): number {
  return limitS * 1_000;
}

export interface Measured {
  /** Undefined when it could not be measured; `peer` then says why. */
  readonly value: number | undefined;
  readonly unit: string;
  readonly reach: string;
  /** Undefined when it was not measured: skipped is not passed. */
  readonly holds: boolean | undefined;
  /** Against what, with the plain numbers of both sides. */
  readonly peer: string;
}

/** A line of the table, and of the JSON file. */
export interface Row {
  readonly figure: string;
  readonly what: string;
  readonly value: number | null;
  readonly unit: string;
  readonly reach: string;
  readonly holds: boolean | null;
  readonly peer: string;
}

export function atLeast(value: number, bound: number, unit: string, peer: string): Measured {
  return { value, unit, reach: `>= ${bound}`, holds: value >= bound, peer };
}

export function atMost(value: number, bound: number, unit: string, peer: string): Measured {
  return { value, unit, reach: `<= ${bound}`, holds: value <= bound, peer };
}

export function skipped(unit: string, reach: string, why: string): Measured {
  return { value: undefined, unit, reach, holds: undefined, peer: `skipped: ${why}` };
}
