/** A runtime that is closed in the middle of something: nobody else has its folder before that has ended. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { sleep, systemClock } from "../../src/clock.js";
import { type Files, systemFiles } from "../../src/files.js";
import { Runtime } from "../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../src/runtime/settings.js";
import { settle } from "../support/fake-clock.js";
import { awayTarget, send } from "../support/store-rig.js";
import { tempFolder } from "../support/temp-folder.js";

const flush = DEFAULT_FLUSH;

describe("a runtime that is closed", () => {
  let folder: string;
  let runtime: Runtime;
  /** Listing the folder of this queue takes until `goOn`. */
  let slow: string | undefined;
  let goOn: () => void;

  beforeEach(async () => {
    folder = join(tempFolder(), "queues");
    runtime = await Runtime.open({ folder, flush });
    const left = await runtime.openExporter({ id: "left", target: awayTarget(), flush });
    for (let n = 0; n < 10; n++) send(left, n);
    await runtime.close();
    slow = undefined;
    const until = new Promise<void>((resolve) => (goOn = resolve));
    const list: Files["list"] = async (at) => {
      if (slow !== undefined && at.endsWith(slow)) await until;
      return systemFiles.list(at);
    };
    runtime = await Runtime.open({ folder, flush, files: { ...systemFiles, list } });
  });

  /** Resolves when the next one has the folder; `isFree` says so at once. */
  function next(): { isFree: boolean; readonly opened: Promise<void> } {
    const result = { isFree: false, opened: Promise.resolve() };
    const opened = Runtime.open({ folder, flush }).then(async (other) => {
      result.isFree = true;
      await other.close();
    });
    return Object.assign(result, { opened });
  }

  /** Nothing tells that something does not happen. */
  const someTime = (other: { readonly opened: Promise<void> }): Promise<void> =>
    Promise.race([other.opened, sleep(systemClock, 300)]);

  it("keeps its folder until a queue that was being opened is closed again", async () => {
    slow = join("logs", "left");
    const opening = runtime.openExporter({ id: "left", target: awayTarget(), flush });
    await settle();

    const closing = runtime.close();
    const other = next();
    await someTime(other);
    assert.equal(other.isFree, false);
    goOn();

    await assert.rejects(opening, /was closed meanwhile/);
    await Promise.all([closing, other.opened]);
  });

  it("keeps it until what an orphan has was moved, or is left where it is", async () => {
    const heir = await runtime.openExporter({ id: "heir", target: awayTarget(), flush });
    slow = join("logs", "left");
    const adopting = runtime.adoptOrphan("left", heir);
    await heir.close();

    const closing = runtime.close();
    const other = next();
    await someTime(other);
    assert.equal(other.isFree, false);
    goOn();

    await assert.rejects(adopting, /closed/);
    await Promise.all([closing, other.opened]);
  });

  it("waits for no browser that has stopped reading an export, though the node of that queue has come back", async () => {
    const lines = runtime.exportOrphan("left");
    await lines.next();
    const opening = runtime.openExporter({ id: "left", target: awayTarget(), flush });
    await settle();

    const closing = runtime.close();

    const other = next();
    await Promise.all([assert.rejects(opening, /was closed meanwhile/), closing, other.opened]);
    await assert.rejects(lines.next(), /was closed meanwhile/, "it must not look complete");
  });

  it("begins nothing more", async () => {
    await runtime.close();

    await assert.rejects(runtime.openExporter({ id: "left", target: awayTarget(), flush }), /closed/);
    await assert.rejects(runtime.discardOrphan("left"), /closed/);
  });
});
