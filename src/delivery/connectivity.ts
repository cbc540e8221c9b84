/**
 * What a delivery tells a monitor of the network, and hears from it. `connectivity/monitor.ts` is the real one. Only
 * for targets that are reached over the network: that a file can be written says nothing of it.
 */
export interface Connectivity {
  /** `who` has reached its target. */
  up(who: object): void;
  /** `who` cannot reach its target. */
  down(who: object, cause: Error): void;
  /** `who` is gone. */
  forget(who: object): void;
  /** Calls back when the network, or another target, has returned; returns the way to stop that. */
  onOnline(listener: () => void): () => void;
}
