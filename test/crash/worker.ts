/** Explores in a thread of its own: told by `pool.ts` what, answers with how far it came and what it found. */
import { parentPort } from "node:worker_threads";
import type { Explorer, ExploreError, ExploreOptions, Explored } from "./explore.js";

export interface Task {
  /** The folder of the explorer to run: the one with the fault, if one is planted. */
  readonly crashFolder: string;
  readonly options: Omit<ExploreOptions, "onProgress">;
}

export type Answer =
  | { readonly kind: "progress"; readonly states: number }
  | { readonly kind: "clean"; readonly explored: Explored }
  | { readonly kind: "violation"; readonly states: number; readonly message: string; readonly stack: string };

async function run({ crashFolder, options }: Task, answer: (answer: Answer) => void): Promise<void> {
  const variant = (await import(`${crashFolder}/explore.js`)) as {
    Explorer: typeof Explorer;
    ExploreError: typeof ExploreError;
  };
  const explorer = new variant.Explorer({
    ...options,
    onProgress: (states) => answer({ kind: "progress", states }),
  });
  try {
    answer({ kind: "clean", explored: await explorer.run() });
  } catch (error) {
    if (!(error instanceof variant.ExploreError)) throw error;
    const { cause } = error;
    const stack = cause instanceof Error ? (cause.stack ?? "") : String(cause);
    answer({ kind: "violation", states: error.states, message: error.message, stack });
  }
}

parentPort?.on("message", (task: Task) => {
  void run(task, (answer) => parentPort?.postMessage(answer));
});
