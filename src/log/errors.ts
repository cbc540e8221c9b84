/** How a round of a log can fail. */

/** The disk did not do what was asked; the records are still in memory, and the next round tries again. */
export class StorageError extends Error {
  override readonly name = "StorageError";
  readonly code: string;
  constructor(message: string, cause: unknown) {
    super(message, { cause });
    this.code = (cause as NodeJS.ErrnoException).code ?? "storage";
  }
}

/** A target could not make durable what it had confirmed. The log itself is synced; that target's cursor stays behind. */
export class SettleError extends Error {
  override readonly name = "SettleError";
  readonly code: string;
  constructor(cause: Error) {
    super(`A target could not make durable what it has: ${cause.message}`, { cause });
    this.code = (cause as NodeJS.ErrnoException).code ?? "settle";
  }
}
