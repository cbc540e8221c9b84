/**
 * The engine as users get it: compiled, not as a TypeScript loader would hand it over. Built by `main.ts` into a folder
 * of its own, so that a build for something else does not pull it away in the middle of a run.
 */
import { join } from "node:path";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import type { LogRecord } from "../../src/record.js";
import type { Exporter } from "../../src/runtime/exporter.js";
import type * as Runtimes from "../../src/runtime/runtime.js";
import type * as Settings from "../../src/runtime/settings.js";
import type * as ElasticsearchOptions from "../../src/targets/elasticsearch/options.js";
import type * as Elasticsearch from "../../src/targets/elasticsearch/target.js";
import type * as Files from "../../src/targets/file/target.js";
import type * as MongoOptions from "../../src/targets/mongodb/options.js";
import type * as Mongo from "../../src/targets/mongodb/target.js";
import type * as Targets from "../../src/targets/target.js";
import type { Answer, Target, TargetTraits } from "../../src/targets/target.js";
import { builtFolder } from "./engine-path.js";
import { pause, until } from "./measure.js";

/** What the nodes use of the engine. */
export const engine = {
  ...built<typeof Runtimes>("runtime", "runtime.js"),
  ...built<typeof Settings>("runtime", "settings.js"),
  ...built<typeof Targets>("targets", "target.js"),
  ...built<typeof Files>("targets", "file", "target.js"),
  ...built<typeof MongoOptions>("targets", "mongodb", "options.js"),
  ...built<typeof Mongo>("targets", "mongodb", "target.js"),
  ...built<typeof ElasticsearchOptions>("targets", "elasticsearch", "options.js"),
  ...built<typeof Elasticsearch>("targets", "elasticsearch", "target.js"),
};

function built<T>(...path: string[]): T {
  return require(join(builtFolder, "src", ...path)) as T;
}

const folders = new Set<string>();
process.on("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A folder on the machine's disk that goes with the process. */
export function benchFolder(under: string = tmpdir()): string {
  const folder = mkdtempSync(join(under, "resilient-bench-"));
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
  readonly runtime: Runtimes.Runtime;
  readonly exporter: Exporter;
  /** Waits for everything that was sent to be delivered. */
  delivered(): Promise<void>;
  close(): Promise<void>;
}

export interface OpenOptions {
  readonly target: Target;
  readonly folder?: string;
  readonly flush?: Partial<Settings.FlushSettings>;
  readonly diskBytes?: number;
  readonly id?: string;
}

export async function openEngine({
  target,
  folder = benchFolder(),
  flush = {},
  diskBytes,
  id = "bench",
}: OpenOptions): Promise<Opened> {
  const settings = { ...engine.DEFAULT_FLUSH, ...flush };
  const runtime = await engine.Runtime.open({
    folder,
    flush: settings,
    ...(diskBytes === undefined ? {} : { diskBytes }),
  });
  const exporter = await runtime.openExporter({ id, target, flush: settings });
  return {
    folder,
    runtime,
    exporter,
    delivered: () => emptied(exporter),
    close: () => runtime.close(),
  };
}

/** Waits for as long as it goes forward. @throws when nothing was delivered for a minute */
async function emptied(exporter: Exporter): Promise<void> {
  for (;;) {
    const { waiting } = exporter.status();
    if (waiting === 0) return;
    await until(`the delivery of one of ${waiting} records`, () => exporter.status().waiting < waiting);
  }
}

/** For `send` where nobody waits. @throws what it was refused for */
export function mustBeTaken(error?: Error): void {
  if (error !== undefined) throw error;
}

/** Sends without end: as fast as it is taken, waiting a moment where the queue has no room. Yields to the event loop. */
export async function sendAll(exporter: Exporter, payloads: readonly unknown[], count: number): Promise<void> {
  let refused: Error | undefined;
  const done = (error?: Error): void => {
    refused = error;
  };
  for (let i = 0; i < count;) {
    for (let turn = 0; turn < SENT_PER_TURN && i < count; turn++) {
      exporter.send(payloads[i % payloads.length], NO_ROUTING, done);
      if (refused !== undefined) break;
      i++;
    }
    if (refused === undefined) await nextTurn();
    else if ((refused as Error & { code?: string }).code === "queue-full") await pause(1);
    else throw refused;
    refused = undefined;
  }
}

const SENT_PER_TURN = 200;
const NO_ROUTING = {};

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
