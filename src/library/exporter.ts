/**
 * An exporter for programs. Subclass it for a target of your own.
 */
import type { DeliveryEvent, FlushReport } from "../delivery/events.js";
import type { Exporter as EngineExporter } from "../runtime/exporter.js";
import type { ExporterStatus, MemberOptions } from "../runtime/member.js";
import type { FlushSettings } from "../runtime/settings.js";
import type { Target } from "../targets/target.js";
import { held } from "./hold.js";
import { type CommonOptions, flushOf } from "./options.js";
import { reportOf } from "./report.js";
import type { RuntimeLease } from "./runtimes.js";
import { Sender } from "./sender.js";

export abstract class Exporter extends Sender<EngineExporter> {
  readonly #options: CommonOptions;

  /**
   * @param defaultName of the queue, when the options give none
   * @throws {OptionError} when an option cannot be used
   */
  constructor(defaultName: string, options: CommonOptions = {}) {
    super(defaultName, options);
    this.#options = options;
  }

  /**
   * Makes the target that records are delivered to: once for the exporter itself, once for each pool it is in, and again
   * after `letGo`.
   */
  protected abstract createTarget(): Target;

  /** Sends what waits, now. Resolves when all of it has been tried once, or as soon as the target cannot be used. */
  async sendUnsent(): Promise<FlushReport> {
    const [member] = await this.opened().then(({ members }) => [...members.values()]);
    return held(member!.flush());
  }

  async status(): Promise<ExporterStatus> {
    return (await held(this.opened())).status();
  }

  /**
   * As a member of a pool.
   * @param inherited flush settings of the pool: this exporter has them where its own options say nothing
   */
  memberOptions(inherited?: FlushSettings): MemberOptions {
    const { onReport, onRejected, onStatus } = this.#options;
    return {
      id: this.name,
      target: () => this.createTarget(),
      flush: flushOf(this.#options, inherited),
      onRejected: guarded(onRejected),
      onStatus: guarded(onStatus),
      onEvent: guarded((event: DeliveryEvent) => {
        if (event.kind === "answered") onReport?.(reportOf(event));
      }),
    };
  }

  protected override openIn({ runtime }: RuntimeLease): Promise<EngineExporter> {
    return runtime.openExporter({ ...this.memberOptions(), transform: this.transform });
  }
}

/** A listener of the program that fails must not stop the delivery: the process warns of it instead. */
function guarded<T>(listener: ((told: T) => void) | undefined): ((told: T) => void) | undefined {
  if (listener === undefined) return undefined;
  return (told) => {
    try {
      listener(told);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  };
}
