/**
 * Clients shared by targets with equal connection settings: the first borrower makes one, the last to return it closes
 * it. What a client is, and how it is made and closed, is each target's `connection.ts`.
 */
import { createHash } from "node:crypto";

/** A share in a client. */
export interface Lease<Client> {
  readonly client: Client;
  /** Gives the share back; the last one closes the client. Safe to call twice. */
  release(): Promise<void>;
}

interface Shared<Client> {
  readonly client: Client;
  borrowers: number;
}

export class SharedClients<Settings, Client> {
  readonly #clients = new Map<string, Shared<Client>>();
  readonly #make: (settings: Settings) => Client;
  readonly #close: (client: Client) => Promise<void>;

  /** `close` is bounded by itself: whoever releases waits for it. */
  constructor(make: (settings: Settings) => Client, close: (client: Client) => Promise<void>) {
    this.#make = make;
    this.#close = close;
  }

  /** @throws what `make` throws; then nothing is kept. */
  borrow(settings: Settings): Lease<Client> {
    const key = fingerprint(settings);
    let shared = this.#clients.get(key);
    if (shared === undefined) {
      shared = { client: this.#make(settings), borrowers: 0 };
      this.#clients.set(key, shared);
    }
    shared.borrowers++;
    return this.#lease(key, shared);
  }

  #lease(key: string, shared: Shared<Client>): Lease<Client> {
    let returned: Promise<void> | undefined;
    const release = async (): Promise<void> => {
      shared.borrowers--;
      if (shared.borrowers > 0) return;
      this.#clients.delete(key);
      await this.#close(shared.client);
    };
    return { client: shared.client, release: () => (returned ??= release()) };
  }
}

/** Equal settings, in whatever order their keys stand, give equal text. Hashed, so that no password is kept as a key. */
function fingerprint(settings: unknown): string {
  const sorted = JSON.stringify(settings, (_, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : value,
  );
  return createHash("sha256").update(sorted).digest("base64");
}
