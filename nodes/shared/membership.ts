/**
 * What exporter nodes and pool nodes know of each other. They recognise each other by these marks, not by the names of
 * their types, so that exporters of other packages can be members too.
 */
import type { Node, NodeMessageInFlow } from "node-red";
import type { Routing } from "../../src/record.js";
import type { ExporterStatus, Member, MemberOptions } from "../../src/runtime/member.js";
import { NodeError } from "./errors.js";
import type { Steered } from "./commands.js";

/** On a node that can be a member of a pool: a `PoolMember`. */
export const MEMBER = Symbol.for("resilient-exporters/member");
/** On a pool node, beside its `PoolMember`: that what is wired to it belongs to the pools it is a member of. */
export const POOL = Symbol.for("resilient-exporters/pool");
/** On a message that a pool has sent on: a `StoredFor`. */
export const STORED = Symbol.for("resilient-exporters/stored");

/** What a pool uses of the engine's member; tests script it. */
export type MemberHandle = Pick<Member, "status" | keyof Steered>;

export interface PoolMember {
  readonly id: string;
  /** It makes records of its own of what it is sent: without a pool's transform above it, it has to keep these itself. */
  readonly hasTransform: boolean;
  /** True when `routingOf` gives a promise. */
  readonly routesLater: boolean;
  /** As `ExporterKind.routingOf`. */
  routingOf(message: NodeMessageInFlow): Routing | Promise<Routing>;
  /** The pool stores for it from now on. Called once per pool, before `part`. */
  join(pool: FeedingPool): void;
  /** The pool no longer stores for it. */
  part(pool: FeedingPool): Promise<void>;
}

/** What a member uses of a pool. */
export interface FeedingPool {
  readonly id: string;
  /** Begins to deliver from the member's place, as soon as the pool is open. @throws when the pool is closed before */
  deliver(options: () => MemberOptions): Promise<MemberHandle>;
  /** Ends that. The place stays, and what waits there. Safe to call twice. */
  release(id: string): Promise<void>;
}

/**
 * Tells a node that has this message in its hands whether the pool has stored it for that node, once: the same message
 * may reach it a second time through other nodes, and is then a message of its own. A function, because clones of the
 * message must share it.
 */
export type StoredFor = (nodeId: string) => boolean;

export function storedFor(ids: Iterable<string>): StoredFor {
  const open = new Set(ids);
  return (id) => open.delete(id);
}

export function isStoredFor(message: object, nodeId: string): boolean {
  const stored: unknown = (message as Record<symbol, unknown>)[STORED];
  return typeof stored === "function" && (stored as StoredFor)(nodeId);
}

export function markStored(message: object, stored: StoredFor): void {
  (message as Record<symbol, unknown>)[STORED] = stored;
}

export function memberOf(node: Node | null | undefined): PoolMember | undefined {
  return (node as unknown as Record<symbol, PoolMember | undefined> | null | undefined)?.[MEMBER];
}

export function isPool(node: object): boolean {
  return (node as Record<symbol, unknown>)[POOL] === true;
}

interface Place {
  handle: MemberHandle | undefined;
  status: ExporterStatus | undefined;
}

/** The places of one exporter in pools. */
export class Places {
  readonly #id: string;
  readonly #places = new Map<FeedingPool, Place>();

  constructor(id: string) {
    this.#id = id;
  }

  get size(): number {
    return this.#places.size;
  }

  get handles(): MemberHandle[] {
    return [...this.#places.values()].flatMap(({ handle }) => (handle === undefined ? [] : [handle]));
  }

  /** How each delivery stands, as last heard. */
  get statuses(): ExporterStatus[] {
    return [...this.#places.values()].flatMap(({ status }) => (status === undefined ? [] : [status]));
  }

  /** @param options made when the pool is open; their `onStatus` is called when `statuses` has changed */
  async join(pool: FeedingPool, options: () => MemberOptions): Promise<void> {
    const place: Place = { handle: undefined, status: undefined };
    this.#places.set(pool, place);
    place.handle = await pool.deliver(() => {
      if (this.#places.get(pool) !== place) throw new NodeError("closed", "It has left the pool meanwhile.");
      const { onStatus, ...rest } = options();
      return {
        ...rest,
        onStatus: (status) => {
          place.status = status;
          onStatus?.(status);
        },
      };
    });
  }

  async leave(pool: FeedingPool): Promise<void> {
    if (this.#places.delete(pool)) await pool.release(this.#id);
  }

  /** Leaves all pools; goes on though one fails. */
  async leaveAll(): Promise<void> {
    const results = await Promise.allSettled([...this.#places.keys()].map((pool) => this.leave(pool)));
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }
}
