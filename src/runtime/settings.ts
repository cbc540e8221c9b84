/**
 * The settings of a queue: what they mean, their ranges and defaults, and the one check of what comes from outside (a
 * node's dialog, a library call). An exporter leaves out what it takes over from its runtime, so values are checked one
 * by one against what they inherit.
 */

/** When a record counts as accepted: the moment the sender is told so. */
export type Durability =
  /** Once it is in memory. Never synced; lost when the process dies. */
  | "memory"
  /** Once it is in memory; written and synced after the intervals below. */
  | "interval"
  /** Once it survives a power cut; records that come together share one sync. */
  | "everyMessage"
  /** Once the target has confirmed it. */
  | "delivered";

/** What gives way when a limit of the backlog is reached. Every drop is counted. */
export type Overflow = "dropOldest" | "dropNewest" | "refuse";

/** Whether records are sent as they come, or when somebody asks. */
export type Sending = "automatic" | "onRequest";

export interface FlushSettings {
  /** Default `interval`. */
  readonly durability: Durability;
  /** Longest an unconfirmed record stays in memory only, in ms. [10, 600_000], default 1_000. */
  readonly writeIntervalMs: number;
  /** Longest a written record goes without fdatasync, in ms. [100, 3_600_000], default 5_000. */
  readonly syncIntervalMs: number;
  /** Most payload bytes that wait for the target, 0 for no limit but the runtime's disk budget. Default 0. */
  readonly backlogBytes: number;
  /** Most records that wait, 0 for no limit. Default 0. */
  readonly backlogRecords: number;
  /** Longest a record waits before it is dropped, in ms, 0 for no limit. Default 0. */
  readonly backlogAgeMs: number;
  /** Default `dropOldest`: on a device in the field the newest readings matter most. */
  readonly overflow: Overflow;
  /** Default `automatic`. */
  readonly sending: Sending;
  /** Off: a record is sent once, and counted as dropped when that fails. Default on. */
  readonly keepUnsent: boolean;
  /** Most records of one batch; the batch grows up to it by itself. [1, 10_000], default 5_000. */
  readonly batchRecords: number;
  /** Most payload bytes of one batch. [1 KiB, 20 MiB], default 1 MiB: throughput flattens near it. */
  readonly batchBytes: number;
  /** Longest a small batch waits for more records, in ms. [0, 60_000], default 100, well below the write interval. */
  readonly batchWaitMs: number;
  /** Most batches in flight at once; how many are used is found by measuring. [1, 16], default 4. */
  readonly concurrency: number;
  /** Most payload bytes sent in a second, 0 for no limit. Default 0. */
  readonly bytesPerSecond: number;
  /** One batch in flight, and nothing overtakes a record that is retried. Default off. */
  readonly strictOrder: boolean;
  /** New records are sent at once, the backlog as a share beside them. Default off: oldest first. */
  readonly liveFirst: boolean;
  /** Age at which a record that keeps failing goes to the dead letters, in ms, 0 for never. Default 0. */
  readonly giveUpAfterMs: number;
  /** Nothing is sent while the wall clock cannot be trusted, so that no record leaves with a wrong time. Default off. */
  readonly waitForClock: boolean;
}

/** What all logs of a runtime share. */
export interface Budgets {
  /**
   * Memory for what all logs together hold of records that are in no file yet or not synced, in bytes. [1 MiB, 4 GiB],
   * default 32 MiB. Beside it a quarter as much for what deliveries have read back from disk.
   */
  readonly memoryBytes: number;
  /**
   * Disk for all logs together, in bytes. [16 MiB, 1 TiB], default 1 GiB: an eighth of a card of 8 GB, weeks of telemetry.
   * Never more than the disk has when it is opened, without 5 % and 64 MiB that are left to others. Beside it a quarter as
   * much for dead letters.
   */
  readonly diskBytes: number;
}

/** How a runtime finds out whether the network is there while a target is away. */
export interface NetworkSettings {
  /** `http://...`, `https://...` or `host:port`. Default none: the targets alone are the signal. */
  readonly probe: string;
  /** Longest until a return is noticed, in ms. [1_000, 3_600_000], default 5_000. Nothing is asked while targets answer. */
  readonly probeIntervalMs: number;
}

/** A value that could not be used; the inherited one was taken in its place. */
export interface SettingProblem {
  readonly setting: string;
  /** What is wrong and what is allowed, in words for the user. */
  readonly message: string;
}

