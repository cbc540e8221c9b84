/** How the command line says things: sizes, times, numbers of things; and where it says them. */
import { systemClock } from "../clock.js";

export interface Output {
  /** A line of the result. Resolves when there is room for more. */
  line(text: string): Promise<void>;
  /** What is no result, on stderr. */
  note(text: string): void;
}

export function count(number: number, one: string, many = `${one}s`): string {
  return `${number.toLocaleString("en-US")} ${number === 1 ? one : many}`;
}

export function bytesText(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return unit === 0 ? `${bytes} bytes` : `${value.toFixed(1)} ${units[unit]}`;
}

/** A time of acceptance. What a damaged block says may be no time at all. */
export function timeText(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? "unknown" : date.toISOString();
}

const DURATIONS = [
  { unit: "d", ms: 86_400_000 },
  { unit: "h", ms: 3_600_000 },
  { unit: "min", ms: 60_000 },
  { unit: "s", ms: 1_000 },
];

/** How long ago that was, roughly. */
export function ageText(time: string): string {
  const age = Math.max(0, systemClock.wallMs() - Date.parse(time));
  const { unit, ms } = DURATIONS.find((duration) => age >= duration.ms) ?? DURATIONS.at(-1)!;
  return `${Math.floor(age / ms)} ${unit} ago`;
}
