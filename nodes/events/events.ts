/**
 * `resilient-events`: what happens in the queues, as messages. What can happen, and its words, is `happening.ts`.
 */
import type { Node, NodeAPI, NodeDef } from "node-red";
import { systemClock, type Timer } from "../../src/clock.js";
import { type Setting, checkSettings, defaultsOf } from "../../src/runtime/settings.js";
import { type RuntimeNode, onRuntimeEvent, openRuntimes } from "../runtime/runtimes.js";
import { switchOf, textOf, valueOf } from "../shared/config.js";
import { asError } from "../shared/errors.js";
import { tellProblems } from "../shared/setup.js";
import { BacklogWatch, type Thresholds } from "./backlog-watch.js";
import { GROUPS, type Group, type Happening, gatheredBy, happeningOf, together } from "./happening.js";

const TIB = 1024 ** 4;
const TEN_YEARS_MS = 10 * 365 * 86_400_000;

/** The html beside this file has the same ranges for the browser. */
export const EVENT_SETTINGS = {
  records: { kind: "number", unit: "", min: 1, max: 1e12, zeroIsNoLimit: true, default: 0 },
  bytes: { kind: "number", unit: "bytes", min: 1_024, max: TIB, zeroIsNoLimit: true, default: 0 },
  ageMs: { kind: "number", unit: "ms", min: 1_000, max: TEN_YEARS_MS, zeroIsNoLimit: true, default: 0 },
} as const satisfies Record<keyof Thresholds, Setting>;

/** How often backlogs are looked at, and how long events of one kind are gathered. */
const LOOK_MS = 1_000;

export default function register(RED: NodeAPI): void {
  function ResilientEvents(this: Node, config: NodeDef): void {
    RED.nodes.createNode(this, config);
    const checked = checkSettings<Thresholds>(
      EVENT_SETTINGS,
      valueOf(config, "thresholds"),
      defaultsOf<Thresholds>(EVENT_SETTINGS),
    );
    tellProblems(this, checked.problems);
    const only = textOf(config, "runtime");
    const wanted = new Set<Group>(GROUPS.filter((group) => switchOf(valueOf(config, "groups") ?? {}, group, true)));
    const teller = new Teller(RED, this);
    const hears = (runtime: RuntimeNode): boolean => only === "" || runtime.id === only;

    const stopHearing = onRuntimeEvent((runtime, event) => {
      if (!hears(runtime)) return;
      const happening = happeningOf(event);
      if (happening !== undefined && wanted.has(happening.group)) teller.add(runtime, happening);
    });
    const watch = new BacklogWatch(checked.settings);
    let looking: Timer | undefined;
    const look = (): void => {
      const places = new Set<string>();
      for (const runtime of openRuntimes().filter(hears)) {
        for (const { id, members } of runtime.engine?.opened ?? []) {
          for (const member of members.values()) {
            places.add(`${id} ${member.id}`);
            const happening = watch.look(id, member.id, member.status());
            if (happening !== undefined) teller.add(runtime, happening);
          }
        }
      }
      watch.keep(places);
      looking = systemClock.after(LOOK_MS, look);
    };
    if (wanted.has("backlog") && watch.isNeeded) looking = systemClock.after(LOOK_MS, look);

    this.on("close", (done: () => void) => {
      stopHearing();
      looking?.cancel();
      teller.close();
      done();
    });
  }

  RED.nodes.registerType("resilient-events", ResilientEvents);
}

/** Sends happenings as messages; those that may come by the thousand, gathered. */
class Teller {
  readonly #red: NodeAPI;
  readonly #node: Node;
  readonly #gathered = new Map<string, { runtime: RuntimeNode; happening: Happening }>();
  #timer: Timer | undefined;

  constructor(red: NodeAPI, node: Node) {
    this.#red = red;
    this.#node = node;
  }

  add(runtime: RuntimeNode, happening: Happening): void {
    const key = gatheredBy(happening);
    if (key === undefined) return this.#tell(runtime, happening);
    const known = this.#gathered.get(`${runtime.id} ${key}`);
    const sum = known === undefined ? happening : together(known.happening, happening);
    this.#gathered.set(`${runtime.id} ${key}`, { runtime, happening: sum });
    this.#timer ??= systemClock.after(LOOK_MS, () => this.#tellGathered());
  }

  close(): void {
    this.#timer?.cancel();
  }

  #tellGathered(): void {
    this.#timer = undefined;
    const gathered = [...this.#gathered.values()];
    this.#gathered.clear();
    for (const { runtime, happening } of gathered) this.#tell(runtime, happening);
  }

  #tell(runtime: RuntimeNode, { kind, queue, exporter, details }: Happening): void {
    const about = exporter ?? queue;
    const payload = {
      kind,
      at: new Date(systemClock.wallMs()).toISOString(),
      runtime: { id: runtime.id, name: runtime.name ?? "" },
      ...(about === undefined ? {} : { exporter: this.#named(about) }),
      ...(exporter === undefined || exporter === queue ? {} : { pool: this.#named(queue!) }),
      ...details,
    };
    try {
      this.#node.send({ topic: kind, payload });
    } catch (error) {
      // We are called from within the engine: a node behind us that throws must not stop a delivery.
      this.#node.error(asError(error));
    }
  }

  /** A queue can be there before its node is, and after. */
  #named(id: string): { id: string; name?: string; type?: string } {
    const node = this.#red.nodes.getNode(id) as Node | null | undefined;
    return node === null || node === undefined ? { id } : { id, name: node.name ?? "", type: node.type };
  }
}