export type Unit = "ms" | "bytes" | "bytes/s" | "";

export type Setting =
  | { readonly kind: "choice"; readonly choices: readonly string[]; readonly default: string }
  | { readonly kind: "switch"; readonly default: boolean }
  | { readonly kind: "text"; readonly maxLength: number; readonly default: string }
  | {
      readonly kind: "number";
      readonly unit: Unit;
      readonly min: number;
      readonly max: number;
      /** 0 is allowed below `min`, and means: no limit. */
      readonly zeroIsNoLimit?: true;
      readonly default: number;
    };

/** Of a value that is no number, in a message. */
const SHOWN_CHARACTERS = 40;
const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;
const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;

/** The editor shows these with the same ranges; `nodes/shared/flush-settings.html` has them once more for the browser. */
export const FLUSH_SETTINGS = {
  durability: { kind: "choice", choices: ["memory", "interval", "everyMessage", "delivered"], default: "interval" },
  writeIntervalMs: { kind: "number", unit: "ms", min: 10, max: 600_000, default: 1_000 },
  syncIntervalMs: { kind: "number", unit: "ms", min: 100, max: HOUR_MS, default: 5_000 },
  backlogBytes: { kind: "number", unit: "bytes", min: 64 * KIB, max: TIB, zeroIsNoLimit: true, default: 0 },
  backlogRecords: { kind: "number", unit: "", min: 1, max: 1e12, zeroIsNoLimit: true, default: 0 },
  backlogAgeMs: { kind: "number", unit: "ms", min: 1_000, max: 10 * YEAR_MS, zeroIsNoLimit: true, default: 0 },
  overflow: { kind: "choice", choices: ["dropOldest", "dropNewest", "refuse"], default: "dropOldest" },
  sending: { kind: "choice", choices: ["automatic", "onRequest"], default: "automatic" },
  keepUnsent: { kind: "switch", default: true },
  batchRecords: { kind: "number", unit: "", min: 1, max: 10_000, default: 5_000 },
  batchBytes: { kind: "number", unit: "bytes", min: KIB, max: 20 * MIB, default: MIB },
  batchWaitMs: { kind: "number", unit: "ms", min: 0, max: 60_000, default: 100 },
  concurrency: { kind: "number", unit: "", min: 1, max: 16, default: 4 },
  bytesPerSecond: { kind: "number", unit: "bytes/s", min: 16, max: TIB, zeroIsNoLimit: true, default: 0 },
  strictOrder: { kind: "switch", default: false },
  liveFirst: { kind: "switch", default: false },
  giveUpAfterMs: { kind: "number", unit: "ms", min: 1_000, max: 10 * YEAR_MS, zeroIsNoLimit: true, default: 0 },
  waitForClock: { kind: "switch", default: false },
} as const satisfies Record<keyof FlushSettings, Setting>;

export const BUDGETS = {
  memoryBytes: { kind: "number", unit: "bytes", min: MIB, max: 4 * GIB, default: 32 * MIB },
  diskBytes: { kind: "number", unit: "bytes", min: 16 * MIB, max: TIB, default: GIB },
} as const satisfies Record<keyof Budgets, Setting>;

export const NETWORK = {
  probe: { kind: "text", maxLength: 2_000, default: "" },
  probeIntervalMs: { kind: "number", unit: "ms", min: 1_000, max: HOUR_MS, default: 5_000 },
} as const satisfies Record<keyof NetworkSettings, Setting>;

export const DEFAULT_FLUSH: FlushSettings = defaultsOf<FlushSettings>(FLUSH_SETTINGS);
export const DEFAULT_BUDGETS: Budgets = defaultsOf<Budgets>(BUDGETS);

/**
 * Checks flush settings from outside. A setting that is absent, null or "" is inherited; so is one that cannot be used,
 * and that is a problem. Numbers may be text with a unit ("2 GiB", "500 ms", "6 h"), as an environment variable gives
 * them; without one they are in the unit of the setting's name. Never throws.
 */
export function checkFlushSettings(
  input: unknown,
  inherited: FlushSettings = DEFAULT_FLUSH,
): { settings: FlushSettings; problems: SettingProblem[] } {
  return checkSettings(FLUSH_SETTINGS, input, inherited);
}

/** The same for the budgets of a runtime. */
export function checkBudgets(input: unknown): { settings: Budgets; problems: SettingProblem[] } {
  return checkSettings(BUDGETS, input, DEFAULT_BUDGETS);
}

