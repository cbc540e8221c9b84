/** A hundred thousand records behind a link that fails in every way, in a process with a heap of 64 MB. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type Faults, FaultProxy } from "../support/fault-proxy.js";
import { tempFolder } from "../support/temp-folder.js";
import { ScriptedPeer, actionsOf, bulkReply, documentsOf } from "../targets/elasticsearch/scripted-peer.js";
import type { Told } from "./behind-faults-child.js";

const MIB = 1024 * 1024;
const COUNT = 100_000;
const CHILD = join(__dirname, "behind-faults-child.ts");

/** One after the other. After each the link is well for a moment: what was half sent meanwhile is sent again. */
const FAULTS: readonly (readonly [string, Faults])[] = [
  ["400 ms", { latencyMs: 400 }],
  ["refused", { accept: "refuse" }],
  ["reset", { accept: "reset" }],
  ["half an answer", { cut: { direction: "down", afterBytes: 100 } }],
  ["half a request", { cut: { direction: "up", afterBytes: 20_000 } }],
  ["no answer at all", { stall: "down" }],
  ["stalled both ways", { stall: "both" }],
  ["connected and never read", { accept: "mute" }],
  ["1 KB/s", { bytesPerSecond: 1_024 }],
];
const EACH_MS = 500;
const WELL_MS = 30;

describe("memory behind a link that fails", () => {
  let peer: ScriptedPeer;
  let proxy: FaultProxy;

  beforeEach(async () => {
    peer = await ScriptedPeer.listen();
    proxy = await FaultProxy.listen(peer.port);
  });
  afterEach(async () => {
    await proxy.close();
    await peer.close();
  });

  it("stays within its bound in every kind of fault, and all records arrive when that is over, each once", async () => {
    const ids = new Set<string>();
    const numbers = new Set<number>();
    let repeats = 0;
    peer.onBulk = (request) => {
      const actions = actionsOf(request);
      const documents = documentsOf(request) as { n: number }[];
      peer.bulks.length = 0; // they would fill our own memory
      return bulkReply(request, (place) => {
        const id = actions[place]!._id!;
        if (ids.has(id)) {
          repeats++;
          return { status: 409, type: "version_conflict_engine_exception" };
        }
        ids.add(id);
        numbers.add(documents[place]!.n);
        return { status: 201 };
      });
    };
    const args = ["--max-old-space-size=64", "--expose-gc", "--import", "tsx", CHILD, join(tempFolder(), "queues")];
    const child = spawn(process.execPath, args.concat(`http://127.0.0.1:${proxy.port}`), {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    let complained = "";
    child.stderr!.on("data", (chunk: Buffer) => (complained += chunk.toString()));
    const ended = once(child, "exit") as Promise<[number | null]>;
    const told = (): Promise<unknown[]> =>
      Promise.race([once(child, "message"), ended.then(() => Promise.reject(new Error(complained)))]);

    await told();
    const sent = told();
    sent.catch(() => undefined); // it is awaited later
    await proxy.loseAnswerTo("/_bulk");
    for (const [, faults] of FAULTS) {
      await proxy.set(faults);
      if (faults.accept !== undefined) proxy.resetAll(); // what is open would go on as if nothing were wrong
      await wait(EACH_MS);
      await proxy.set({});
      await wait(WELL_MS);
    }
    // A child that is slow still sends: what it delivers meanwhile would not have waited.
    await proxy.set({ accept: "refuse" });
    proxy.resetAll();
    await sent;
    await proxy.set({});
    child.send("healed");
    const [found] = (await told()) as [Told];
    const [code] = await ended;

    assert.equal(code, 0, complained);
    const { delivered, dropped, refused, waited, grown, used, memoryBytes } = found;
    assert.deepEqual({ delivered, dropped, refused }, { delivered: COUNT, dropped: 0, refused: 0 });
    assert.equal(numbers.size, COUNT);
    assert.equal(ids.size, COUNT, "under one id each");
    assert.ok(waited > COUNT / 2, `only ${waited} waited at the end of the faults`);
    assert.ok(repeats > 0, "nothing came twice, though an answer was lost");
    assert.ok(used <= memoryBytes + 128 * 1024, `${used} bytes of records in memory`);
    assert.ok(grown < 64 * MIB, `${Math.round(grown / MIB)} MiB more`);
    process.stdout.write(
      `      ${waited} waited, ${repeats} came twice; ${Math.round(used / MIB)} of ${memoryBytes / MIB} MiB of records, ${Math.round(grown / MIB)} MiB more in all\n`,
    );
  });
});
