/** The options that every exporter and pool of the library has, beside those of its target. */
import { homedir } from "node:os";
import { join } from "node:path";
import type { FlushReport } from "../delivery/events.js";
import type { ExporterStatus, Rejected } from "../runtime/member.js";
import { checkBudgets, checkFlushSettings, type Budgets, type FlushSettings } from "../runtime/settings.js";
import { compile, type Transform, type TransformFunction } from "../transform.js";
import type { DeliveryReport } from "./report.js";

/** Flush settings as they may be given: numbers may be text with a unit ("2 GiB", "500 ms"). */
export type FlushOptions = Readonly<Partial<Record<keyof FlushSettings, unknown>>>;

export interface RuntimeSettings {
  /** Where the queues are kept. Default `~/.resilient-exporters`. Exporters with the same folder share a runtime. */
  readonly folder?: string;
  /** Memory for all queues of the folder together. Default 32 MiB. */
  readonly memoryBytes?: number | string;
  /** Disk for all queues of the folder together. Default 1 GiB. */
  readonly diskBytes?: number | string;
}

export interface CommonOptions {
  /** Names the exporter and its queue, so that a restarted program finds it again: unique in its folder. Default: made from the target. */
  readonly name?: string;
  /** The shared part: folder and budgets. The first exporter of a folder decides. */
  readonly runtime?: RuntimeSettings;
  /** Durability, intervals, limits, batches ... What is left out has its default. */
  readonly flush?: FlushOptions;
  /**
   * Applied once to each payload, on a deep copy, when it is sent: a function, or JSONata. An array is many records;
   * nothing (undefined, null) drops it. A pool's supersedes its members'.
   */
  readonly transform?: TransformFunction | { readonly jsonata: string };
  /** What became of each batch. */
  readonly onReport?: (report: DeliveryReport) => void;
  /** A record that the target will never take; it is in the dead letters. */
  readonly onRejected?: (rejected: Rejected) => void;
  /** How it stands: when something changed, at most once a second. */
  readonly onStatus?: (status: ExporterStatus) => void;
}

export type { ExporterStatus, FlushReport, Rejected };

/** An option that cannot be used. */
export class OptionError extends Error {
  override readonly name = "OptionError";
  readonly code = "option";
}

/** @throws {OptionError} with all that is wrong */
export function flushOf({ flush }: CommonOptions): FlushSettings {
  const { settings, problems } = checkFlushSettings(flush);
  if (problems.length > 0) throw new OptionError(problems.map(({ message }) => message).join(" "));
  return settings;
}

/** @throws {OptionError} with all that is wrong */
export function runtimeOf({ runtime = {} }: CommonOptions): { folder: string } & Budgets {
  const { folder, ...budgets } = runtime;
  const { settings, problems } = checkBudgets(budgets);
  if (problems.length > 0) throw new OptionError(problems.map(({ message }) => message).join(" "));
  return { folder: folder ?? join(homedir(), ".resilient-exporters"), ...settings };
}

/** The options without these: those of the target. */
export function targetPart(options: CommonOptions): object {
  const part: Record<string, unknown> = { ...options };
  for (const name of COMMON) delete part[name];
  return part;
}

const COMMON = [
  "name",
  "runtime",
  "flush",
  "transform",
  "onReport",
  "onRejected",
  "onStatus",
] as const satisfies (keyof CommonOptions)[];

/** @throws {TransformError} when it does not compile */
export function transformOf({ transform }: CommonOptions): Transform | undefined {
  if (transform === undefined) return undefined;
  return typeof transform === "function" ? compile("javascript", transform) : compile("jsonata", transform.jsonata);
}
