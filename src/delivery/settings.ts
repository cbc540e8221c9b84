/**
 * What the user can choose about how an exporter delivers. Durability, budgets and overflow belong to the log.
 */
export interface DeliverySettings {
  /** Most records of one batch. The batch size adapts below it. [1, 100_000], default 5_000. */
  readonly batchRecords: number;
  /** Most payload bytes of one batch. [1_024, 64 MiB], default 1 MiB. A larger record travels alone. */
  readonly batchBytes: number;
  /**
   * How long records wait for company when a batch is small, in ms. [0, 60_000], default 100: short beside the write
   * interval, so that what a healthy target confirms never reaches the disk.
   */
  readonly batchWaitMs: number;
  /** Most batches under way at one time. [1, 64], default 4. It adapts below that; targets that keep order use 1. */
  readonly concurrency: number;
  /** One batch in flight, each destination strictly in order of acceptance. Default false. */
  readonly strictOrder: boolean;
  /** New records go first, what waited in an outage goes beside them. Ignored under strict order. Default false. */
  readonly liveFirst: boolean;
  /** Payload bytes per second on a metered link. Undefined (the default): no limit. */
  readonly bytesPerSecond: number | undefined;
  /** Longest first wait after a failure, in ms. [10, 3_600_000], default 1_000. */
  readonly backoffMinMs: number;
  /** Longest wait after any number of failures, in ms. Default 300_000. */
  readonly backoffMaxMs: number;
  /**
   * Records older than this, by acceptance, go to the dead letters when an attempt to deliver them fails; in ms.
   * Undefined (the default): never.
   */
  readonly giveUpAfterMs: number | undefined;
  /** Nothing is sent while the wall clock cannot be trusted. Default false. */
  readonly waitForClock: boolean;
  /** On request: nothing is sent before `flush` is called. Default automatic. */
  readonly sending: "automatic" | "onRequest";
  /** False: each record is sent once, and one that could not be delivered is dropped and counted. Default true. */
  readonly keepUnsent: boolean;
  /** How many rejections of one kind, and nothing else, hold a destination. Undefined: off. Default 20. */
  readonly rejectGuard: number | undefined;
}

export const DEFAULT_DELIVERY_SETTINGS: DeliverySettings = {
  batchRecords: 5_000,
  batchBytes: 1024 * 1024,
  batchWaitMs: 100,
  concurrency: 4,
  strictOrder: false,
  liveFirst: false,
  bytesPerSecond: undefined,
  backoffMinMs: 1_000,
  backoffMaxMs: 300_000,
  giveUpAfterMs: undefined,
  waitForClock: false,
  sending: "automatic",
  keepUnsent: true,
  rejectGuard: 20,
};
