/** How long others wait for the event loop while a backlog is being written. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { AwayTarget, mustBeTaken, openEngine } from "../engine.js";
import { atMost, type Figure, type Measured, skipped } from "../figure.js";
import { median } from "../measure.js";
import { type Reading, readings100 } from "../readings.js";

const PER_SECOND = 10_000;
const SECONDS = 6;
const ROUNDS = 3;
const MOST_MS = 5;
/** The monitor's own: it counts from one timer to the next. */
const RESOLUTION_MS = 1;
const ROUTING = {};

/** A flow in which each message is made and handed on; resolves to the 99th percentile of the delay, in ms. */
function flow(handOn: (message: Reading) => void): Promise<number> {
  const readings = readings100();
  const monitor = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  return new Promise((resolve) => {
    const startedMs = performance.now();
    let sent = 0;
    monitor.enable();
    const timer = setInterval(() => {
      const elapsedMs = performance.now() - startedMs;
      for (const due = (elapsedMs * PER_SECOND) / 1_000; sent < due; sent++) {
        handOn({ ...readings[sent % readings.length], sequence: sent });
      }
      if (elapsedMs < SECONDS * 1_000) return;
      clearInterval(timer);
      monitor.disable();
      resolve(Math.max(0, monitor.percentile(99) / 1e6 - RESOLUTION_MS));
    }, 1);
  });
}

async function loopDelay(): Promise<Measured[]> {
  const { exporter, close } = await openEngine({ target: new AwayTarget() });
  const withUs: number[] = [];
  const without: number[] = [];
  let kept: Reading | undefined;
  for (let round = 0; round < ROUNDS; round++) {
    without.push(await flow((message) => (kept = message)));
    withUs.push(await flow((message) => exporter.send(message, ROUTING, mustBeTaken)));
  }
  await close();
  if (kept === undefined) throw new Error("nothing flowed");
  const [here, there] = [median(withUs), median(without)];
  const peer = `p99 ${here.toFixed(2)} ms, the same flow without us ${there.toFixed(2)} ms`;
  const more = atMost(here - there, 2, "ms more", peer);
  // What others do on the machine is no merit and no fault of ours.
  if (there > MOST_MS) return [skipped("ms", `<= ${MOST_MS}`, `the machine is too busy: ${peer}`), more];
  return [atMost(here, MOST_MS, "ms", peer), more];
}

export const figures: readonly Figure[] = [
  {
    name: "loop-delay",
    what: `event-loop delay at ${PER_SECOND} records/s, target away, backlog being written`,
    measure: loopDelay,
  },
];
