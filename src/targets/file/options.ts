/** What the user chooses for a file target, checked, with its defaults. */
import * as path from "node:path";
import { TargetConfigError } from "../target.js";
import { lineFormat } from "./lines.js";
import type { LineFormat } from "./lines.js";

/** What happens to the next line when `maxLines` or `maxBytes` is reached. */
export type WhenFull =
  /**
   * The oldest lines go: the file is written anew with 90 % of its limit, in the free space of the disk. Lines that would
   * have to go again for others of their batch are not written at all.
   */
  | "keepNew"
  /** The record is rejected (`file-full`) and goes to the dead letters. */
  | "refuseNew"
  /** The file is set aside under a number, and a new one begun. */
  | "rotate";

export interface RotateOptions {
  /** So many files that were set aside are kept. [1, 10_000], default 5. */
  readonly keepFiles?: number;
  /** Sets a file aside when it is this old, in ms, full or not. 0: age does not matter. Default 0. */
  readonly everyMs?: number;
  /** Compresses what is set aside, in the background. Default false. */
  readonly gzip?: boolean;
}

export interface FileTargetOptions {
  /** The file for records that name none. Default: every record must name its own. */
  readonly file?: string;
  /**
   * The folder below which records name their files (`file` in their routing). Names that would lead out of it are
   * refused. Default: records do not name files, and all go to `file`.
   */
  readonly root?: string;
  /** Makes missing folders. Default true. */
  readonly createFolders?: boolean;
  /**
   * `overwrite` empties each file once, when this object first uses it. Default `append`. A restart that is to go on
   * with the file, because nobody deployed anew, sets `continues`.
   */
  readonly mode?: "append" | "overwrite";
  /** With `overwrite`: this is the same deploy as before, after a restart or a crash: nothing is emptied. Default false. */
  readonly continues?: boolean;
  /**
   * `text`: text as it is, everything else as JSON. `json`: everything as JSON, text in quotes. `csv`: the `columns`.
   * Default `text`.
   */
  readonly format?: "text" | "json" | "csv";
  /** Encoding of the file, by any name that iconv-lite knows. No byte order mark is written. Default `utf8`. */
  readonly encoding?: string;
  /** A payload that is a Buffer, with format `text`: its bytes as they are, or as text. Default `raw`. */
  readonly buffers?: "raw" | "base64" | "hex";
  /** Needed for `csv`. */
  readonly csv?: {
    /** Properties of the payload, in order; `a.b` is property b of a. At least one. */
    readonly columns: readonly string[];
    /** Column names as the first line of each new file. Default true. */
    readonly header?: boolean;
    /** Between the cells: one character. Default `,`. */
    readonly separator?: string;
    /**
     * Puts a `'` before text that a spreadsheet would run as a formula. It changes data, numbers excepted, so only for
     * files that people open and strangers fill. Default false.
     */
    readonly formulaSafe?: boolean;
  };
  /** Most lines in a file, those found in it included, a header not; each real line break counts. 0: any. Default 0. */
  readonly maxLines?: number;
  /** Most bytes in a file. 0: any. Default 0. */
  readonly maxBytes?: number;
  /** Default `keepNew`. */
  readonly whenFull?: WhenFull;
  /** For `whenFull: "rotate"`. */
  readonly rotate?: RotateOptions;
}

export interface CheckedOptions {
  readonly file: string | undefined;
  readonly root: string | undefined;
  readonly createFolders: boolean;
  readonly empties: boolean;
  readonly format: LineFormat;
  /** `Infinity` when there is no limit. */
  readonly maxLines: number;
  readonly maxBytes: number;
  readonly whenFull: WhenFull;
  readonly rotate: Required<RotateOptions>;
}

/** What a value must be: one of these texts, or of this type. Numbers have ranges of their own below. */
type Kind = readonly string[] | "text" | "switch" | "number" | "object" | "names";

const OPTION_KINDS: Readonly<Record<keyof FileTargetOptions, Kind>> = {
  file: "text",
  root: "text",
  createFolders: "switch",
  mode: ["append", "overwrite"],
  continues: "switch",
  format: ["text", "json", "csv"],
  encoding: "text",
  buffers: ["raw", "base64", "hex"],
  csv: "object",
  maxLines: "number",
  maxBytes: "number",
  whenFull: ["keepNew", "refuseNew", "rotate"],
  rotate: "object",
};

