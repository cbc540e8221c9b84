/**
 * What chaos needs of a target: how a flow names it, how it is taken away and given back, and what has arrived in it.
 * One such object per kind of target; `file-subject.ts` is the first.
 */
import type { Flow } from "../support/node-red.js";

export interface Subject {
  readonly name: string;
  /** The exporter's node, as `chaosFlow` takes it. */
  readonly exporter: Readonly<Record<string, unknown>>;
  /** What is wired behind it; the exporter's `wires` say how. */
  readonly members?: Flow;
  /** Several targets: each must have everything. */
  readonly parts?: readonly Subject[];
  /** Records arrive in order of acceptance. */
  readonly inOrder: boolean;
  /** Takes the target away, in a way picked by `pick` (0 to below 1). Returns that way, in words. */
  hold(pick: number): Promise<string>;
  /** Gives it back. Safe when it is not held. */
  release(): Promise<void>;
  /** The records that have arrived, in the target's order. */
  arrived(): AsyncIterable<unknown>;
  close(): Promise<void>;
}
