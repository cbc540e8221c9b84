/**
 * What a pool shows under itself: how many members are up, and how much waits for one of them at least.
 */
import type { NodeStatus } from "node-red";
import { SettleError } from "../../src/log/errors.js";
import type { ExporterStatus } from "../../src/runtime/member.js";
import { type Translate, ageText } from "../shared/status.js";

export interface MemberView {
  readonly id: string;
  /** Wired, and not there: its place waits. */
  readonly isDisabled: boolean;
  /** Undefined while it is being opened, and when it is disabled. */
  readonly status: ExporterStatus | undefined;
  readonly waiting: number;
}

export interface PoolView {
  readonly members: readonly MemberView[];
  /** No longer wired: what waits there is for the user to decide about. */
  readonly orphans: readonly { readonly id: string; readonly waiting: number }[];
  /** Records that somebody still needs. */
  readonly waiting: number;
  /** Never accepted: the transform failed, or the payload cannot be stored. */
  readonly rejected: number;
  readonly filtered: number;
  /** The newest, not taken for want of room. */
  readonly dropped: number;
  /** Trouble with the queue folder. */
  readonly storage: Error | undefined;
}

/** @param text of all nodes @param own of the pool */
export function poolStatus(view: PoolView, text: Translate, own: Translate): NodeStatus {
  const { members, orphans, waiting, rejected, filtered, dropped, storage } = view;
  const statuses = members.flatMap(({ status }) => (status === undefined ? [] : [status]));
  const up = statuses.filter(isUp).length;
  const rejectedByAll = statuses.reduce((sum, status) => sum + status.deadLetters, rejected);
  const droppedByAll = statuses.reduce((sum, status) => sum + status.dropped, dropped);
  const oldestAgeMs = Math.max(0, ...statuses.map((status) => status.oldestAgeMs ?? 0));
  const line = [
    storage === undefined ? "" : text(storage instanceof SettleError ? "status.targetDisk" : "status.storage"),
    members.length === 0 ? own("status.noMembers") : own("status.up", { up, count: members.length }),
    waiting === 0 ? "" : text("status.waiting", { count: waiting }),
    // Below a second nothing is late: an age would only flicker.
    oldestAgeMs < 1_000 ? "" : text("status.oldest", { age: ageText(oldestAgeMs, text) }),
    droppedByAll === 0 ? "" : text("status.dropped", { count: droppedByAll }),
    rejectedByAll === 0 ? "" : text("status.rejected", { count: rejectedByAll }),
    filtered === 0 ? "" : text("status.filtered", { count: filtered }),
    orphans.length === 0 ? "" : own("status.orphans", { count: orphans.length }),
  ];
  const told = line.filter((part) => part !== "").join(", ");
  if (storage !== undefined || members.length === 0) return { fill: "red", shape: "ring", text: told };
  if (up < members.length) return { fill: "yellow", shape: up === 0 ? "ring" : "dot", text: told };
  return { fill: "green", shape: "dot", text: told };
}

function isUp({ circuit, paused, problem }: ExporterStatus): boolean {
  return circuit === "closed" && !paused && problem === undefined;
}
