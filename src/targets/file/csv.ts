/**
 * Rows of comma-separated values, quoted as RFC 4180 says; rows end with a line feed alone, as every other line here.
 * @see https://www.rfc-editor.org/rfc/rfc4180
 */
import { decodeJson } from "../../codec.js";
import type { LogRecord } from "../../record.js";

export interface CsvOptions {
  /** Properties of the payload, in order. `a.b` is property b of a, unless there is a property named "a.b". */
  readonly columns: readonly string[];
  readonly header: boolean;
  readonly separator: string;
  readonly formulaSafe: boolean;
}

/** A spreadsheet takes text that begins like this for a formula. @see https://owasp.org/www-community/attacks/CSV_Injection */
const FORMULA = /^[=+\-@\t\r]/;

export function csvHeader(options: CsvOptions): string {
  return row(options.columns, options);
}

/** An array fills the columns by place, any other value than an object the first. */
export function csvRow(record: LogRecord, options: CsvOptions): string {
  const payload = decodeJson(record);
  if (Array.isArray(payload))
    return row(
      options.columns.map((_, i) => payload[i] as unknown),
      options,
    );
  if (typeof payload !== "object" || payload === null)
    return row(
      options.columns.map((_, i) => (i === 0 ? payload : null)),
      options,
    );
  return row(
    options.columns.map((column) => property(payload, column)),
    options,
  );
}

function row(values: readonly unknown[], options: CsvOptions): string {
  const line = values.map((value) => cell(value, options)).join(options.separator);
  // An empty line would be no row at all to most readers.
  return line === "" ? '""' : line;
}

function cell(value: unknown, { separator, formulaSafe }: CsvOptions): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  let text = typeof value === "string" ? value : JSON.stringify(value);
  if (formulaSafe && typeof value === "string" && FORMULA.test(text)) text = `'${text}`;
  const needsQuotes = text.includes('"') || text.includes(separator) || text.includes("\n") || text.includes("\r");
  return needsQuotes ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Own properties only: a column named `constructor` is empty, not a function. */
function property(value: object, column: string): unknown {
  if (Object.hasOwn(value, column)) return (value as Record<string, unknown>)[column];
  let at: unknown = value;
  for (const part of column.split(".")) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, part)) return undefined;
    at = (at as Record<string, unknown>)[part];
  }
  return at;
}
