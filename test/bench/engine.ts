/**
 * The engine as users get it: compiled, not as a TypeScript loader would hand it over. Built by `main.ts` into a folder
 * of its own, so that a build for something else does not pull it away in the middle of a run.
 */
import { join } from "node:path";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import type * as Engine from "../../src/index.js";
import type { LogRecord } from "../../src/record.js";
import type { Answer, Target, TargetTraits } from "../../src/targets/target.js";
import { builtFolder } from "./engine-path.js";
import { until } from "./measure.js";

export const engine = require(join(builtFolder, "src", "index.js")) as typeof Engine;

const folders = new Set<string>();
process.on("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A folder on the machine's disk that goes with the process. */
export function benchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "resilient-bench-"));
  folders.add(folder);
  return folder;
}

const TRAITS: TargetTraits = {
  ordered: false,
  maxBatchRecords: 10_000,
  maxBatchBytes: 16 * 1024 * 1024,
  resumes: false,
};

/** Takes everything at once and keeps nothing: what is measured is the engine. */
export class NullTarget implements Target {
  readonly traits: TargetTraits = TRAITS;
  delivered = 0;
  destinationOf(): string {
    return "";
  }
  open(): Promise<void> {
    return Promise.resolve();
  }
  deliver(batch: readonly LogRecord[]): Promise<Answer> {
    this.delivered += batch.length;
    return Promise.resolve({ outcomes: batch.map(() => engine.DELIVERED) });
  }
  probe(): Promise<void> {
    return Promise.resolve();
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** A target that is away, until `isUp` is set. */
export class AwayTarget extends NullTarget {
  isUp = false;
  override open(): Promise<void> {
    return this.#answer();
  }
  override deliver(batch: readonly LogRecord[]): Promise<Answer> {
    return this.isUp ? super.deliver(batch) : Promise.reject(away());
  }
  override probe(): Promise<void> {
    return this.#answer();
  }
  #answer(): Promise<void> {
    return this.isUp ? Promise.resolve() : Promise.reject(away());
  }
}

function away(): Error {
  return new engine.TargetUnavailableError("There is no way to it.");
}

export interface Opened {
  readonly folder: string;
  readonly runtime: Engine.Runtime;
  readonly exporter: Engine.Exporter;
  /** Waits for everything that was sent to be delivered. */
  delivered(): Promise<void>;
  close(): Promise<void>;
}

export interface OpenOptions {
  readonly target: Target;
  readonly folder?: string;
  readonly flush?: Partial<Engine.FlushSettings>;
  readonly id?: string;
}

export async function openEngine({
  target,
  folder = benchFolder(),
  flush = {},
  id = "bench",
}: OpenOptions): Promise<Opened> {
  const settings = { ...engine.DEFAULT_FLUSH, ...flush };
  const runtime = await engine.Runtime.open({ folder, flush: settings });
  const exporter = await runtime.openExporter({ id, target, flush: settings });
  return {
    folder,
    runtime,
    exporter,
    delivered: () => until("delivery", () => exporter.status().waiting === 0),
    close: () => runtime.close(),
  };
}

/** For `send` where nobody waits. @throws what it was refused for */
export function mustBeTaken(error?: Error): void {
  if (error !== undefined) throw error;
}
