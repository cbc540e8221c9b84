/**
 * Real readings as payloads: ten years of weather from the package vega-datasets, as a station would send them, and
 * what this machine says of itself. Random bytes would not compress, and repeated ones would compress too well.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectFolder } from "../support/servers-cache.js";

export type Reading = Readonly<Record<string, unknown>>;

function table(name: string): Record<string, string | number>[] {
  const path = join(projectFolder, "node_modules", "vega-datasets", "data", name);
  const [head, ...lines] = readFileSync(path, "utf8").trim().split(/\r?\n/);
  const columns = head!.split(",");
  return lines.map((line) => {
    const row: Record<string, string | number> = {};
    for (const [i, text] of line.split(",").entries()) {
      row[columns[i]!] = text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
    }
    return row;
  });
}

/** Readings of about 100 bytes of JSON: one day of weather each. */
export function readings100(): Reading[] {
  return table("seattle-weather.csv");
}

/**
 * Of about 1 KiB: what a gateway sends that collects for a while, nine hours or days of a station in one message. Parsed
 * from text, as an input node does it and as the peers get them over IPC: objects that were put together and trimmed by
 * hand take JSON.stringify twice as long.
 */
export function readings1k(): Reading[] {
  const days = table("weather.csv");
  const messages: Reading[] = [];
  for (let i = 0; i + 9 <= days.length; i += 9) {
    const rows = days.slice(i, i + 9);
    const { location } = rows[0]!;
    messages.push({
      station: location!,
      sequence: i / 9,
      readings: rows.map(withoutLocation),
    });
  }
  return JSON.parse(JSON.stringify(messages)) as Reading[];
}

export function averageBytes(readings: readonly Reading[]): number {
  return readings.reduce((sum, reading) => sum + Buffer.byteLength(JSON.stringify(reading)), 0) / readings.length;
}

function withoutLocation(row: Record<string, string | number>): Reading {
  const reading = { ...row };
  delete reading["location"];
  return reading;
}
