/** The engine and the node are scripted here: what is tested is the life between the first message and the close. */
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import type { Node, NodeMessage, NodeMessageInFlow, NodeStatus } from "node-red";
import type { NodeError } from "../../../nodes/shared/errors.js";
import { type ExporterKind, ExporterNode } from "../../../nodes/shared/exporter-node.js";
import type { TypedValue } from "../../../nodes/shared/typed-value.js";
import type { RuntimeHandle, RuntimeUser } from "../../../nodes/runtime/shared-runtime.js";
import type { Routing } from "../../../src/record.js";
import type { ExporterStatus } from "../../../src/runtime/exporter.js";
import { DEFAULT_FLUSH } from "../../../src/runtime/settings.js";
import type { Target } from "../../../src/targets/target.js";
import { FakeClock, settle } from "../../support/fake-clock.js";
import { deferred } from "../deferred.js";

const READY: ExporterStatus = {
  waiting: 0,
  waitingBytes: 0,
  oldestAgeMs: undefined,
  circuit: "closed",
  paused: false,
  problem: undefined,
  storage: undefined,
  deadLetters: 0,
  delivered: 0,
  dropped: 0,
  filtered: 0,
  onDisk: false,
};

type Opened = Parameters<RuntimeHandle["openExporter"]>[0];

/** Takes what it is given; says so at once. */
class ScriptedExporter {
  readonly sent: { payload: unknown; routing: Routing }[] = [];
  readonly commands: string[] = [];
  isClosed = false;
  send(payload: unknown, routing: Routing, done: (error?: Error) => void): void {
    this.sent.push({ payload: structuredClone(payload), routing });
    done();
  }
  status(): ExporterStatus {
    return READY;
  }
  flush(): Promise<void> {
    this.commands.push("flush");
    return Promise.resolve();
  }
  pause(): void {
    this.commands.push("pause");
  }
  resume(): void {
    this.commands.push("resume");
  }
  letGo(): Promise<void> {
    this.commands.push("close");
    return Promise.resolve();
  }
  takeUp(): Promise<void> {
    this.commands.push("open");
    return Promise.resolve();
  }
  discard(): number {
    this.commands.push("discard");
    return 1;
  }
  close(): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }
}

class Bench {
  readonly clock = new FakeClock();
  readonly exporter = new ScriptedExporter();
  readonly statuses: NodeStatus[] = [];
  readonly errors: { error: Error & { code?: string }; message: NodeMessage }[] = [];
  readonly warnings: string[] = [];
  readonly told: (NodeError | undefined)[] = [];
  opened: Opened | undefined;
  openings = 0;
  hasLeft = false;
  readonly node: ExporterNode;
  readonly runtime: RuntimeHandle;

  constructor(
    options: {
      opening?: Promise<unknown>;
      data?: TypedValue;
      kind?: ExporterKind;
      commands?: boolean;
      discard?: boolean;
    } = {},
  ) {
    const node = Object.assign(new EventEmitter(), {
      id: "n1",
      type: "resilient-file",
      status: (status: NodeStatus) => this.statuses.push(status),
      error: (error: Error, message: NodeMessage) => this.errors.push({ error, message }),
      warn: (text: string) => this.warnings.push(text),
    }) as unknown as Node;
    this.runtime = {
      openExporter: async (opened: Opened) => {
        this.opened = opened;
        this.openings += 1;
        await options.opening;
        return this.exporter as unknown as Awaited<ReturnType<RuntimeHandle["openExporter"]>>;
      },
      openPool: () => assert.fail("not scripted"),
      hasLeft: () => Promise.resolve(false),
      close: () => Promise.resolve(),
    };
    this.node = new ExporterNode({
      node,
      kind: options.kind ?? { target: () => ({}) as Target, routesLater: false, routingOf: () => ({}) },
      data: options.data ?? { kind: "now", evaluate: (message) => message.payload },
      flush: DEFAULT_FLUSH,
      takesCommands: options.commands ?? false,
      mayDiscard: options.discard ?? false,
      maxWaiting: 3,
      text: (key) => key,
      clone: structuredClone,
      clock: this.clock,
    });
    this.node.start((user: RuntimeUser) => {
      assert.equal(user, this.node);
      return () => (this.hasLeft = true);
    });
  }

  accept(payload: unknown, more: object = {}): void {
    const message = { _msgid: "m", payload, ...more } as NodeMessageInFlow;
    this.node.accept(message, (error) => this.told.push(error as NodeError | undefined));
  }

