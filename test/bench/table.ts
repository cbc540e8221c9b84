/** The table that is printed. */
import type { Row } from "./figure.js";

export function tableOf(rows: readonly Row[]): string {
  const lines = rows.map((row) => [row.figure, verdictOf(row), valueOf(row), row.reach, row.peer]);
  lines.unshift(["figure", "", "value", "reach", "beside"]);
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map(
      (line) =>
        line
          .map((text, i) => text.padEnd(widths[i]!))
          .join("  ")
          .trimEnd() + "\n",
    )
    .join("");
}

export function valueOf({ value, unit }: Row): string {
  if (value === null) return "-";
  const digits = value === 0 || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}`;
}

function verdictOf({ holds }: Row): string {
  if (holds === null) return "skipped";
  return holds ? "holds" : "MISSES";
}
