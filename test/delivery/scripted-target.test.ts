/**
 * The shared suite on the scripted target: it shows that the suite, and the loop beneath it, hold without any server.
 */
import type { LogRecord } from "../../src/record.js";
import { DELIVERED } from "../../src/targets/target.js";
import type { Answer, Outcome } from "../../src/targets/target.js";
import { ScriptedTarget } from "../support/scripted-target.js";
import { describeTarget } from "../support/target-suite.js";
import type { TargetBench } from "../support/target-suite.js";

const DEADLINE_MS = 300;

/** Ends a delivery that takes too long, as a real target must. */
class ImpatientTarget extends ScriptedTarget {
  override async deliver(batch: readonly LogRecord[], signal: AbortSignal): Promise<Answer> {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(new Error("no answer in time")), DEADLINE_MS);
    try {
      return await super.deliver(batch, AbortSignal.any([signal, deadline.signal]));
    } finally {
      clearTimeout(timer);
    }
  }
}

describeTarget("the scripted target", {
  oncePer: "id",
  can: { stop: true, mute: true, poison: true },
  deadlineMs: DEADLINE_MS,
  async make({ isStarted }): Promise<TargetBench> {
    const target = new ImpatientTarget();
    target.isUp = isStarted;
    target.script = (batch) => ({ outcomes: batch.map((record) => outcomeOf(target, record)) });
    return {
      target,
      another: () => target,
      readBack: async () => target.arrived,
      poison: () => ({ routing: { poison: "yes" } }),
      stop: async () => void (target.isUp = false),
      start: async () => void (target.isUp = true),
      mute: async () => target.mute(),
      unmute: async () => target.unmute(),
      dispose: async () => {},
    };
  },
});

function outcomeOf(target: ScriptedTarget, record: LogRecord): Outcome {
  if (record.routing["poison"] !== undefined) {
    return { kind: "rejected", cause: { code: "poison", message: "this record can never be taken" } };
  }
  return target.store([record])[0] ?? DELIVERED;
}
