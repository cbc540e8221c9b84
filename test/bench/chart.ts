import type { Row } from "./figure.js";
export function chart(_rows: readonly Row[]): string {
  return "";
}
