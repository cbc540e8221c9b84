/**
 * A pool for programs: what is sent to it is stored once and delivered to every member, each at its own pace. Pools may
 * be members of pools; an exporter that is reached twice is one member.
 */
import type { FlushReport } from "../delivery/events.js";
import type { Routing } from "../record.js";
import type { ExporterStatus, Member } from "../runtime/member.js";
import { NotAcceptedError } from "../runtime/limits.js";
import { viewOf } from "../runtime/member-routing.js";
import type { Runtime } from "../runtime/runtime.js";
import type { Pool } from "../runtime/pool.js";
import type { DeadLetterBox } from "./dead-letters.js";
import { Exporter } from "./exporter.js";
import { held } from "./hold.js";
import { type CheckedRuntime, checkPoolNames, flushOf, OptionError, type SenderOptions } from "./options.js";
import type { RuntimeLease } from "./runtimes.js";
import { BOXES, INHERIT, MEMBERS, OPEN_MEMBERS, Sender } from "./sender.js";

export type PoolMember = Exporter | ExporterPool;

export interface ExporterPoolOptions extends SenderOptions {
  /** Who is in it from the start. Default: nobody. */
  readonly exporters?: Iterable<PoolMember>;
}

/** Who gets what is sent to a pool. */
interface Parts {
  /** They read the pool's queue. */
  readonly sharing: readonly Exporter[];
  /** A transform of their own, and none of a pool above it, makes other records for them: they keep these themselves. */
  readonly apart: readonly PoolMember[];
}

export class ExporterPool extends Sender<Pool> {
  readonly #options: ExporterPoolOptions;
  readonly #exporters: PoolMember[] = [];
  /** Pools that this one is in: whoever comes here comes there too. */
  readonly #outer = new Set<ExporterPool>();
  /** From the moment that members can be added. */
  #engine: { readonly pool: Pool; readonly runtime: Runtime } | undefined;
  #parts: Parts = { sharing: [], apart: [] };

  /** @throws {OptionError} when an option cannot be used */
  constructor(options: ExporterPoolOptions = {}) {
    super("pool", options);
    checkPoolNames(options);
    this.#options = options;
    for (const exporter of options.exporters ?? []) this.#take(exporter);
  }

  get exporters(): readonly PoolMember[] {
    return [...this.#exporters];
  }

  get length(): number {
    return this.#exporters.length;
  }

  [Symbol.iterator](): IterableIterator<PoolMember> {
    return this.exporters[Symbol.iterator]();
  }

  /**
   * Adds a member while running. It gets what is sent from now on; one that this pool knew in an earlier life goes on
   * where it was.
   * @throws {OptionError} when it is none, or another member has its name
   */
  async addExporter(exporter: PoolMember): Promise<void> {
    this.#take(exporter);
    await held(this.#follow());
  }

  #take(exporter: unknown): void {
    if (!(exporter instanceof Exporter || exporter instanceof ExporterPool)) {
      throw new OptionError("The members of a pool must be exporters or pools.");
    }
    if (this.#exporters.includes(exporter)) return;
    if (exporter instanceof ExporterPool && exporter.#holds(this)) {
      throw new OptionError("A pool cannot be a member of itself, nor of a pool inside it.");
    }
    this.#exporters.push(exporter);
    try {
      this.#look();
    } catch (error) {
      this.#exporters.pop();
      this.#look();
      throw error;
    }
    if (exporter instanceof ExporterPool) exporter.#outer.add(this);
    if (this.hasOwnRuntime) exporter[INHERIT](this.runtime);
  }

  #holds(pool: ExporterPool): boolean {
    return pool === this || this.#exporters.some((member) => member instanceof ExporterPool && member.#holds(pool));
  }

  /** Finds out anew who gets what, here and in the pools around. @throws {OptionError} when two have one name */
  #look(): void {
    const before = this.#parts;
    const sharing: Exporter[] = [];
    const apart: PoolMember[] = [];
    this.#collect(this.transform !== undefined, sharing, apart, new Set());
    checkNames(sharing);
    this.#parts = { sharing, apart };
    // From here on what is sent is theirs, although their queue is opened only later.
    for (const { name } of sharing) this.#engine?.pool.reserve(name);
    try {
      for (const outer of this.#outer) outer.#look();
    } catch (error) {
      this.#parts = before;
      throw error;
    }
  }

  #collect(isTransformed: boolean, sharing: Exporter[], apart: PoolMember[], seen: Set<PoolMember>): void {
    for (const member of this.#exporters) {
      if (seen.has(member)) continue;
      seen.add(member);
      if (!isTransformed && member.transform !== undefined) apart.push(member);
      else if (member instanceof ExporterPool) member.#collect(isTransformed, sharing, apart, seen);
      else sharing.push(member);
    }
  }

  /** Opens the members that are not open yet, here and in the pools around. */
  async #follow(): Promise<void> {
    await this.#openMembers();
    for (const outer of this.#outer) await outer.#follow();
  }

