/**
 * What the file exporter's dialog adds to those of every exporter: how a line looks, and how large a file may become.
 * The html beside this file has the same ranges for the browser.
 */
import { type Setting, type SettingProblem, checkSettings, defaultsOf } from "../../src/runtime/settings.js";
import type { FileTargetOptions, WhenFull } from "../../src/targets/file/options.js";

/** Meanings, units and defaults as in `FileTargetOptions`. */
export interface FileSettings {
  readonly format: "text" | "json" | "csv";
  /** Names of the columns, separated by commas. */
  readonly columns: string;
  readonly separator: string;
  readonly header: boolean;
  readonly formulaSafe: boolean;
  readonly encoding: string;
  readonly buffers: "raw" | "base64" | "hex";
  readonly mode: "append" | "overwrite";
  readonly maxLines: number;
  readonly maxBytes: number;
  readonly whenFull: WhenFull;
  readonly keepFiles: number;
  readonly everyMs: number;
  readonly gzip: boolean;
}

const TIB = 1024 ** 4;
const TEN_YEARS_MS = 10 * 365 * 86_400_000;

export const FILE_SETTINGS = {
  format: { kind: "choice", choices: ["text", "json", "csv"], default: "text" },
  columns: { kind: "text", maxLength: 10_000, default: "" },
  separator: { kind: "text", maxLength: 2, default: "," },
  header: { kind: "switch", default: true },
  formulaSafe: { kind: "switch", default: false },
  encoding: { kind: "text", maxLength: 40, default: "utf8" },
  buffers: { kind: "choice", choices: ["raw", "base64", "hex"], default: "raw" },
  mode: { kind: "choice", choices: ["append", "overwrite"], default: "append" },
  maxLines: { kind: "number", unit: "", min: 1, max: 1e12, zeroIsNoLimit: true, default: 0 },
  maxBytes: { kind: "number", unit: "bytes", min: 1_024, max: TIB, zeroIsNoLimit: true, default: 0 },
  whenFull: { kind: "choice", choices: ["keepNew", "refuseNew", "rotate"], default: "keepNew" },
  keepFiles: { kind: "number", unit: "", min: 1, max: 10_000, default: 5 },
  everyMs: { kind: "number", unit: "ms", min: 60_000, max: TEN_YEARS_MS, zeroIsNoLimit: true, default: 0 },
  gzip: { kind: "switch", default: false },
} as const satisfies Record<keyof FileSettings, Setting>;

const DEFAULTS = defaultsOf<FileSettings>(FILE_SETTINGS);

/** Never throws: what cannot be used is a problem, and the default is taken. */
export function checkFileSettings(input: unknown): { settings: FileSettings; problems: SettingProblem[] } {
  return checkSettings(FILE_SETTINGS, input, DEFAULTS);
}

export function targetOptions(settings: FileSettings): FileTargetOptions {
  const { columns, separator, header, formulaSafe, keepFiles, everyMs, gzip, ...rest } = settings;
  const names = columns.split(",").flatMap((name) => (name.trim() === "" ? [] : [name.trim()]));
  return {
    ...rest,
    csv: { columns: names, separator: separator === "\\t" ? "\t" : separator, header, formulaSafe },
    rotate: { keepFiles, everyMs, gzip },
  };
}
