/**
 * A pool for programs: what is sent to it is stored once and delivered to every member, each at its own pace. Pools may
 * be members of pools; an exporter that is reached twice is one member.
 */
import type { Routing } from "../record.js";
import type { Pool } from "../runtime/pool.js";
import type { ExporterStatus } from "../runtime/member.js";
import { type Exporter, Sender } from "./exporter.js";
import { type CommonOptions, flushOf } from "./options.js";
import type { RuntimeLease } from "./runtimes.js";

export type PoolMember = Exporter | ExporterPool;

export interface ExporterPoolOptions extends Omit<CommonOptions, "onReport" | "onRejected" | "onStatus"> {
  readonly exporters?: readonly PoolMember[];
}

export class ExporterPool extends Sender<Pool> {
  readonly #options: ExporterPoolOptions;
  readonly #exporters: PoolMember[];
  #pool: Pool | undefined;

  /** @throws {OptionError} when an option cannot be used */
  constructor(options: ExporterPoolOptions = {}) {
    const { exporters = [], ...common } = options;
    super("pool", common);
    this.#options = options;
    this.#exporters = [...exporters];
  }

  get exporters(): readonly PoolMember[] {
    return this.#exporters;
  }

  get length(): number {
    return this.#exporters.length;
  }

  [Symbol.iterator](): IterableIterator<PoolMember> {
    return this.#exporters[Symbol.iterator]();
  }

  /** Adds a member while running: it starts at the present, or goes on where it was. */
  async addExporter(exporter: PoolMember): Promise<void> {
    this.#exporters.push(exporter);
    if (this.#pool !== undefined) await this.#addTo(this.#pool);
  }

  /**
   * Sends data to all members, as `Exporter.send` does. A member with a transform of its own, where no pool above it has
   * one, has other records than the rest: it keeps them in a queue of its own.
   */
  override async send(data: unknown, routing: Routing = {}): Promise<void> {
    const apart = this.transform === undefined ? this.#apart() : [];
    await Promise.all([super.send(data, routing), ...apart.map((exporter) => exporter.send(data, routing))]);
  }

  #apart(): Exporter[] {
    return this.leaves().filter(({ transform }) => transform !== undefined);
  }

  /** The exporters that records reach, those of inner pools included, each once. */
  leaves(seen = new Set<PoolMember>()): Exporter[] {
    const found: Exporter[] = [];
    seen.add(this);
    for (const member of this.#exporters) {
      if (seen.has(member)) continue;
      seen.add(member);
      if (member instanceof ExporterPool) found.push(...member.leaves(seen));
      else found.push(member);
    }
    return found;
  }

  protected override async openIn({ runtime }: RuntimeLease): Promise<Pool> {
    const pool = await runtime.openPool({ id: this.name, flush: flushOf(this.#options), transform: this.transform });
    try {
      await this.#addTo(pool);
    } catch (error) {
      await pool.close();
      throw error;
    }
    return (this.#pool = pool);
  }

  async #addTo(pool: Pool): Promise<void> {
    const apart = new Set(this.transform === undefined ? this.#apart() : []);
    for (const exporter of this.leaves()) {
      if (!apart.has(exporter) && !pool.members.has(exporter.name)) await pool.addMember(exporter.memberOptions());
    }
  }

  /** Records wait for at least one member. Known once the pool is open. */
  get hasUnsent(): boolean {
    return [...(this.#pool?.statuses().values() ?? [])].some(({ waiting }) => waiting > 0);
  }

  /** Sends what waits for each member, now; resolves when all have tried, or cannot. */
  async sendUnsent(): Promise<void> {
    const { members } = await this.opened();
    await Promise.all([...members.values()].map((member) => member.flush()));
  }

  /** How each member stands, by its name. */
  async statuses(): Promise<ReadonlyMap<string, ExporterStatus>> {
    return (await this.opened()).statuses();
  }
}
