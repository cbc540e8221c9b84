/** Runs explorations side by side, one per core. One that no longer answers is ended, and counts as a violation. */
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { Built } from "./build.js";
import type { Answer, Task } from "./worker.js";

/** 10,000 states take some five seconds; a log that runs in circles takes for ever. */
const SILENCE_MS = 120_000;

export type Result = Exclude<Answer, { kind: "progress" }>;

export interface Job {
  readonly task: Task;
  readonly onProgress?: (states: number) => void;
  readonly onDone: (result: Result) => void;
}

/** Runs all jobs, `threads` at a time, in order. */
export async function runAll(built: Built, jobs: readonly Job[], threads: number): Promise<void> {
  let next = 0;
  const runner = async (): Promise<void> => {
    let worker: Worker | undefined;
    try {
      for (let job = jobs[next++]; job !== undefined; job = jobs[next++]) {
        worker ??= new Worker(join(built.crashFolder(), "worker.js"), { execArgv: [] });
        const result = await explore(worker, job);
        if (result === undefined) {
          await worker.terminate();
          worker = undefined;
        }
        job.onDone(result ?? { kind: "violation", states: 0, message: "the log runs in circles", stack: "" });
      }
    } finally {
      await worker?.terminate();
    }
  };
  await Promise.all(Array.from({ length: threads }, runner));
}

/** Undefined when nothing was heard for too long. */
function explore(worker: Worker, { task, onProgress }: Job): Promise<Result | undefined> {
  return new Promise((resolve, reject) => {
    let silence: NodeJS.Timeout;
    const listen = (): void => {
      clearTimeout(silence);
      silence = setTimeout(() => end(() => resolve(undefined)), SILENCE_MS);
    };
    const onMessage = (answer: Answer): void => {
      if (answer.kind !== "progress") return end(() => resolve(answer));
      listen();
      onProgress?.(answer.states);
    };
    const onError = (error: Error): void => end(() => reject(error));
    const end = (settle: () => void): void => {
      clearTimeout(silence);
      worker.off("message", onMessage).off("error", onError);
      settle();
    };
    worker.on("message", onMessage).on("error", onError);
    listen();
    worker.postMessage(task);
  });
}
