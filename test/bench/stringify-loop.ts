/** The least that anyone can do with a record: its JSON, written into a Buffer. Nothing is kept, checked or counted. */
import type { Reading } from "./readings.js";

const buffer = Buffer.allocUnsafeSlow(64 * 1024);

export function stringifyInto(readings: readonly Reading[], count: number): void {
  let at = 0;
  for (let i = 0; i < count; i++) {
    const text = JSON.stringify(readings[i % readings.length]);
    if (at + text.length > buffer.length) at = 0;
    at += buffer.write(text, at);
  }
}
