/**
 * Why a payload cannot be kept, or kept bytes cannot be read. Its record is rejected with this reason; nothing waits
 * for it.
 */
export type PayloadErrorCode =
  /** The payload contains itself. */
  | "circular"
  /** Nested deeper than `MAX_DEPTH`. */
  | "too-deep"
  | "too-large"
  /** There is nothing to keep: undefined, a function or a symbol. */
  | "empty"
  /** A getter threw, a key contains NUL where BSON is needed, and the like. */
  | "unencodable"
  /** The bytes of a record are not what its codec tag says. */
  | "undecodable";

export class PayloadError extends Error {
  override readonly name = "PayloadError";
  readonly code: PayloadErrorCode;
  constructor(code: PayloadErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }

  /** Wraps whatever a payload's own code (a getter, a toJSON) or an encoder threw. */
  static from(error: unknown, code: "unencodable" | "undecodable"): PayloadError {
    if (error instanceof PayloadError) return error;
    const reason = error instanceof Error ? error.message : String(error);
    const message =
      code === "unencodable"
        ? `The payload cannot be stored: ${reason}`
        : `The stored payload cannot be read: ${reason}`;
    return new PayloadError(code, message, { cause: error });
  }
}
