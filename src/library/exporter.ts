/**
 * An exporter for programs: made at once, opened at first use. Subclass it for a target of your own.
 */
import type { FlushReport } from "../delivery/events.js";
import type { Routing } from "../record.js";
import type { Exporter as EngineExporter } from "../runtime/exporter.js";
import type { ExporterStatus, MemberOptions } from "../runtime/member.js";
import type { Done } from "../runtime/queue.js";
import type { Target } from "../targets/target.js";
import type { Transform } from "../transform.js";
import { type CommonOptions, flushOf, runtimeOf, transformOf } from "./options.js";
import { reportOf } from "./report.js";
import { leaseRuntime, type RuntimeLease } from "./runtimes.js";

/** What exporters and pools have in common. */
export abstract class Sender<Opened extends { send: EngineExporter["send"]; close(): Promise<void> }> {
  readonly name: string;
  readonly transform: Transform | undefined;
  readonly #options: CommonOptions;
  #opening: Promise<Opened> | undefined;
  #opened: Opened | undefined;
  #lease: RuntimeLease | undefined;
  #closed: Promise<void> | undefined;

  /** @throws {OptionError} when an option cannot be used */
  constructor(name: string, options: CommonOptions) {
    this.name = options.name ?? name;
    this.#options = options;
    this.transform = transformOf(options);
    flushOf(options);
    runtimeOf(options);
  }

  /**
   * Sends data; an array is many records. Resolves when it is accepted at the durability that was chosen (`interval` by
   * default: it is on its way to the disk); with `delivered`, when the target has confirmed it.
   * @throws when it could not be accepted: the queue is full or closed, the transform failed, the data cannot be encoded
   */
  async send(data: unknown, routing: Routing = {}): Promise<void> {
    const opened = this.#opened ?? (await this.#open());
    return new Promise((resolve, reject) => {
      const done: Done = (error) => (error === undefined ? resolve() : reject(error));
      opened.send(data, routing, done, routing);
    });
  }

  /** Opens the queue, as the first `send` would. @throws {FolderInUseError} and errors of the disk */
  async ready(): Promise<void> {
    await this.#open();
  }

  protected async opened(): Promise<Opened> {
    return this.#opened ?? (await this.#open());
  }

  #open(): Promise<Opened> {
    if (this.#closed !== undefined) return Promise.reject(new Error(`${this.name} is closed`));
    return (this.#opening ??= this.#openOnce().catch((error: unknown) => {
      this.#opening = undefined; // the next call tries anew
      throw error;
    }));
  }

  async #openOnce(): Promise<Opened> {
    const lease = await leaseRuntime(runtimeOf(this.#options));
    try {
      this.#opened = await this.openIn(lease);
      this.#lease = lease;
      return this.#opened;
    } catch (error) {
      await lease.release();
      throw error;
    }
  }

  protected abstract openIn(lease: RuntimeLease): Promise<Opened>;

  /** Writes and syncs what waits, and lets go of everything. What was not delivered is sent after the next start. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  async #close(): Promise<void> {
    try {
      const opened = await this.#opening;
      await opened?.close();
    } finally {
      await this.#lease?.release();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

export abstract class Exporter extends Sender<EngineExporter> {
  readonly #options: CommonOptions;
  #engine: EngineExporter | undefined;

  /** @param name of the queue when the options give none */
  constructor(name: string, options: CommonOptions = {}) {
    super(name, options);
    this.#options = options;
  }

  /** Makes the target that records are delivered to: once for the exporter itself, and once for each pool it is in. */
  protected abstract createTarget(): Target;

  /** What a pool needs to have this exporter as a member. */
  memberOptions(): MemberOptions {
    const { onReport, onRejected, onStatus } = this.#options;
    return {
      id: this.name,
      target: this.createTarget(),
      flush: flushOf(this.#options),
      onRejected,
      onStatus,
      onEvent: (event) => {
        if (event.kind === "answered") onReport?.(reportOf(event));
      },
    };
  }

  protected override async openIn({ runtime }: RuntimeLease): Promise<EngineExporter> {
    return (this.#engine = await runtime.openExporter({ ...this.memberOptions(), transform: this.transform }));
  }

  /** Records wait in the queue. Known once the exporter is open. */
  get hasUnsent(): boolean {
    return (this.#engine?.status().waiting ?? 0) > 0;
  }

  /** Sends what waits, now. Resolves when all of it has been tried, or as soon as the target cannot be used. */
  async sendUnsent(): Promise<FlushReport> {
    return (await this.opened()).flush();
  }

  async status(): Promise<ExporterStatus> {
    return (await this.opened()).status();
  }
}
