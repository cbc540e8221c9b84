/**
 * `resilient-runtime`, the config node: where the queues live, what they may use, and the flush settings that
 * exporters take over. The opening and closing is `shared-runtime.ts`.
 */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { NodeAPI, NodeDef } from "node-red";
import { systemClock } from "../../src/clock.js";
import { type Probe, makeProbe } from "../../src/connectivity/probe.js";
import { Runtime, type RuntimeEvent } from "../../src/runtime/runtime.js";
import {
  NETWORK,
  type NetworkSettings,
  checkBudgets,
  checkFlushSettings,
  checkSettings,
  defaultsOf,
} from "../../src/runtime/settings.js";
import { textOf, valueOf } from "../shared/config.js";
import { environmentOf } from "../shared/environment.js";
import { NodeError, asError } from "../shared/errors.js";
import { ProblemLog } from "../shared/problem-log.js";
import { tellProblems } from "../shared/setup.js";
import { leftFolders } from "./left-folders.js";
import { serveQueues } from "./queue-api.js";
import { type RuntimeNode, enter, openRuntimes, tellListeners } from "./runtimes.js";
import { SharedRuntime } from "./shared-runtime.js";

/**
 * Which config node has which folder: the engine keeps other processes away, and waits for one of its own to let go. The
 * node itself, since one that takes longer to close than Node-RED waits is still there when the next has come.
 */
const owners = new Map<string, RuntimeNode>();
/** Every folder that was used since Node-RED started: one that the user named is found again nowhere else. */
const everUsed = new Set<string>();

const DEFAULT_NETWORK = defaultsOf<NetworkSettings>(NETWORK);

export default function register(RED: NodeAPI): void {
  function ResilientRuntime(this: RuntimeNode, config: NodeDef): void {
    RED.nodes.createNode(this, config);
    const { settings: flush, problems } = checkFlushSettings(valueOf(config, "flush"));
    const { settings: budgets, problems: budgetProblems } = checkBudgets(valueOf(config, "budgets"));
    const network = checkSettings<NetworkSettings>(NETWORK, valueOf(config, "network"), DEFAULT_NETWORK);
    tellProblems(this, [...problems, ...budgetProblems, ...network.problems]);
    const probe = probeOf(network.settings, (message) => this.warn(message));

    const problemLog = new ProblemLog(systemClock, (message) => this.warn(message));
    const { folder, problem } = folderOf(RED, this, config);
    const open = (): Promise<Runtime> => {
      if (problem !== undefined) throw problem;
      const owner = owners.get(folder)?.id ?? this.id;
      if (owner !== this.id) throw new NodeError("not-open", RED._("error.shared", { folder, owner }));
      owners.set(folder, this);
      const onEvent = (event: RuntimeEvent): void => {
        const text = eventText(RED, event);
        if (text !== undefined && event.kind !== "network") problemLog.add(event.kind + event.log, text);
        tellListeners(this, event);
      };
      const { probeIntervalMs } = network.settings;
      return Runtime.open({ folder, flush, ...budgets, ...probe, probeIntervalMs, onEvent });
    };
    const onFailure = ({ message }: Error): void => {
      this.failure = message;
      problemLog.add("open", RED._("error.open", { message }));
    };
    const openHere = async (): Promise<Runtime> => {
      this.engine = await open();
      everUsed.add(folder);
      this.failure = undefined;
      return this.engine;
    };
    const shared = new SharedRuntime(openHere, onFailure, systemClock);
    const leaveOthers = enter(this);

    this.flush = flush;
    this.users = {};
    this.register = (node, user) => {
      this.users[node.id] = node;
      const leave = shared.register(node.id, user);
      return () => {
        if (this.users[node.id] === node) delete this.users[node.id];
        leave();
      };
    };
    // Not looked at: whether the node was removed. A node that is only disabled counts as removed, and a queue is
    // never deleted by itself.
    this.on("close", (done: () => void) => {
      leaveOthers();
      shared
        .close()
        .catch((error: unknown) => this.error(error))
        .finally(() => {
          this.engine = undefined;
          if (owners.get(folder) === this) owners.delete(folder);
          done();
        });
    });
  }

  RED.nodes.registerType("resilient-runtime", ResilientRuntime);
  serveQueues(RED, openRuntimes);
  const told = new Set<string>();
  RED.events.on("flows:started", () => void tellLeftFolders(RED, told));
}

/** After each start and deploy, since both may take a runtime away; of each folder once, until it is used again. */
async function tellLeftFolders(RED: NodeAPI, told: Set<string>): Promise<void> {
  const used = new Set(owners.keys());
  for (const folder of used) told.delete(folder);
  const [runtime] = openRuntimes();
  try {
    const parent = defaultFolders(RED.settings.userDir);
    for (const { folder, bytes } of await leftFolders(parent, everUsed, (at) => used.has(at) || told.has(at))) {
      told.add(folder);
      const text = RED._("event.leftFolder", { folder, bytes });
      if (runtime === undefined) RED.log.warn(text);
      else runtime.warn(text);
    }
  } catch (error) {
    RED.log.warn(asError(error).message);
  }
}

/** Without its variable a folder of another name would be made, and what waits in the right one would be missed. */
function folderOf(RED: NodeAPI, node: RuntimeNode, config: NodeDef): { folder: string; problem?: Error } {
  const named = textOf(config, "folder");
  try {
    return { folder: queueFolder(RED.settings.userDir, environmentOf(RED, node)(named), node.id) };
  } catch (thrown) {
    return { folder: queueFolder(RED.settings.userDir, named, node.id), problem: asError(thrown) };
  }
}

/**
 * The folder of the queues: what the user named (relative names are below Node-RED's user directory), or one by the
 * node's id, which stays the same across restarts, renames and moves.
 */
export function queueFolder(userDir: string | undefined, folder: string, nodeId: string): string {
  if (folder.trim() !== "") return resolve(baseFolder(userDir), folder.trim());
  // An id comes from the flow file, so from anywhere: it must stay one name.
  return join(defaultFolders(userDir), encodeURIComponent(nodeId).replaceAll(".", "%2E"));
}

function baseFolder(userDir: string | undefined): string {
  return userDir ?? join(homedir(), ".node-red");
}

/** Where the folders are that nobody has named. */
function defaultFolders(userDir: string | undefined): string {
  return join(baseFolder(userDir), "resilient-exporters");
}

function probeOf({ probe }: NetworkSettings, warn: (message: string) => void): { probe?: Probe } {
  if (probe.trim() === "") return {};
  try {
    return { probe: makeProbe(probe, { clock: systemClock }) };
  } catch (error) {
    warn(asError(error).message);
    return {};
  }
}

/** Undefined for what the exporters themselves write into the log, or show. */
function eventText(RED: NodeAPI, event: RuntimeEvent): string | undefined {
  switch (event.kind) {
    case "loss":
      return RED._(`event.${event.loss.kind}`, { log: event.log, path: event.loss.path, bytes: event.loss.bytes });
    case "torn":
      return RED._("event.torn", { log: event.log, bytes: event.bytes });
    case "foreign":
      return RED._("event.foreign", { log: event.log, path: event.path });
    case "restored":
      return RED._("event.restored", { log: event.log, files: event.files, records: event.records });
    case "unreadable":
      return RED._("event.unreadable", { log: event.log, message: event.message });
    case "deadLetterTrouble":
      return RED._("event.deadLetterTrouble", { log: event.log, message: event.message });
    case "network":
    case "storage":
    case "overflow":
    case "delivery":
      return undefined;
    default:
      return event satisfies never;
  }
}
