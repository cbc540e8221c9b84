/**
 * Turns at a file among all targets of this process: two exporters may write to one file, and so may the queues of one
 * exporter that is fed by a pool as well. What takes several steps (a look and then an append, a shorter copy that
 * becomes the file, a cut) must not be mixed with the steps of another. Files are told by their path.
 */
import * as path from "node:path";

const last = new Map<string, Promise<void>>();

/** Does `work` while no other has a turn at any of these files. Asked for within a turn at one of them, it never ends. */
export async function inTurn<T>(paths: readonly string[], work: () => Promise<T>): Promise<T> {
  const keys = paths.map((at) => path.resolve(at));
  // In line at all of them at once: two who wait for each other cannot be.
  const before = keys.map((key) => last.get(key) ?? Promise.resolve());
  let end = (): void => undefined;
  const mine = new Promise<void>((resolve) => (end = resolve));
  for (const key of keys) last.set(key, mine);
  try {
    await Promise.all(before);
    return await work();
  } finally {
    end();
    for (const key of keys) if (last.get(key) === mine) last.delete(key);
  }
}