  get payloads(): unknown[] {
    return this.exporter.sent.map(({ payload }) => payload);
  }
}

describe("an exporter node", () => {
  it("accepts what came before its queue was open as it was then, in order, before what came after", async () => {
    const bench = new Bench();
    const first = { n: 1 };
    bench.accept(first);
    bench.accept(2);
    first.n = 99;

    bench.node.onRuntimeOpen(bench.runtime);
    await settle();
    bench.accept(3);

    assert.deepEqual(bench.payloads, [{ n: 1 }, 2, 3]);
    assert.deepEqual(bench.told, [undefined, undefined, undefined]);
  });

  it("tells the sender of each message that came while the queue could not be opened", async () => {
    const bench = new Bench();
    bench.accept(1);

    bench.node.onRuntimeFailure(new Error("used by another Node-RED"));
    bench.accept(2);

    assert.deepEqual(
      bench.told.map((error) => error?.code),
      ["not-open", "not-open"],
    );
    assert.match(bench.told[0]!.message, /used by another Node-RED/);
    assert.deepEqual(bench.statuses.at(-1), { fill: "red", shape: "ring", text: "status.notOpen" });
    assert.deepEqual(bench.warnings, ["used by another Node-RED"]);
  });

  it("works again when the queue could be opened after all", async () => {
    const bench = new Bench();
    bench.node.onRuntimeFailure(new Error("disk not mounted"));

    bench.node.onRuntimeOpen(bench.runtime);
    await settle();
    bench.accept(1);

    assert.deepEqual(bench.payloads, [1]);
    assert.equal(bench.statuses.at(-1)?.text, "status.ready");
  });

  it("tries again when its own part of the folder could not be opened", async () => {
    const failure = deferred<unknown>();
    const bench = new Bench({ opening: failure.promise });
    bench.node.onRuntimeOpen(bench.runtime);
    failure.reject(new Error("permission denied"));

    await bench.clock.advance(5_000);

    assert.equal(bench.openings, 2);
    await bench.node.close();
    assert.equal(bench.clock.pendingTimers, 0);
    assert.equal(bench.hasLeft, true);
  });

  it("keeps the order when the value of a message takes its time", async () => {
    const slow = deferred<unknown>();
    const bench = new Bench({
      data: {
        kind: "later",
        evaluate: (message) => (message.payload === 1 ? slow.promise : Promise.resolve(message.payload)),
      },
    });
    bench.node.onRuntimeOpen(bench.runtime);
    await settle();

    bench.accept(1);
    bench.accept(2);
    await settle();
    slow.resolve("one");
    await settle();

    assert.deepEqual(bench.payloads, ["one", 2]);
  });

  it("tells a sender that its message holds nothing to send", async () => {
    const bench = new Bench();
    bench.node.onRuntimeOpen(bench.runtime);
    await settle();

    bench.accept(undefined);
    bench.accept(null);

    assert.deepEqual(
      bench.told.map((error) => error?.code),
      ["no-data", undefined],
    );
    assert.deepEqual(bench.payloads, [null]);
  });

  it("gives a rejected record to Catch nodes, with its payload, the reason, the code and the status code", async () => {
    const bench = new Bench();
    bench.node.onRuntimeOpen(bench.runtime);
    await settle();

    bench.opened!.onRejected!({
      payload: { t: 1 },
      rejection: { code: "mapper_parsing_exception", message: "not a date", statusCode: 400 },
      routing: { index: "readings", topic: "attic" },
    });

    const [{ error, message }] = bench.errors as [(typeof bench.errors)[0]];
    assert.equal(error.message, "not a date");
    assert.equal(error.code, "mapper_parsing_exception");
    assert.deepEqual(message, {
      payload: { t: 1 },
      topic: "attic",
      statusCode: 400,
      rejection: { code: "mapper_parsing_exception", message: "not a date", index: "readings" },
    });
  });

  it("shows a status only when it has changed", async () => {
    const bench = new Bench();
    bench.node.onRuntimeOpen(bench.runtime);
    await settle();
    const before = bench.statuses.length;

    for (let i = 0; i < 5; i++) bench.opened!.onStatus!({ ...READY, waitingBytes: i });

    assert.equal(bench.statuses.length, before);
  });

  it("writes why the target is down once, however often it hears it", async () => {
    const bench = new Bench();
    bench.node.onRuntimeOpen(bench.runtime);
    await settle();

    for (let i = 0; i < 30; i++) {
      bench.opened!.onStatus!({
        ...READY,
        circuit: "open",
        waiting: i,
        problem: { message: "no permission", code: "EACCES", configuration: false },
      });
      await bench.clock.advance(1_000);
    }

    assert.deepEqual(bench.warnings, ["no permission"]);
  });

  describe("with commands allowed", () => {
    it("obeys them, and sends none of them as a record", async () => {
      const bench = new Bench({ commands: true });
      bench.node.onRuntimeOpen(bench.runtime);
      await settle();

      const commands = ["pause", "flush", "resume", "close", "open"];
      for (const resilient of commands) bench.accept("x", { resilient });
      await settle();

      assert.deepEqual(bench.exporter.commands, commands);
      assert.deepEqual(bench.payloads, []);
      assert.deepEqual(bench.told, [undefined, undefined, undefined, undefined, undefined]);
    });

    it("obeys what was ordered while its queue was opening, once it is open", async () => {
      const bench = new Bench({ commands: true });

      bench.accept("x", { resilient: "pause" });
      assert.deepEqual(bench.told, []);
      bench.node.onRuntimeOpen(bench.runtime);
      await settle();

      assert.deepEqual(bench.exporter.commands, ["pause"]);
      assert.deepEqual(bench.told, [undefined]);
    });

    it("gives up no record at a message's word, unless that is switched on too", async () => {
      const careful = new Bench({ commands: true });
      const bold = new Bench({ commands: true, discard: true });
      for (const bench of [careful, bold]) bench.node.onRuntimeOpen(bench.runtime);
      await settle();

      for (const bench of [careful, bold]) bench.accept("x", { resilient: "discard" });
      await settle();

      assert.deepEqual([careful.exporter.commands, careful.told[0]?.code], [[], "not-allowed"]);
      assert.deepEqual([bold.exporter.commands, bold.told], [["discard"], [undefined]]);
    });

    it("tells the sender of a word that is no command", async () => {
      const bench = new Bench({ commands: true });
      bench.node.onRuntimeOpen(bench.runtime);
      await settle();

      bench.accept("x", { resilient: "explode" });
      await settle();

      assert.equal(bench.told[0]?.code, "unknown-command");
    });
  });

  it("takes a message with msg.resilient as a record where commands are not allowed", async () => {
    const bench = new Bench();
    bench.node.onRuntimeOpen(bench.runtime);
    await settle();

    bench.accept("x", { resilient: "pause" });

    assert.deepEqual(bench.payloads, ["x"]);
    assert.deepEqual(bench.exporter.commands, []);
  });

  describe("when it is closed", () => {
    it("closes its queue before it lets go of the runtime, once, however often it is asked", async () => {
      const bench = new Bench();
      bench.node.onRuntimeOpen(bench.runtime);
      await settle();

      await Promise.all([bench.node.close(), bench.node.close()]);

      assert.equal(bench.exporter.isClosed, true);
      assert.equal(bench.hasLeft, true);
      assert.equal(bench.clock.pendingTimers, 0);
    });

    it("accepts what it still holds when the queue opens just then", async () => {
      const bench = new Bench();
      bench.accept(1);

      const closed = bench.node.close();
      bench.node.onRuntimeOpen(bench.runtime);
      await closed;

      assert.deepEqual(bench.payloads, [1]);
      assert.equal(bench.exporter.isClosed, true);
      assert.equal(bench.clock.pendingTimers, 0);
    });

    it("does not wait for ever for a queue that does not open, and tells the senders", async () => {
      const bench = new Bench();
      bench.accept(1);

      const closed = bench.node.close();
      await bench.clock.advance(6_000);
      await closed;

      assert.equal(bench.told[0]?.code, "closed");
      assert.equal(bench.hasLeft, true);
    });

    it("closes a queue that opens too late", async () => {
      const opening = deferred<unknown>();
      const bench = new Bench({ opening: opening.promise });
      bench.node.onRuntimeOpen(bench.runtime);

      const closed = bench.node.close();
      await bench.clock.advance(6_000);
      assert.equal(bench.hasLeft, false);
      opening.resolve(undefined);
      await closed;

      assert.equal(bench.exporter.isClosed, true);
      assert.equal(bench.hasLeft, true);
    });

    it("refuses what comes afterwards", async () => {
      const bench = new Bench();
      bench.node.onRuntimeOpen(bench.runtime);
      await settle();
      await bench.node.close();

      bench.accept(1);

      assert.equal(bench.told[0]?.code, "closed");
    });
  });
});
