/** The options that every exporter and pool of the library has, beside those of its target. */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { systemClock } from "../clock.js";
import { makeProbe, type Probe } from "../connectivity/probe.js";
import type { ExporterStatus, Rejected } from "../runtime/member.js";
import {
  type Budgets,
  checkBudgets,
  checkFlushSettings,
  checkSettings,
  DEFAULT_FLUSH,
  defaultsOf,
  type FlushSettings,
  NETWORK,
  type NetworkSettings,
  type SettingProblem,
} from "../runtime/settings.js";
import { compile, type Transform, type TransformFunction } from "../transform.js";
import type { DeliveryReport } from "./report.js";

/** The settings as they may be given: quantities may be text with a unit ("2 GiB", "500 ms", "6 h"). */
export type FlushOptions = {
  readonly [Name in keyof FlushSettings]?: FlushSettings[Name] extends number ? number | string : FlushSettings[Name];
};

export interface RuntimeSettings {
  /** Where the queues are kept. Default `~/.resilient-exporters`. Exporters with the same folder share a runtime. */
  readonly folder?: string;
  /** Memory for all queues of the folder together, in bytes. [1 MiB, 4 GiB], default 32 MiB. */
  readonly memoryBytes?: number | string;
  /** Disk for all queues of the folder together, in bytes. [16 MiB, 1 TiB], default 1 GiB. */
  readonly diskBytes?: number | string;
  /** `https://...` or `host:port`: tells "no network" from "the target is down". Default: none, the targets tell. */
  readonly probe?: string;
  /** How often the probe asks while the network is away, in ms. [1_000, 3_600_000], default 5_000. */
  readonly probeIntervalMs?: number | string;
}

export interface SenderOptions {
  /**
   * Names the queue: a program that starts again under the same name goes on where it was. One of each name in a folder.
   * Default: made from the target ("mongodb plant.readings"), "pool" for a pool.
   */
  readonly name?: string;
  /** The shared part: folder, budgets, probe. */
  readonly runtime?: RuntimeSettings;
  /** Durability, intervals, limits, batches ... What is left out has its default; in a pool, the pool's value. */
  readonly flush?: FlushOptions;
  /**
   * Applied once to each payload, on a deep copy, when it is sent: a function, or JSONata. An array is many records;
   * nothing (undefined, null) drops it. A pool's supersedes its members'.
   */
  readonly transform?: TransformFunction | { readonly jsonata: string };
}

export interface CommonOptions extends SenderOptions {
  /** What became of each batch. */
  readonly onReport?: (report: DeliveryReport) => void;
  /** A record that the target will never take; it is in the dead letters. */
  readonly onRejected?: (rejected: Rejected) => void;
  /** How it stands: when something changed, at most once a second. */
  readonly onStatus?: (status: ExporterStatus) => void;
}

/** An option that cannot be used, or a name that is taken. */
export class OptionError extends Error {
  override readonly name = "OptionError";
  readonly code = "option";
}

const SENDER_NAMES = ["name", "runtime", "flush", "transform"] as const satisfies (keyof SenderOptions)[];
const COMMON_NAMES = [...SENDER_NAMES, "onReport", "onRejected", "onStatus"] as const satisfies (keyof CommonOptions)[];

export interface CheckedSender {
  readonly name: string | undefined;
  readonly transform: Transform | undefined;
  readonly runtime: CheckedRuntime;
}

/**
 * Checks what exporters and pools have in common.
 * @throws {OptionError} with what is wrong
 * @throws {TransformError} when a JSONata expression does not compile
 */
export function checkSender(options: SenderOptions): CheckedSender {
  checkObject(options);
  const { name } = options;
  if (name !== undefined && (typeof name !== "string" || name.trim() === "")) {
    throw new OptionError("name must be a text that is not empty.");
  }
  flushOf(options);
  for (const listener of ["onReport", "onRejected", "onStatus"] as const) {
    const given: unknown = (options as CommonOptions)[listener];
    if (given !== undefined && typeof given !== "function") throw new OptionError(`${listener} must be a function.`);
  }
  return { name, transform: transformOf(options), runtime: runtimeOf(options) };
}

function checkObject(options: unknown): void {
  if (typeof options !== "object" || options === null) throw new OptionError("The options must be an object.");
}

/**
 * @param inherited what is left out, or has no value
 * @throws {OptionError} with all that is wrong
 */
export function flushOf({ flush }: SenderOptions, inherited: FlushSettings = DEFAULT_FLUSH): FlushSettings {
  return usable("flush", checkFlushSettings(flush, inherited));
}

export interface CheckedRuntime {
  readonly folder: string;
  readonly probe: Probe | undefined;
  /** Those that were given; the others are as whoever opens the folder first has them. */
  readonly given: Partial<Budgets & NetworkSettings>;
  readonly settings: Budgets & NetworkSettings;
}

function runtimeOf({ runtime = {} }: SenderOptions): CheckedRuntime {
  if (typeof runtime !== "object" || runtime === null) throw new OptionError("runtime must be an object.");
  const { folder, probe, probeIntervalMs, ...budgets } = runtime;
  if (folder !== undefined && (typeof folder !== "string" || folder.trim() === "")) {
    throw new OptionError("runtime.folder must be a text that is not empty.");
  }
  const network = checkSettings<NetworkSettings>(
    NETWORK,
    { probe, probeIntervalMs },
    defaultsOf<NetworkSettings>(NETWORK),
  );
  const settings = { ...usable("runtime", checkBudgets(budgets)), ...usable("runtime", network) };
  const given = Object.fromEntries(
    Object.entries(settings).filter(([name]) => runtime[name as keyof RuntimeSettings] !== undefined),
  );
  return {
    folder: resolve(folder ?? join(homedir(), ".resilient-exporters")),
    probe: settings.probe === "" ? undefined : probeOf(settings.probe),
    given,
    settings,
  };
}

function probeOf(endpoint: string): Probe {
  try {
    return makeProbe(endpoint, { clock: systemClock });
  } catch (cause) {
    throw new OptionError(`runtime.probe: ${(cause as Error).message}`, { cause });
  }
}

function usable<T>(group: string, checked: { settings: T; problems: readonly SettingProblem[] }): T {
  const { settings, problems } = checked;
  if (problems.length > 0) throw new OptionError(`${group}: ${problems.map(({ message }) => message).join(" ")}`);
  return settings;
}

function transformOf({ transform }: SenderOptions): Transform | undefined {
  if (transform === undefined) return undefined;
  if (typeof transform === "function") return compile("javascript", transform);
  const jsonata: unknown = (transform as { jsonata?: unknown } | null)?.jsonata;
  if (typeof jsonata !== "string") throw new OptionError('transform must be a function, or { jsonata: "..." }.');
  return compile("jsonata", jsonata);
}

/** An exporter's options without the common ones: those of its target. @throws {OptionError} when they are none */
export function targetPart(options: object): Record<string, unknown> {
  checkObject(options);
  return Object.fromEntries(
    Object.entries(options).filter(([name]) => !(COMMON_NAMES as readonly string[]).includes(name)),
  );
}

/** @throws {OptionError} for an option that a pool does not have */
export function checkPoolNames(options: object): void {
  for (const name of Object.keys(options)) {
    if (name !== "exporters" && !(SENDER_NAMES as readonly string[]).includes(name)) {
      throw new OptionError(`"${name}" is not an option of a pool.`);
    }
  }
}
