/**
 * A target that does what a test tells it to: it answers by script, fails on command, and remembers what arrived.
 */
import type { LogRecord } from "../../src/record.js";
import { DELIVERED, DUPLICATE, TargetUnavailableError } from "../../src/targets/target.js";
import type { Answer, Outcome, ResumePoint, Target, TargetTraits } from "../../src/targets/target.js";

export type Script = (batch: readonly LogRecord[], attempt: number) => Answer | Error | Promise<Answer | Error>;

export class ScriptedTarget implements Target {
  readonly traits: TargetTraits;
  /** Offsets in the order they arrived; each once, since the target knows ids. */
  readonly arrived: number[] = [];
  /** Offsets of each batch that was offered, delivered or not. */
  readonly offered: number[][] = [];
  /** Of everything that has arrived, in hex. */
  readonly ids = new Set<string>();
  /** Consulted before the target stores anything. A returned error is thrown, an answer is given as it is. */
  script: Script | undefined;
  isUp = true;
  opened = 0;
  probes = 0;
  closed = 0;
  inFlight = 0;
  mostInFlight = 0;
  resume: ResumePoint | undefined;
  #mute = false;
  readonly #unmuted = new Set<() => void>();

  constructor(traits: Partial<TargetTraits> = {}) {
    this.traits = {
      ordered: false,
      maxBatchRecords: 10_000,
      maxBatchBytes: 16 * 1024 * 1024,
      resumes: false,
      ...traits,
    };
  }

  destinationOf(record: LogRecord): string {
    return record.routing["to"] ?? "";
  }

  async open(_signal: AbortSignal, resume?: ResumePoint): Promise<void> {
    this.opened++;
    this.resume = resume;
    this.#refuseWhenDown();
  }

  async deliver(batch: readonly LogRecord[], signal: AbortSignal): Promise<Answer> {
    this.offered.push(batch.map((record) => record.offset));
    this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight);
    try {
      if (this.#mute) await this.#untilUnmuted(signal);
      this.#refuseWhenDown();
      const answer = await this.script?.(batch, this.offered.length);
      if (answer instanceof Error) throw answer;
      return answer ?? { outcomes: this.store(batch) };
    } finally {
      this.inFlight--;
    }
  }

  /** Stores records as a target that knows their ids does: what is there already is a duplicate. */
  store(records: readonly LogRecord[]): Outcome[] {
    return records.map((record) => {
      const id = record.id.toString("hex");
      if (this.ids.has(id)) return DUPLICATE;
      this.ids.add(id);
      this.arrived.push(record.offset);
      return DELIVERED;
    });
  }

  async probe(): Promise<void> {
    this.probes++;
    this.#refuseWhenDown();
  }

  async close(): Promise<void> {
    this.closed++;
  }

  /** The peer takes requests and answers none of them. */
  mute(): void {
    this.#mute = true;
  }

  unmute(): void {
    this.#mute = false;
    for (const go of this.#unmuted) go();
    this.#unmuted.clear();
  }

  #refuseWhenDown(): void {
    if (!this.isUp) throw new TargetUnavailableError("connection refused", { code: "ECONNREFUSED" });
  }

  #untilUnmuted(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#unmuted.add(resolve);
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    });
  }
}
