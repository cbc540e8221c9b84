/**
 * Patience with a target that makes durable what it has: a network file system whose server is gone lets fdatasync hang
 * for as long as it likes, and nobody else may wait for that. The call is left to end by itself, and no other is begun
 * beside it.
 */
import type { Clock } from "../../clock.js";

/**
 * A card that collects its garbage takes a second or two; Node-RED gives a close 15 s, of which the delivery may have
 * taken three.
 */
export const SETTLE_PATIENCE_MS = 5_000;

/** The target still has not ended what it was asked for. */
export class SettleLateError extends Error {
  override readonly name = "SettleLateError";
  readonly code = "settle-late";
  /** Resolves when it has, after all; rejects when it has failed. */
  readonly ended: Promise<void>;
  /** How long this call has waited. */
  readonly waitedMs: number;

  constructor(ended: Promise<void>, waitedMs: number) {
    super(`it has not answered for ${SETTLE_PATIENCE_MS / 1_000} s, as a network disk does whose server is gone`);
    this.ended = ended;
    this.waitedMs = waitedMs;
  }
}

/**
 * The same as `settle`, but whoever waits for it is let go after a while.
 * @returns a function that throws {@link SettleLateError} then, and at once while a call that was late is still under way
 */
export function patiently(settle: () => Promise<void>, clock: Clock): () => Promise<void> {
  let late: Promise<void> | undefined;
  return () => {
    if (late !== undefined) return Promise.reject(new SettleLateError(late, 0));
    const settling = settle();
    return new Promise((resolve, reject) => {
      const timer = clock.after(SETTLE_PATIENCE_MS, () => {
        late = settling;
        reject(new SettleLateError(settling, SETTLE_PATIENCE_MS));
      });
      const onEnd = (): void => {
        timer.cancel();
        if (late === settling) late = undefined;
      };
      settling.finally(onEnd).then(resolve, reject);
    });
  };
}