  async #openMembers(): Promise<void> {
    if (this.#engine === undefined) return;
    const { pool, runtime } = this.#engine;
    const inherited = flushOf(this.#options);
    for (const exporter of this.#parts.sharing) {
      if (pool.members.has(exporter.name)) continue;
      await pool.addMember(exporter.memberOptions(inherited));
      // What it had not sent before it came here is in a queue of its own: that goes on too.
      if (!exporter[INHERIT](this.runtime) || (await runtime.hasLeft(exporter.name))) await exporter.ready();
    }
  }

  protected override async openIn({ runtime }: RuntimeLease): Promise<Pool> {
    const flush = flushOf(this.#options);
    const pool = await runtime.openPool({ id: this.name, flush, transform: this.transform });
    this.#engine = { pool, runtime };
    try {
      await this.#openMembers();
    } catch (error) {
      this.#engine = undefined;
      await pool.close();
      throw error;
    }
    return pool;
  }

  override [INHERIT](runtime: CheckedRuntime): boolean {
    const isThere = super[INHERIT](runtime);
    for (const member of this.#exporters) member[INHERIT](this.runtime);
    return isThere;
  }

  /**
   * Sends data to all members, as `Exporter.send` does; `routing` holds for all, or for one: `"attic/collection"` is that
   * of the member `attic` alone. A member with a transform of its own, where no pool above it has one, has other records
   * than the rest: it keeps them in a queue of its own.
   */
  override async send(data: unknown, routing: Routing = {}): Promise<void> {
    const { sharing, apart } = this.#parts;
    if (sharing.length + apart.length === 0) throw new NotAcceptedError("no-members", "The pool has no exporters.");
    const sends = apart.map((member) => member.send(data, routingFor(member, routing)));
    if (sharing.length > 0) sends.push(super.send(data, routing));
    // Nobody's failure hides how it went for the others: all have their end before anybody hears of it.
    const results = await Promise.allSettled(sends);
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  override async ready(): Promise<void> {
    await Promise.all([super.ready(), ...this.#parts.apart.map((member) => member.ready())]);
  }

  /** Sends what waits for each member, now; resolves when each has tried everything, or cannot. By their names. */
  async sendUnsent(): Promise<ReadonlyMap<string, FlushReport>> {
    const here = await this[MEMBERS]();
    const members = [...this.#former(), ...here]; // so that of one name, the report of the pool's queue is told
    return new Map(await held(Promise.all(members.map(async (member) => [member.id, await member.flush()] as const))));
  }

  /** How each member stands, by its name. */
  async statuses(): Promise<ReadonlyMap<string, ExporterStatus>> {
    return new Map((await this[MEMBERS]()).map((member) => [member.id, member.status()]));
  }

  /** Closes the pool, and with it its exporters. */
  override close(): Promise<void> {
    return super.close();
  }

  protected override async closeAll(): Promise<void> {
    const members = this.#exporters.map((member) => () => member.close());
    const results = await Promise.allSettled([() => super.closeAll(), ...members].map((close) => close()));
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  override async [MEMBERS](): Promise<readonly Member[]> {
    const all = [super[MEMBERS](), ...this.#parts.apart.map((member) => member[MEMBERS]())];
    return (await Promise.all(all)).flat();
  }

  override [OPEN_MEMBERS](): readonly Member[] {
    return [...super[OPEN_MEMBERS](), ...this.#parts.apart.flatMap((member) => member[OPEN_MEMBERS]())];
  }

  override get hasUnsent(): boolean {
    return super.hasUnsent || this.#former().some((member) => member.status().waiting > 0);
  }

  /** What exporters had not sent before they came here, in queues of their own. */
  #former(): readonly Member[] {
    return this.#parts.sharing.flatMap((exporter) => exporter[OPEN_MEMBERS]());
  }

  override async [BOXES](): Promise<readonly DeadLetterBox[]> {
    const { queue, deadLetters } = await held(this.opened());
    const own: DeadLetterBox = {
      exporter: this.name,
      letters: deadLetters,
      requeue: (filter) => deadLetters.requeue(filter, (letter) => queue.requeue(letter)),
    };
    const all = [super[BOXES](), ...this.#parts.apart.map((member) => member[BOXES]())];
    return [own, ...(await Promise.all(all)).flat()];
  }
}

/** What a member that keeps its own records sees of a pool's routing; a pool finds its members' parts itself. */
function routingFor(member: PoolMember, routing: Routing): Routing {
  return member instanceof ExporterPool ? routing : viewOf(member.name)(routing);
}

function checkNames(exporters: readonly Exporter[]): void {
  const names = new Set<string>();
  for (const { name } of exporters) {
    if (names.has(name))
      throw new OptionError(`Two exporters of the pool are named "${name}": give each its own name.`);
    names.add(name);
  }
}
