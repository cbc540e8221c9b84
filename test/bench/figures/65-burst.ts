/**
 * A minute of more than the target takes, then full speed: whether the flow waits, how fast the backlog goes, and how
 * long others wait for the event loop meanwhile. The target is an HTTP peer in a process of its own, with a capacity that
 * is set; what it takes is measured beside it, by a loop that only posts bodies made before.
 */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { checkElasticsearchOptions } from "../../../src/targets/elasticsearch/options.js";
import { ElasticsearchTarget } from "../../../src/targets/elasticsearch/target.js";
import { openEngine } from "../engine.js";
import { atLeast, atMost, type Figure, type Measured } from "../figure.js";
import { pause, perSecond } from "../measure.js";
import { readings100 } from "../readings.js";
import type { FromPeer, ToPeer } from "../workers/rated-peer.js";

const SENT_PER_SECOND = 10_000;
const SLOW_PER_SECOND = 1_000;
/** What a node of Elasticsearch on a small machine takes at most is less: 11,000 to 13,000. */
const FULL_PER_SECOND = 20_000;
/** `BURST_SECONDS` for a shorter look. */
const SLOW_S = Number(process.env["BURST_SECONDS"] ?? 60);
/** From here on the backlog is one of ordinary batches, not a drain. */
const DRAINED_AT = 5_000;
/** The monitor's own: it counts from one timer to the next. */
const RESOLUTION_MS = 1;
const ROUTING = {};
const BATCH = 1_000;
const AT_ONCE = 4;
const ALONE_S = 5;

async function burst(): Promise<Measured[]> {
  const child = fork(join(__dirname, "..", "workers", "rated-peer.ts"), { execArgv: ["--import", "tsx"] });
  const peer = new Peer(child, ((await heard(child)) as { port: number }).port);
  try {
    peer.set(FULL_PER_SECOND);
    const alone = await peer.takesAlone();
    peer.set(SLOW_PER_SECOND);
    return await measured(peer, alone);
  } finally {
    child.disconnect();
  }
}

async function measured(peer: Peer, alone: number): Promise<Measured[]> {
  const settings = checkElasticsearchOptions({ connection: { nodes: peer.url }, index: "burst" });
  const { exporter, close } = await openEngine({ target: new ElasticsearchTarget(settings) });
  const flow = new Flow((reading, done) => exporter.send(reading, ROUTING, done));
  const monitor = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  monitor.enable();
  await pause(SLOW_S * 1_000);
  const backlog = exporter.status().waiting;
  const slowly = await peer.taken();
  const startedMs = performance.now();
  peer.set(FULL_PER_SECOND);
  while (exporter.status().waiting > DRAINED_AT) await pause(20);
  const drained = (((await peer.taken()) - slowly) / (performance.now() - startedMs)) * 1_000;
  monitor.disable();
  flow.end();
  const { dropped } = exporter.status();
  await close();
  const p99 = Math.max(0, monitor.percentile(99) / 1e6 - RESOLUTION_MS);
  const waited = flow.refused + flow.late + dropped;
  const flowed = `${flow.sent} messages, ${flow.refused} refused, ${flow.late} not taken at once, ${dropped} dropped`;
  const others = `p99; longest ${(monitor.max / 1e6).toFixed(1)} ms; while ${backlog} records had piled up, and drained`;
  return [
    atMost(waited, 0, "messages waited", flowed),
    atLeast(
      drained / alone,
      0.9,
      "x",
      `the peer alone: ${perSecond(alone)}, here ${perSecond(drained)} beside the flow`,
    ),
    atMost(p99, 5, "ms", others),
  ];
}

/** Ten thousand messages a second, whatever becomes of them. */
class Flow {
  sent = 0;
  refused = 0;
  late = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(send: (reading: object, done: (error?: Error) => void) => void) {
    const readings = readings100();
    const startedMs = performance.now();
    this.#timer = setInterval(() => {
      const due = ((performance.now() - startedMs) * SENT_PER_SECOND) / 1_000;
      for (; this.sent < due; this.sent++) {
        let isTaken = false;
        send({ ...readings[this.sent % readings.length], sequence: this.sent }, (error) => {
          isTaken = true;
          if (error !== undefined) this.refused++;
        });
        if (!isTaken) this.late++;
      }
    }, 1);
  }

  end(): void {
    clearInterval(this.#timer);
  }
}

class Peer {
  readonly url: string;
  readonly #child: ChildProcess;

  constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.url = `http://127.0.0.1:${port}`;
  }

  set(recordsPerSecond: number): void {
    this.#tell({ perSecond: recordsPerSecond });
  }

  async taken(): Promise<number> {
    this.#tell("taken");
    return ((await heard(this.#child)) as { taken: number }).taken;
  }

  /** Records a second that it takes from a loop which only posts. */
  async takesAlone(): Promise<number> {
    const readings = readings100();
    const line = (i: number): string =>
      `{"create":{"_index":"burst"}}\n${JSON.stringify(readings[i % readings.length])}\n`;
    const body = Buffer.from(Array.from({ length: BATCH }, (_, i) => line(i)).join(""));
    const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });
    const startedMs = performance.now();
    const endsAtMs = startedMs + ALONE_S * 1_000;
    let count = 0;
    const loop = async (): Promise<void> => {
      while (performance.now() < endsAtMs) {
        await post(`${this.url}/_bulk`, body, agent);
        count += BATCH;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, loop));
    agent.destroy();
    return (count / (performance.now() - startedMs)) * 1_000;
  }

  #tell(message: ToPeer): void {
    this.#child.send(message);
  }
}

async function heard(child: ChildProcess): Promise<FromPeer> {
  const [message] = (await once(child, "message")) as [FromPeer];
  return message;
}

function post(url: string, body: Buffer, agent: Agent): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/x-ndjson", "content-length": body.length };
    const sent = request(url, { method: "POST", agent, headers }, (response) => {
      response.resume().on("end", resolve).on("error", reject);
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

export const figures: readonly Figure[] = [
  {
    name: "burst",
    what: `${SENT_PER_SECOND} messages/s into a target that takes ${SLOW_PER_SECOND}/s for ${SLOW_S} s, then ${FULL_PER_SECOND}/s`,
    limitS: SLOW_S * 4 + 60,
    measure: burst,
  },
];
