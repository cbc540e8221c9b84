/**
 * What `msg.resilient` and the editor's buttons ask of an exporter or a pool.
 */
import { NodeError } from "./errors.js";

/** What obeys: an exporter, a member, or a pool for all of its members. */
export interface Steered {
  flush(): Promise<unknown>;
  pause(): void;
  resume(): void;
  /** Lets go of the target until `takeUp`. */
  letGo(): Promise<unknown>;
  takeUp(): Promise<unknown>;
  /** Gives up what waits. */
  discard(): unknown;
}

/** In the order in which an error names them. */
export const COMMANDS = ["flush", "pause", "resume", "open", "close", "discard"] as const;
export type Command = (typeof COMMANDS)[number];

export function isCommand(command: unknown): command is Command {
  return COMMANDS.includes(command as Command);
}

/**
 * Resolves when it is done: a flush, when all that waited has been tried.
 * @param mayDiscard the switch of its own that giving up records has
 * @throws {NodeError} `unknown-command`, `not-allowed`
 */
export async function obey(command: unknown, steered: Steered, mayDiscard: boolean): Promise<void> {
  if (!isCommand(command)) {
    const known = COMMANDS.map((name) => `"${name}"`).join(", ");
    throw new NodeError("unknown-command", `msg.resilient must be one of ${known}, not ${shown(command)}.`);
  }
  switch (command) {
    case "flush":
      return void (await steered.flush());
    case "pause":
      return steered.pause();
    case "resume":
      return steered.resume();
    case "open":
      return void (await steered.takeUp());
    case "close":
      return void (await steered.letGo());
    case "discard":
      if (!mayDiscard) {
        throw new NodeError("not-allowed", "Discarding by message is switched off in this node's dialog.");
      }
      return void steered.discard();
    default:
      return command satisfies never;
  }
}

/** Several as one: the places that an exporter delivers from, the members of a pool. */
export function together(all: readonly Steered[]): Steered {
  const each = <T>(call: (steered: Steered) => T): T[] => all.map(call);
  return {
    flush: () => Promise.all(each((one) => one.flush())),
    pause: () => void each((one) => one.pause()),
    resume: () => void each((one) => one.resume()),
    letGo: () => Promise.all(each((one) => one.letGo())),
    takeUp: () => Promise.all(each((one) => one.takeUp())),
    discard: () => void each((one) => one.discard()),
  };
}

/** Text from a message, short enough for a log line. */
function shown(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value.slice(0, 40)) : typeof value;
}