const CSV_KINDS: Readonly<Record<keyof NonNullable<FileTargetOptions["csv"]>, Kind>> = {
  columns: "names",
  header: "switch",
  separator: "text",
  formulaSafe: "switch",
};

const ROTATE_KINDS: Readonly<Record<keyof RotateOptions, Kind>> = {
  keepFiles: "number",
  everyMs: "number",
  gzip: "switch",
};

/** @throws {TargetConfigError} */
export function checkOptions(options: FileTargetOptions): CheckedOptions {
  checkKinds(options, "", OPTION_KINDS);
  checkKinds(options.csv ?? {}, "csv.", CSV_KINDS);
  checkKinds(options.rotate ?? {}, "rotate.", ROTATE_KINDS);
  const { file, root, createFolders = true, whenFull = "keepNew", rotate = {}, csv } = options;
  if ((file === undefined || file === "") && (root === undefined || root === "")) {
    throw wrong("file-name-missing", "The file exporter needs a file name, or a folder for the names in its records.");
  }
  const separator = csv?.separator ?? ",";
  if (options.format === "csv") {
    if (csv === undefined || csv.columns.length === 0)
      throw wrong("file-columns", "CSV needs the names of its columns.");
    if (!/^[^"\n\r]$/u.test(separator)) {
      throw wrong("file-separator", "The separator of CSV is one character, and neither a quote nor a line break.");
    }
  }
  return {
    file: absolute(file),
    root: absolute(root),
    createFolders,
    empties: options.mode === "overwrite" && options.continues !== true,
    format: lineFormat({
      format: options.format ?? "text",
      encoding: options.encoding ?? "utf8",
      buffers: options.buffers ?? "raw",
      csv: {
        columns: csv?.columns ?? [],
        header: csv?.header ?? true,
        separator,
        formulaSafe: csv?.formulaSafe ?? false,
      },
    }),
    maxLines: limit("maxLines", options.maxLines),
    maxBytes: limit("maxBytes", options.maxBytes),
    whenFull,
    rotate: {
      keepFiles: between("rotate.keepFiles", rotate.keepFiles ?? 5, 1, 10_000),
      everyMs: between("rotate.everyMs", rotate.everyMs ?? 0, 0, Number.MAX_SAFE_INTEGER),
      gzip: rotate.gzip ?? false,
    },
  };
}

/** Programs need not be typed; a name or a word that is misspelt must not go unnoticed. */
function checkKinds(values: object, path: string, kinds: Readonly<Record<string, Kind>>): void {
  for (const [name, value] of Object.entries(values)) {
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    if (kind === undefined) throw wrong("file-option", `${path}${name} is not an option of the file exporter.`);
    const demand = value === undefined ? undefined : demandOf(kind, value);
    if (demand !== undefined) throw wrong("file-option", `${path}${name} must be ${demand}.`);
  }
}

/** What a value should have been; undefined when it is. */
function demandOf(kind: Kind, value: unknown): string | undefined {
  switch (kind) {
    case "text":
      return typeof value === "string" ? undefined : "a text";
    case "switch":
      return typeof value === "boolean" ? undefined : "true or false";
    case "number":
      return typeof value === "number" ? undefined : "a number";
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value) ? undefined : "an object";
    case "names":
      return Array.isArray(value) && value.every((one) => typeof one === "string") ? undefined : "a list of texts";
    default:
      return kind.some((choice) => choice === value) ? undefined : `one of ${kind.join(", ")}`;
  }
}

function limit(name: string, value = 0): number {
  return between(name, value, 0, Number.MAX_SAFE_INTEGER) === 0 ? Infinity : value;
}

function between(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw wrong("file-option", `${name} must be a whole number from ${least} to ${most}, not ${value}.`);
}

function absolute(given: string | undefined): string | undefined {
  if (given === undefined || given === "") return undefined;
  if (given.includes("\0")) throw wrong("file-name", "A file name holds a NUL character.");
  return path.resolve(given);
}

function wrong(code: string, message: string): TargetConfigError {
  return new TargetConfigError(message, { code });
}
