/**
 * Mocha's root hooks: a run fails when a test leaves a file of its temporary folder open, or a timer that our code
 * started. Both keep working against later tests, and on a device they keep working against the user. It fails as well
 * when a promise was rejected and nobody had asked for it by then: that ends a Node-RED, and mocha lets it pass.
 */
import type { Context } from "mocha";
import { openPathsInTempFolders, removeTempFolders } from "./temp-folder.js";
import { forgetTimers, liveTimers, watchTimers } from "./timers.js";

/** Closing is asynchronous in places where nobody can wait for it (a socket's last event): so long is no leak yet. */
const GRACE_MS = 2_000;

/** Told at the end, since mocha ends the whole run at the first root hook that fails, and would hide every later test. */
const leaks: string[] = [];

/** Why promises were rejected that nobody had asked for by then. */
const unheard = new Set<string>();

watchTimers();
process.on("unhandledRejection", (reason) => unheard.add(String(reason)));

export const mochaHooks = {
  beforeEach(): void {
    forgetTimers();
    unheard.clear();
  },
  async afterEach(this: Context): Promise<void> {
    // A test that failed half-way could not tidy up: its own error is the one to read.
    if (this.currentTest?.state !== "failed") {
      const left = await leftBehind();
      if (left.length > 0) leaks.push(`"${this.currentTest?.fullTitle() ?? "?"}" left ${left.join(" and ")}`);
    }
    removeTempFolders();
  },
  afterAll(): void {
    if (leaks.length > 0) throw new Error(`Tests left something behind.\n${leaks.join("\n")}`);
  },
};

async function leftBehind(): Promise<string[]> {
  const givesUpAt = performance.now() + GRACE_MS;
  let left = listLeft();
  while (left.length > 0 && performance.now() < givesUpAt) {
    await new Promise((resolve) => setImmediate(resolve));
    left = listLeft();
  }
  return left;
}

function listLeft(): string[] {
  return [
    ...openPathsInTempFolders().map((path) => `${path} open`),
    ...liveTimers().map((timer) => `a timer ticking, started ${timer}`),
    ...Array.from(unheard, (reason) => `a rejection unheard: ${reason}`),
  ];
}
