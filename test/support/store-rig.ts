/**
 * A runtime's store over a simulated disk and a clock that is moved by hand, with exporters whose targets follow a
 * script: everything between a sender and the disk, in no time.
 */
import type { Files, OpenFile } from "../../src/files.js";
import type { Compression } from "../../src/log/format/compression.js";
import type { Routing } from "../../src/record.js";
import { Exporter, type ExporterOptions } from "../../src/runtime/exporter.js";
import { LogStore, type StoreEvent } from "../../src/runtime/log-store.js";
import { DEFAULT_FLUSH, type FlushSettings } from "../../src/runtime/settings.js";
import { FakeClock } from "./fake-clock.js";
import { ScriptedTarget } from "./scripted-target.js";
import { SimDisk } from "./sim-disk.js";

/** Deflating is done by other threads, which no fake clock waits for. */
export const uncompressed: Compression = {
  deflate: () => Promise.resolve(undefined),
  inflate: () => Promise.reject(new Error("nothing was deflated")),
};

const NO_NETWORK = {
  up: () => undefined,
  down: () => undefined,
  forget: () => undefined,
  onOnline: () => () => undefined,
};

export interface StoreRigOptions {
  readonly clock?: FakeClock;
  readonly files?: Files;
  readonly memoryBytes?: number;
  readonly diskBytes?: number;
}

export class StoreRig {
  readonly clock: FakeClock;
  readonly store: LogStore;
  readonly events: StoreEvent[] = [];

  constructor({ clock = new FakeClock(), files = new SimDisk(), ...budgets }: StoreRigOptions = {}) {
    this.clock = clock;
    this.store = new LogStore({
      folder: "/q",
      identity: Buffer.alloc(16, 9),
      clock,
      files,
      compression: uncompressed,
      memoryBytes: 32 * 1024 * 1024,
      diskBytes: 1024 ** 3,
      ...budgets,
      monitor: NO_NETWORK,
      onEvent: (event) => this.events.push(event),
    });
  }

  /** An exporter whose target is away until the test says otherwise. */
  async exporter(
    id: string,
    flush: Partial<FlushSettings> = {},
    options: Partial<ExporterOptions> & { target?: ScriptedTarget } = {},
  ): Promise<{ readonly exporter: Exporter; readonly target: ScriptedTarget }> {
    const { target = awayTarget() } = options;
    const exporter = await Exporter.open(this.store, {
      ...options,
      id,
      target,
      flush: { ...DEFAULT_FLUSH, ...flush },
    });
    return { exporter, target };
  }

  async close(): Promise<void> {
    const closing = this.store.close();
    await this.clock.advance(5_000);
    await closing;
  }
}

export function awayTarget(): ScriptedTarget {
  const target = new ScriptedTarget();
  target.isUp = false;
  return target;
}

/** What became of a message. */
export interface Sent {
  isDone: boolean;
  error: NodeJS.ErrnoException | undefined;
}

export function send(exporter: Exporter, payload: unknown, routing: Routing = {}): Sent {
  const sent: Sent = { isDone: false, error: undefined };
  exporter.send(payload, routing, (error) => Object.assign(sent, { isDone: true, error }));
  return sent;
}

/** A simulated disk whose syncs take time, and which notes how many ran at once. */
export class SlowDisk extends SimDisk {
  syncMs = 0;
  syncs = 0;
  mostSyncsAtOnce = 0;
  /** Time spent in syncs. */
  busyMs = 0;
  #running = 0;
  readonly #clock: FakeClock;

  constructor(clock: FakeClock) {
    super();
    this.#clock = clock;
  }

  override async create(path: string): Promise<OpenFile> {
    const file = await super.create(path);
    return {
      write: (bytes, position) => file.write(bytes, position),
      writeNow: (bytes, position) => file.writeNow(bytes, position),
      read: (into, position) => file.read(into, position),
      sync: () => this.#slowly(() => file.sync()),
      close: () => file.close(),
    };
  }

  async #slowly(sync: () => Promise<void>): Promise<void> {
    this.syncs++;
    this.mostSyncsAtOnce = Math.max(this.mostSyncsAtOnce, ++this.#running);
    this.busyMs += this.syncMs;
    if (this.syncMs > 0) await new Promise<void>((resolve) => this.#clock.after(this.syncMs, resolve));
    this.#running--;
    await sync();
  }
}
