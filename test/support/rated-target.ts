/** A target that takes so many records a second and no more, whoever sends how much at a time. */
import { type Clock, sleep } from "../../src/clock.js";
import { Rate } from "./rate.js";
import { ScriptedTarget } from "./scripted-target.js";

export class RatedTarget extends ScriptedTarget {
  readonly rate: Rate;

  /** @param roundTripMs what an answer takes beside the work */
  constructor(clock: Clock, perSecond: number, roundTripMs = 5) {
    super();
    this.rate = new Rate(clock, perSecond);
    this.script = async (batch) => {
      await this.rate.do(batch.length);
      await sleep(clock, roundTripMs);
      return { outcomes: this.store(batch) };
    };
  }
}
