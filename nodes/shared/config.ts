/**
 * What the editor sent, read with its types checked: a flow file may be old, written by hand or damaged.
 */

/** A node's configuration as it comes from the flow file. */
export type RawConfig = Readonly<Record<string, unknown>>;

export function textOf(config: object, name: string, otherwise = ""): string {
  const value = (config as RawConfig)[name];
  return typeof value === "string" ? value : otherwise;
}

export function switchOf(config: object, name: string, otherwise: boolean): boolean {
  const value = (config as RawConfig)[name];
  if (value === true || value === "true") return true;
  if (value === false || value === "false") return false;
  return otherwise;
}

export function valueOf(config: object, name: string): unknown {
  return (config as RawConfig)[name];
}
