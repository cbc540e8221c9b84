/**
 * Chaos with an oracle: a real Node-RED is fed and killed again and again, its target is taken away and given back, and
 * in the end everything promised must be in the target, once.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type NodeRed, startNodeRed } from "../support/node-red.js";
import type { NodeRedVersion } from "../support/node-red-install.js";
import { chaosFlow, withoutSource } from "./flow.js";
import { Ledger, type Verdict } from "./ledger.js";
import { Strain } from "./strain.js";
import type { Subject } from "./subject.js";
import { Witness } from "./witness.js";

/** Unconfirmed records are written within a second. */
const WRITTEN_WITHIN_MS = 1_000;
/** What the round itself may add to it; what a machine with other work adds is measured. */
const MARGIN_MS = 1_500;
/** An outage ends for the exporter when it looks again, and its waits grow with the outage. From then on something comes. */
const DELIVERED_WITHIN_MS = 300_000;

export interface ChaosOptions {
  readonly version: NodeRedVersion;
  readonly subject: Subject;
  readonly random: () => number;
  readonly messagesPerSecond: number;
  /** In how many lives the target goes or comes in the middle, 0 to 1. Default 0.5. */
  readonly turnChance?: number;
  /** Where Node-RED lives; stays after `close`. Default: a folder that goes with it. */
  readonly userDir?: string;
  /** Hears a line for each thing that is done. */
  readonly onStep?: (step: string) => void;
}

export interface ChaosResult extends Verdict {
  readonly kills: number;
  readonly accepted: number;
}

export class Chaos {
  readonly #options: ChaosOptions;
  readonly #witness: Witness;
  readonly #nodeRed: NodeRed;
  readonly #strain: Strain;
  readonly #ledger = new Ledger();
  readonly #flow: ReturnType<typeof chaosFlow>;
  #kills = 0;
  #isHeld = false;

  private constructor(
    options: ChaosOptions,
    witness: Witness,
    nodeRed: NodeRed,
    strain: Strain,
    flow: ReturnType<typeof chaosFlow>,
  ) {
    this.#options = options;
    this.#witness = witness;
    this.#nodeRed = nodeRed;
    this.#strain = strain;
    this.#flow = flow;
  }

  static async start(options: ChaosOptions): Promise<Chaos> {
    const { version, subject, messagesPerSecond, userDir } = options;
    const witness = await Witness.listen();
    try {
      const flow = chaosFlow({
        exporter: subject.exporter,
        members: subject.members ?? [],
        witnessPort: witness.port,
        messagesPerSecond,
      });
      const nodeRed = await startNodeRed(version, { flows: flow, ...(userDir === undefined ? {} : { userDir }) });
      return new Chaos(options, witness, nodeRed, new Strain(nodeRed.userDir), flow);
    } catch (error) {
      await witness.close();
      throw error;
    }
  }

  get nodeRed(): NodeRed {
    return this.#nodeRed;
  }

  /** Lets it run for a random while, kills it, and starts it again. */
  async kill(): Promise<void> {
    const { random, turnChance = 0.5 } = this.#options;
    // Long enough for something to be promised, however late things are.
    const lifeMs = 2_700 + random() * 1_800 + this.#strain.worstMs;
    const turnsAtMs = random() * lifeMs;
    // Where the target goes or comes in the middle, it stays so over the kill.
    if (random() < turnChance) {
      await wait(turnsAtMs);
      await this.#turn();
      await wait(lifeMs - turnsAtMs);
    } else await wait(lifeMs);
    await this.#end("kill");
    // The target may come and go while nobody looks.
    if (random() < 0.3) await this.#turn();
    if (random() < 0.2) await this.#killWhileStarting();
    await this.#nodeRed.restart();
  }

  /** Ends in order, gives the target back, waits until it has everything, and judges. */
  async finish(): Promise<ChaosResult> {
    await this.#end("stop");
    if (this.#isHeld) await this.#turn();
    await writeFile(join(this.#nodeRed.userDir, "flows.json"), JSON.stringify(withoutSource(this.#flow)));
    await this.#nodeRed.restart();
    let giveUpAt = performance.now() + DELIVERED_WITHIN_MS;
    let verdict = await this.#verdict();
    for (let arrived = verdict.arrived; verdict.violations.length > 0 && performance.now() < giveUpAt;) {
      await wait(500);
      verdict = await this.#verdict();
      // What still comes is late, not lost.
      if (verdict.arrived > arrived) giveUpAt = performance.now() + DELIVERED_WITHIN_MS;
      arrived = verdict.arrived;
    }
    await this.#nodeRed.stop();
    // What is in flight when all that was promised is there must not arrive twice either.
    verdict = await this.#verdict();
    return { ...verdict, kills: this.#kills, accepted: this.#ledger.accepted };
  }

  async close(): Promise<void> {
    await this.#strain.close();
    await this.#nodeRed.remove();
    await this.#witness.close();
    await this.#options.subject.close();
  }

  async #verdict(): Promise<Verdict> {
    const { subject } = this.#options;
    const violations: string[] = [];
    let arrived = Number.POSITIVE_INFINITY;
    let checked = 0;
    for (const [i, part] of (subject.parts ?? [subject]).entries()) {
      const verdict = await this.#ledger.check(part.arrived(), part);
      violations.push(
        ...verdict.violations.map((what) => (subject.parts === undefined ? what : `member ${i}: ${what}`)),
      );
      arrived = Math.min(arrived, verdict.arrived);
      checked = verdict.checked;
    }
    return { checked, arrived, violations };
  }

  async #turn(): Promise<void> {
    const { subject, random, onStep } = this.#options;
    if (this.#isHeld) {
      await subject.release();
      onStep?.("the target is back");
    } else {
      const how = await subject.hold(random());
      onStep?.(`the target is away: ${how}`);
    }
    this.#isHeld = !this.#isHeld;
  }

  async #end(how: "kill" | "stop"): Promise<void> {
    const endedAtMs = performance.now();
    const { worstMs } = this.#strain;
    if (how === "kill") {
      await this.#nodeRed.kill9();
      this.#kills++;
    } else await this.#nodeRed.stop();
    const accepted = await this.#witness.take();
    this.#ledger.endLife(accepted, endedAtMs, how === "kill" ? WRITTEN_WITHIN_MS + MARGIN_MS + worstMs : 0);
    const { lives, promised } = this.#ledger;
    const strain = worstMs < 100 ? "" : `, things are ${Math.round(worstMs)} ms late`;
    this.#options.onStep?.(
      `${how} ${lives}: ${accepted.length} accepted in this life, ${promised} promised so far${strain}`,
    );
  }

  async #killWhileStarting(): Promise<void> {
    const starting = this.#nodeRed.restart().catch(() => undefined); // it is killed, and says so
    await wait(this.#options.random() * 2_500);
    await this.#end("kill");
    await starting;
  }
}
