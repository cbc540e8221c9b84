/**
 * Kinds of days a log may have. Each leans on another part of the rules: what is rare everywhere else is usual in one
 * of these.
 */
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { BytesError } from "../../src/log/format/bytes.js";
import type { Compression } from "../../src/log/format/compression.js";
import type { Call } from "../support/sim-disk.js";

export interface Scenario {
  readonly name: string;
  /** Its share among the others. */
  readonly weight: number;
  readonly segmentBytes: number;
  readonly compression: Compression;
  /** Chance of EIO, by kind of call. */
  readonly eio: Readonly<Partial<Record<Call, number>>>;
  /** Chance, each step, that the disk becomes nearly full; and that it becomes read-only. */
  readonly full: number;
  readonly readOnly: number;
  /** Who reads, in every life. */
  readonly consumers: readonly string[];
  /** More come and go while running, and between lives. */
  readonly members: boolean;
  /** The target of consumer `b` makes durable only when it is asked to. */
  readonly settles: boolean;
  /** Chance that it cannot in all of the first life; in the others it fails now and then. */
  readonly unsettled: number;
  /** Chance, each step, that a budget is full and something is given up. */
  readonly drops: number;
  /** Payloads that look like blocks. */
  readonly forged: boolean;
  /** Chance that a crash of the first life is followed by a life that crashes as well. */
  readonly nested: number;
  /** Share of what happens: accept, write, sync; the rest is delivery. */
  readonly accept: number;
  readonly write: number;
  readonly sync: number;
  /** Records that are taken at once, at most. */
  readonly take: number;
}

const asIs: Compression = {
  deflate: () => Promise.resolve(undefined),
  inflate: () => Promise.reject(new BytesError("nothing is deflated here")),
};

/** The real format, without the thread pool. */
const deflated: Compression = {
  deflate: (body) => Promise.resolve(body.length < 64 ? undefined : deflateRawSync(body, { level: 1 })),
  inflate(stored, rawLength) {
    try {
      const body = inflateRawSync(stored, { maxOutputLength: Math.max(1, rawLength) });
      if (body.length !== rawLength) throw new BytesError("another length");
      return Promise.resolve(body);
    } catch (error) {
      return Promise.reject(error instanceof BytesError ? error : new BytesError("not deflated", { cause: error }));
    }
  },
};

const usual: Scenario = {
  name: "usual",
  weight: 4,
  segmentBytes: 600,
  compression: asIs,
  eio: { sync: 0.02, write: 0.01 },
  full: 0.02,
  readOnly: 0,
  consumers: ["a", "b"],
  members: false,
  settles: false,
  unsettled: 0,
  drops: 0,
  forged: false,
  nested: 0.06,
  accept: 0.4,
  write: 0.2,
  sync: 0.15,
  take: 8,
};

export const SCENARIOS: readonly Scenario[] = [
  usual,
  { ...usual, name: "rolling", weight: 2, segmentBytes: 300, sync: 0.2, eio: {} },
  {
    ...usual,
    name: "backups",
    weight: 1,
    segmentBytes: 300,
    nested: 0.4,
    accept: 0.15,
    write: 0.25,
    sync: 0.25,
    take: 40,
    eio: {},
  },
  { ...usual, name: "draining", weight: 2, segmentBytes: 300, accept: 0.2, write: 0.2, sync: 0.2, take: 40, eio: {} },
  { ...usual, name: "full disk", weight: 2, full: 0.15, eio: {}, write: 0.3, sync: 0.1 },
  {
    ...usual,
    name: "full disk after a restart",
    weight: 1,
    segmentBytes: 300,
    nested: 0.3,
    full: 0.2,
    accept: 0.25,
    write: 0.25,
    sync: 0.1,
    take: 40,
    eio: {},
  },
  {
    ...usual,
    name: "failing disk",
    weight: 2,
    eio: { sync: 0.15, write: 0.08, syncFolder: 0.1, remove: 0.05, create: 0.05, read: 0.01 },
  },
  { ...usual, name: "read-only remounts", weight: 1, readOnly: 0.08, eio: {} },
  { ...usual, name: "members", weight: 2, members: true, nested: 0.1 },
  { ...usual, name: "restarts", weight: 2, nested: 0.2, write: 0.3, sync: 0.05 },
  { ...usual, name: "settling", weight: 1, settles: true, nested: 0.1, eio: {} },
  {
    ...usual,
    name: "settling on a failing disk",
    weight: 1,
    consumers: ["b"],
    settles: true,
    unsettled: 0.8,
    nested: 0.3,
    eio: { sync: 0.3, write: 0.1 },
    accept: 0.25,
    write: 0.3,
    sync: 0.2,
    take: 40,
  },
  { ...usual, name: "full budgets", weight: 1, drops: 0.15, accept: 0.5, members: true, segmentBytes: 400 },
  { ...usual, name: "deflated", weight: 1, compression: deflated, segmentBytes: 500, accept: 0.5 },
  { ...usual, name: "forged", weight: 1, forged: true, segmentBytes: 2_000 },
];

export function pickScenario(random: () => number, name?: string): Scenario {
  const wanted = SCENARIOS.find((scenario) => scenario.name === name);
  if (wanted !== undefined) return wanted;
  let rest = random() * SCENARIOS.reduce((sum, { weight }) => sum + weight, 0);
  for (const scenario of SCENARIOS) if ((rest -= scenario.weight) < 0) return scenario;
  return usual;
}
