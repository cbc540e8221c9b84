/** A chart of the figures for the README: how far beyond, or below, what each has to reach. Plain SVG, no fonts of its own. */
import type { Row } from "./figure.js";
import { valueOf } from "./table.js";

const ROW = 22;
const LABEL = 140;
const BAR = 320;
const TEXT = 480;
/** Bars end here: ten times better than asked needs no longer one. */
const MOST = 10;
const SKIPPED = "#8c959f";
const HOLDS = "#2da44e";
const MISSES = "#cf222e";
/** Characters that fit beside a bar. */
const MOST_TEXT = 68;

/** @param machine what it was measured on, as a line below the chart */
export function chart(rows: readonly Row[], machine: string): string {
  const height = (rows.length + 3) * ROW;
  const width = LABEL + BAR + TEXT;
  const line = LABEL + lengthOf(1);
  const bars = rows.map((row, i) => bar(row, rows[i - 1]?.figure, (i + 1) * ROW));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`,
    ` font-family="sans-serif" font-size="12" role="img" aria-label="Measured figures beside what they have to reach">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...bars,
    `<line x1="${line}" y1="${ROW * 0.6}" x2="${line}" y2="${height - 2 * ROW}" stroke="#24292f" stroke-dasharray="3 3"/>`,
    `<text x="${line + 4}" y="${height - ROW * 1.3}" fill="#24292f">what it has to reach</text>`,
    `<text x="${LABEL}" y="${height - ROW * 0.4}" fill="#57606a">${escaped(machine)}</text>`,
    "</svg>\n",
  ].join("\n");
}

function bar(row: Row, above: string | undefined, y: number): string {
  const length = row.value === null ? 0 : lengthOf(marginOf(row, row.value));
  const colour = row.holds === null ? SKIPPED : row.holds ? HOLDS : MISSES;
  const text = row.value === null ? row.peer : `${valueOf(row)} (${row.reach}) · ${peerOf(row)}`;
  const label = row.figure === above ? "" : row.figure;
  return [
    `<text x="${LABEL - 8}" y="${y + 14}" text-anchor="end" fill="#24292f">${escaped(label)}</text>`,
    `<rect x="${LABEL}" y="${y + 3}" width="${Math.max(2, length).toFixed(1)}" height="${ROW - 8}" rx="2" fill="${colour}"/>`,
    `<text x="${LABEL + BAR + 8}" y="${y + 14}" fill="#57606a">${escaped(shortened(text))}</text>`,
    `<title>${escaped(`${row.what}. ${row.peer}`)}</title>`,
  ].join("");
}

/** What it is measured beside, without the numbers. */
function peerOf({ peer }: Row): string {
  return peer.split(/: |; /)[0]!;
}

function shortened(text: string): string {
  return text.length <= MOST_TEXT ? text : `${text.slice(0, MOST_TEXT - 1)}…`;
}

/** How many times better than asked; below 1 it misses. */
function marginOf({ reach }: Row, value: number): number {
  const [sign, bound] = reach.split(" ") as [string, string];
  if (sign === ">=") return value / Number(bound);
  return value <= 0 ? MOST : Number(bound) / value;
}

/** On a logarithmic scale, from a tenth of what is asked to ten times of it. */
function lengthOf(margin: number): number {
  const bounded = Math.min(MOST, Math.max(1 / MOST, margin));
  return (BAR * (Math.log10(bounded) + 1)) / 2;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
