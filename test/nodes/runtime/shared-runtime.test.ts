/** The engine is scripted here: what is tested is who waits for whom. */
import assert from "node:assert/strict";
import { type RuntimeHandle, type RuntimeUser, SharedRuntime } from "../../../nodes/runtime/shared-runtime.js";
import { FakeClock, settle } from "../../support/fake-clock.js";
import { deferred } from "../deferred.js";

class ScriptedRuntime implements RuntimeHandle {
  isClosed = false;
  openExporter(): never {
    throw new Error("not scripted");
  }
  openPool(): never {
    throw new Error("not scripted");
  }
  hasLeft(): never {
    throw new Error("not scripted");
  }
  close(): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }
}

class User implements RuntimeUser {
  readonly heard: string[] = [];
  onRuntimeOpen(): void {
    this.heard.push("open");
  }
  onRuntimeFailure(error: Error): void {
    this.heard.push(error.message);
  }
}

describe("a runtime shared by exporters", () => {
  it("tells those who came before it was open and those who came after", async () => {
    const opening = deferred<RuntimeHandle>();
    const shared = new SharedRuntime(() => opening.promise, assert.fail, new FakeClock());
    const [early, late] = [new User(), new User()];

    shared.register("a", early);
    opening.resolve(new ScriptedRuntime());
    await settle();
    shared.register("b", late);

    assert.deepEqual([early.heard, late.heard], [["open"], ["open"]]);
  });

  it("is not closed while an exporter still hands over its records", async () => {
    const runtime = new ScriptedRuntime();
    const clock = new FakeClock();
    const shared = new SharedRuntime(() => Promise.resolve(runtime), assert.fail, clock);
    const leave = shared.register("a", new User());
    await settle();

    const closed = shared.close();
    await settle();
    assert.equal(runtime.isClosed, false);
    leave();
    await closed;

    assert.equal(runtime.isClosed, true);
    assert.equal(clock.pendingTimers, 0);
  });

  it("is closed before Node-RED's deadline although an exporter never leaves", async () => {
    const runtime = new ScriptedRuntime();
    const clock = new FakeClock();
    const shared = new SharedRuntime(() => Promise.resolve(runtime), assert.fail, clock);
    shared.register("a", new User());

    const closed = shared.close();
    await clock.advance(13_000);

    assert.equal(runtime.isClosed, true);
    await closed;
  });

  it("tries again by itself when the folder could not be opened, as after another Node-RED has ended", async () => {
    const failures: string[] = [];
    const clock = new FakeClock();
    let attempts = 0;
    const shared = new SharedRuntime(
      () => (++attempts < 3 ? Promise.reject(new Error("in use")) : Promise.resolve(new ScriptedRuntime())),
      (error) => failures.push(error.message),
      clock,
    );
    const user = new User();
    shared.register("a", user);

    await clock.advance(11_000);

    assert.deepEqual(failures, ["in use", "in use"]);
    assert.deepEqual(user.heard, ["in use", "in use", "open"]);
  });

  it("leaves no attempt behind when it is closed while opening fails", async () => {
    const clock = new FakeClock();
    let attempts = 0;
    const shared = new SharedRuntime(
      () => {
        attempts += 1;
        return Promise.reject(new Error("in use"));
      },
      () => undefined,
      clock,
    );
    await settle();

    await shared.close();
    await clock.advance(60_000);

    assert.equal(attempts, 1);
    assert.equal(clock.pendingTimers, 0);
  });

  it("gives a node's new instance its queue only when the one before has let go of it", async () => {
    const shared = new SharedRuntime(() => Promise.resolve(new ScriptedRuntime()), assert.fail, new FakeClock());
    const [before, after] = [new User(), new User()];
    const leave = shared.register("a", before);
    await settle();

    shared.register("a", after);
    await settle();
    assert.deepEqual(after.heard, []);
    leave();
    await settle();

    assert.deepEqual(after.heard, ["open"]);
  });

  it("waits for every instance of a node, in whatever order they leave", async () => {
    const runtime = new ScriptedRuntime();
    const shared = new SharedRuntime(() => Promise.resolve(runtime), assert.fail, new FakeClock());
    const leaveFirst = shared.register("a", new User());
    const leaveSecond = shared.register("a", new User());

    const closed = shared.close();
    leaveSecond();
    await settle();
    assert.equal(runtime.isClosed, false);
    leaveFirst();
    await closed;

    assert.equal(runtime.isClosed, true);
  });
});
