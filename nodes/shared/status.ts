/**
 * What a node shows under itself: one short line, the worst thing first.
 */
import type { NodeStatus } from "node-red";
import type { ExporterStatus } from "../../src/runtime/exporter.js";

/** Looks up a text of `flush-settings.json`, in the language that Node-RED runs in. */
export type Translate = (key: string, values?: Record<string, string | number>) => string;

/**
 * @param note what the kind of exporter adds about its destination
 * @param warning what is always shown, whatever the state
 */
export function statusOf(status: ExporterStatus, text: Translate, note = "", warning = ""): NodeStatus {
  const waiting = waitingText(status, text);
  const rest = joined([droppedText(status, text), warning]);
  const line = (key: string): string => joined([text(`status.${key}`), waiting, rest]);

  if (status.storage !== undefined) {
    return { fill: "red", shape: "ring", text: line(status.storage.ofTarget === true ? "targetDisk" : "storage") };
  }
  if (status.problem?.configuration === true) return { fill: "red", shape: "ring", text: line("config") };
  if (status.circuit === "open") return { fill: "yellow", shape: "ring", text: line("down") };
  if (status.paused) return { fill: "grey", shape: "ring", text: line("paused") };
  if (status.circuit === "halfOpen") return { fill: "yellow", shape: "dot", text: line("trying") };
  if (status.problem?.code === "no-answer") return { fill: "yellow", shape: "ring", text: line("noAnswer") };
  if (status.problem?.code === "clock") return { fill: "yellow", shape: "ring", text: line("clock") };
  if (status.problem?.code === "throttled") return { fill: "yellow", shape: "dot", text: line("busy") };
  if (status.problem !== undefined) return { fill: "yellow", shape: "dot", text: line("held") };
  if (status.waiting > 0) {
    return { fill: "green", shape: "dot", text: joined([waiting, note, rest]) };
  }
  return { fill: "green", shape: "dot", text: joined([text("status.ready"), note, rest]) };
}

/** "12 waiting, oldest 3 min"; empty when nothing waits. */
function waitingText(status: ExporterStatus, text: Translate): string {
  if (status.waiting === 0) return "";
  const count = text("status.waiting", { count: status.waiting });
  // Below a second nothing is late: an age would only flicker.
  if (status.oldestAgeMs === undefined || status.oldestAgeMs < 1_000) return count;
  return joined([count, text("status.oldest", { age: ageText(status.oldestAgeMs, text) })]);
}

function droppedText(status: ExporterStatus, text: Translate): string {
  return joined([
    status.dropped === 0 ? "" : text("status.dropped", { count: status.dropped }),
    status.deadLetters === 0 ? "" : text("status.rejected", { count: status.deadLetters }),
    status.filtered === 0 ? "" : text("status.filtered", { count: status.filtered }),
  ]);
}

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000],
] as const;

/** In the largest unit that leaves at least 1, rounded down: "3 min". */
export function ageText(ageMs: number, text: Translate): string {
  const [unit, ms] = UNITS.find(([, size]) => ageMs >= size) ?? UNITS[3];
  return text(`age.${unit}`, { n: Math.floor(ageMs / ms) });
}

function joined(parts: readonly string[]): string {
  return parts.filter((part) => part !== "").join(", ");
}
