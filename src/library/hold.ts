/**
 * Keeps the process alive while a program waits for something of ours. The engine's own timers do not: Node-RED, or a
 * program that is done, may end at any time. But `await exporter.send(...)` must come back, not end the program.
 */
import { holdProcess } from "../clock.js";

let waiting = 0;
let letGo: () => void = () => undefined;

/** Resolves or rejects as the work does. */
export async function held<T>(work: Promise<T>): Promise<T> {
  if (waiting++ === 0) letGo = holdProcess();
  try {
    return await work;
  } finally {
    if (--waiting === 0) letGo();
  }
}
