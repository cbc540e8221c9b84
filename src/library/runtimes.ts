/**
 * Exporters of one program that keep their queues in the same folder share a runtime: opened by the first, closed with
 * the last.
 */
import { resolve } from "node:path";
import { Runtime } from "../runtime/runtime.js";
import { type Budgets, DEFAULT_FLUSH } from "../runtime/settings.js";

export interface RuntimeLease {
  readonly runtime: Runtime;
  /** Safe to call twice. */
  release(): Promise<void>;
}

interface Shared {
  readonly opening: Promise<Runtime>;
  users: number;
}

const shared = new Map<string, Shared>();

/** @throws {FolderInUseError} when another process has the folder, and errors of the disk */
export async function leaseRuntime(settings: { folder: string } & Budgets): Promise<RuntimeLease> {
  const folder = resolve(settings.folder);
  let entry = shared.get(folder);
  if (entry === undefined) {
    entry = { opening: Runtime.open({ ...settings, folder, flush: DEFAULT_FLUSH }), users: 0 };
    shared.set(folder, entry);
  }
  const mine = entry;
  mine.users++;
  const leave = (): boolean => {
    mine.users--;
    if (mine.users > 0) return false;
    if (shared.get(folder) === mine) shared.delete(folder);
    return true;
  };
  try {
    const runtime = await mine.opening;
    let released: Promise<void> | undefined;
    return { runtime, release: () => (released ??= leave() ? runtime.close() : Promise.resolve()) };
  } catch (error) {
    leave(); // so that the next one tries anew
    throw error;
  }
}
