/**
 * A process with a queue whose target is away, told over IPC what to send: run by `real-disk-calls.test.ts`, which has
 * its file calls fail. Tells each trouble with the folder, and how things stand when it is asked.
 */
import { closeSync, openSync } from "node:fs";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { awayTarget } from "../support/store-rig.js";

export type Order =
  | { readonly kind: "send"; readonly count: number }
  /** Opens files until there are no descriptors left, or lets go of them. */
  | { readonly kind: "hog"; readonly on: boolean }
  | { readonly kind: "report" };

export interface Told {
  /** The code of each error with the folder that was told, in order; "" when it was said to be over. */
  readonly troubles: readonly string[];
  readonly waiting: number;
  readonly unwritten: number;
  readonly unsynced: number;
  /** As the status of the exporter has it at the moment. */
  readonly storage: string | undefined;
  readonly refused: number;
  /** Longest that a send took, in ms. */
  readonly longestSendMs: number;
}

async function run(): Promise<void> {
  const [folder] = process.argv.slice(2) as [string];
  const troubles: string[] = [];
  const flush = { ...DEFAULT_FLUSH, writeIntervalMs: 20, syncIntervalMs: 100 };
  const runtime = await Runtime.open({
    folder,
    flush,
    onEvent: (event) => {
      if (event.kind !== "storage") return;
      const { trouble } = event;
      troubles.push(trouble === undefined ? "" : ((trouble as NodeJS.ErrnoException).code ?? trouble.message));
    },
  });
  const exporter = await runtime.openExporter({ id: "a", target: awayTarget(), flush });
  const { log } = exporter.queue;
  const hogged: number[] = [];
  let sent = 0;
  let refused = 0;
  let longestSendMs = 0;

  const send = (count: number): void => {
    for (let i = 0; i < count; i++) {
      const startedMs = performance.now();
      // Does not compress to nothing, so that a write has enough bytes to be torn.
      const noise = Array.from({ length: 30 }, (_, k) => ((sent * 7919 + k * 104_729) % 1_000_003).toString(36)).join(
        "",
      );
      exporter.send({ n: sent++, noise }, {}, (error) => {
        if (error !== undefined) refused++;
      });
      longestSendMs = Math.max(longestSendMs, performance.now() - startedMs);
    }
  };
  const hog = (on: boolean): void => {
    if (!on) for (const fd of hogged.splice(0)) closeSync(fd);
    try {
      while (on) hogged.push(openSync("/dev/null", "r"));
    } catch {
      /* EMFILE: as many as there are */
    }
  };

  process.on("message", (order: Order) => {
    if (order.kind === "send") send(order.count);
    if (order.kind === "hog") hog(order.on);
    const told: Told = {
      troubles,
      waiting: exporter.status().waiting,
      unwritten: log.unwrittenBytes,
      unsynced: log.unsyncedBytes,
      storage: exporter.status().storage?.code,
      refused,
      longestSendMs,
    };
    process.send!(told);
  });
  process.send!("ready");
}

void run();
