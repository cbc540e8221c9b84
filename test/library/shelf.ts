/**
 * What the tests of this folder share: a target that keeps what arrives on a shelf, exporters of it as a user of the
 * library would write them, and programs whose exporters are all closed after the test.
 */
import { join } from "node:path";
import { readFileSync } from "node:fs";
import {
  type Answer,
  type CommonOptions,
  decode,
  DELIVERED,
  DUPLICATE,
  Exporter,
  type LogRecord,
  type Rejection,
  type Routing,
  type Sender,
  type Target,
  TargetUnavailableError,
  uuidText,
} from "../../src/index.js";
import { tempFolder } from "../support/temp-folder.js";

export interface Item {
  readonly id: string;
  readonly payload: unknown;
  readonly routing: Routing;
}

/** The other end: it knows ids, goes away and comes back, and never takes what it refuses. */
export class Shelf {
  readonly items: Item[] = [];
  readonly #ids = new Set<string>();
  /** Batches that were offered while it was there, and attempts while it was not. */
  offers = 0;
  attempts = 0;
  isUp = true;
  /** Loses the answer to the next batch, which it has stored. */
  losesAnswer = false;
  refuses: (payload: unknown) => Rejection | undefined = () => undefined;
  /** Each batch waits for this. */
  delay: Promise<void> = Promise.resolve();

  get payloads(): unknown[] {
    return this.items.map(({ payload }) => payload);
  }

  target(): Target {
    return {
      traits: { ordered: true, maxBatchRecords: 1_000, maxBatchBytes: 1024 * 1024, resumes: false },
      destinationOf: () => "shelf",
      open: async () => this.#reach(),
      probe: async () => this.#reach(),
      close: async () => undefined,
      deliver: async (batch) => {
        this.#reach();
        await this.delay;
        return this.#store(batch);
      },
    };
  }

  #reach(): void {
    this.attempts++;
    if (!this.isUp) throw new TargetUnavailableError("the shelf is not there", { code: "ECONNREFUSED" });
  }

  #store(batch: readonly LogRecord[]): Answer {
    this.offers++;
    const outcomes = batch.map((record) => {
      const payload = decode(record);
      const id = uuidText(record.id);
      const cause = this.refuses(payload);
      if (cause !== undefined) return { kind: "rejected", cause } as const;
      if (this.#ids.has(id)) return DUPLICATE;
      this.#ids.add(id);
      this.items.push({ id, payload, routing: { ...record.routing } });
      return DELIVERED;
    });
    if (this.losesAnswer) {
      this.losesAnswer = false;
      throw new TargetUnavailableError("the answer was lost", { code: "ECONNRESET" });
    }
    return { outcomes };
  }
}

export class ShelfExporter extends Exporter {
  readonly #shelf: Shelf;

  constructor(shelf: Shelf, options: CommonOptions = {}) {
    super("shelf", options);
    this.#shelf = shelf;
  }

  protected override createTarget(): Target {
    return this.#shelf.target();
  }
}

/** Confirmed by the target when `send` resolves, without waiting for company: what most tests want. */
export const CONFIRMED = { durability: "delivered", batchWaitMs: 0 } as const;

/** The exporters of one program, with one folder for their queues. */
export class Program {
  readonly folder = tempFolder();
  readonly #senders: Sender[] = [];

  get runtime(): { readonly folder: string } {
    return { folder: join(this.folder, "queues") };
  }

  /** Closed at the end of the program. */
  use<T extends Sender>(sender: T): T {
    this.#senders.push(sender);
    return sender;
  }

  shelfExporter(shelf: Shelf, options: CommonOptions = {}): ShelfExporter {
    return this.use(new ShelfExporter(shelf, { runtime: this.runtime, flush: CONFIRMED, ...options }));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  lines(name: string): string[] {
    return readFileSync(this.path(name), "utf8").split("\n").slice(0, -1);
  }

  async end(): Promise<void> {
    for (const sender of this.#senders.splice(0).reverse()) await sender.close();
  }
}

export function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = (): void => undefined;
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}
