/**
 * Exporters of one program that keep their queues in the same folder share a runtime: opened by the first, closed with
 * the last.
 */
import { Runtime } from "../runtime/runtime.js";
import { DEFAULT_FLUSH } from "../runtime/settings.js";
import { type CheckedRuntime, OptionError } from "./options.js";

export interface RuntimeLease {
  readonly runtime: Runtime;
  /** Safe to call twice. */
  release(): Promise<void>;
}

interface Shared {
  readonly opening: Promise<Runtime>;
  readonly settings: CheckedRuntime["settings"];
  /** Of the queues that are open: two owners of one would write over each other. */
  readonly names: Set<string>;
  users: number;
}

const shared = new Map<string, Shared>();

/**
 * @param name of the queue that is to be opened
 * @throws {OptionError} when the name is taken, or the folder is open with other settings
 * @throws {FolderInUseError} when another process has the folder, and errors of the disk
 */
export async function leaseRuntime(checked: CheckedRuntime, name: string): Promise<RuntimeLease> {
  const { folder } = checked;
  let entry = shared.get(folder);
  if (entry === undefined) {
    entry = { opening: open(checked), settings: checked.settings, names: new Set(), users: 0 };
    shared.set(folder, entry);
  }
  const mine = entry;
  checkAgreement(checked, mine.settings);
  if (mine.names.has(name)) {
    throw new OptionError(
      `Two exporters or pools with queues in ${folder} are named "${name}": give each a name of its own.`,
    );
  }
  mine.names.add(name);
  mine.users++;
  const leave = (): boolean => {
    mine.names.delete(name);
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

function open({ folder, probe, settings }: CheckedRuntime): Promise<Runtime> {
  const { memoryBytes, diskBytes, probeIntervalMs } = settings;
  const options = { folder, flush: DEFAULT_FLUSH, memoryBytes, diskBytes, probeIntervalMs };
  return Runtime.open(probe === undefined ? options : { ...options, probe });
}

/** One folder has one budget: what somebody asks for and does not get should not go unnoticed. */
function checkAgreement({ folder, given }: CheckedRuntime, settings: CheckedRuntime["settings"]): void {
  for (const [name, value] of Object.entries(given)) {
    const there = settings[name as keyof typeof settings];
    if (there === value) continue;
    throw new OptionError(`The queues in ${folder} are open with ${name} ${String(there)}, not ${String(value)}.`);
  }
}