/** The same for any settings that are described like these: what one kind of target adds. */
export function checkSettings<T extends object>(
  known: Readonly<Record<keyof T, Setting>>,
  input: unknown,
  inherited: T,
): { settings: T; problems: SettingProblem[] } {
  const settings = { ...inherited };
  const problems: SettingProblem[] = [];
  if (input === undefined || input === null || input === "") return { settings, problems };
  if (typeof input !== "object" || Array.isArray(input)) {
    problems.push({ setting: "", message: "The settings must be an object." });
    return { settings, problems };
  }
  for (const [name, value] of Object.entries(input)) {
    if (!Object.hasOwn(known, name)) {
      problems.push({ setting: name, message: `"${name}" is not a setting.` });
      continue;
    }
    if (value === undefined || value === null || value === "") continue;
    const key = name as keyof T & string;
    const checked = checkValue(known[key], value);
    if (checked.message === undefined) settings[key] = checked.value as T[typeof key];
    else problems.push({ setting: name, message: `${name} ${checked.message}` });
  }
  return { settings, problems };
}

type Checked = { readonly value: unknown; readonly message?: undefined } | { readonly message: string };

function checkValue(setting: Setting, value: unknown): Checked {
  switch (setting.kind) {
    case "choice":
      if (typeof value === "string" && setting.choices.includes(value)) return { value };
      return { message: `must be one of ${setting.choices.join(", ")}.` };
    case "switch":
      if (value === true || value === "true") return { value: true };
      if (value === false || value === "false") return { value: false };
      return { message: "must be true or false." };
    case "text":
      if (typeof value === "string" && value.length <= setting.maxLength) return { value };
      return { message: `must be text of at most ${setting.maxLength} characters.` };
    case "number": {
      const quantity = parseQuantity(value, setting.unit) ?? (isNegative(value) ? -1 : undefined);
      if (quantity === undefined) return { message: `must be a number${unitHint(setting.unit)}${notThis(value)}.` };
      if (quantity === 0 && setting.zeroIsNoLimit === true) return { value: 0 };
      if (quantity >= setting.min && quantity <= setting.max) return { value: quantity };
      const zero = setting.zeroIsNoLimit === true ? ", or 0 for no limit" : "";
      const unit = setting.unit === "" ? "" : ` ${setting.unit}`;
      return { message: `must be between ${setting.min} and ${setting.max}${unit}${zero}.` };
    }
    default:
      return setting satisfies never;
  }
}

const TIME_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, min: 60_000, h: HOUR_MS, d: 24 * HOUR_MS };
const BYTE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: KIB,
  MiB: MIB,
  GiB: GIB,
  TiB: TIB,
};

function unitHint(unit: Unit): string {
  if (unit === "ms") return " of ms, or one with a unit (ms, s, min, h, d)";
  if (unit === "bytes") return " of bytes, or one with a unit (KiB, MiB, GiB)";
  if (unit === "bytes/s") return " of bytes per second, or one with a unit (KiB/s, MiB/s)";
  return "";
}

/** A number, but in no range: its message is that of the range. */
function isNegative(value: unknown): boolean {
  return (typeof value === "number" || (typeof value === "string" && value.trim() !== "")) && Number(value) < 0;
}

/** What was typed: an environment variable that has no value is seen at once. */
function notThis(value: unknown): string {
  return typeof value === "string" ? `, not ${JSON.stringify(value.slice(0, SHOWN_CHARACTERS))}` : "";
}

/** A quantity in its unit, rounded to a whole number; undefined when it is none. */
export function parseQuantity(value: unknown, unit: Unit): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) && value >= 0 ? Math.round(value) : undefined;
  if (typeof value !== "string") return undefined;
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)(\/s)?$/.exec(value.trim());
  if (match === null) return undefined;
  const [, digits, suffix = "", perSecond] = match;
  if (perSecond !== undefined && unit !== "bytes/s") return undefined;
  const units = unit === "" ? {} : unit === "ms" ? TIME_UNITS : BYTE_UNITS;
  if (suffix !== "" && !Object.hasOwn(units, suffix)) return undefined;
  return Math.round(Number(digits) * (suffix === "" ? 1 : units[suffix]!));
}

export function defaultsOf<T>(settings: Readonly<Record<keyof T, Setting>>): T {
  return Object.fromEntries(Object.entries<Setting>(settings).map(([name, setting]) => [name, setting.default])) as T;
}
