/** Which of several runtime nodes has a folder, when one of them takes long to close. */
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { join } from "node:path";
import type { NodeAPI } from "node-red";
import register from "../../../nodes/runtime/runtime.js";
import type { RuntimeNode } from "../../../nodes/runtime/runtimes.js";
import { Runtime } from "../../../src/runtime/runtime.js";
import { DEFAULT_FLUSH } from "../../../src/runtime/settings.js";
import { settle } from "../../support/fake-clock.js";
import { tempFolder } from "../../support/temp-folder.js";

type Made = RuntimeNode & EventEmitter;

describe("a runtime node", () => {
  let folder: string;
  let make: (id: string) => Made;

  beforeEach(() => {
    folder = join(tempFolder(), "queues");
    let construct!: (this: Made, config: object) => void;
    const nothing = (): void => undefined;
    register({
      nodes: { createNode: nothing, registerType: (_type: string, made: typeof construct) => (construct = made) },
      settings: {},
      events: { on: nothing },
      httpAdmin: { get: nothing, post: nothing },
      auth: { needsPermission: nothing },
      _: (key: string) => key,
    } as unknown as NodeAPI);
    make = (id) => {
      const node = Object.assign(new EventEmitter(), { id, warn: nothing, error: nothing }) as unknown as Made;
      construct.call(node, { folder });
      return node;
    };
  });

  const close = (node: Made): Promise<void> => new Promise((resolve) => void node.emit("close", resolve));

  async function until(holds: () => boolean): Promise<void> {
    while (!holds()) await settle();
  }

  it("has its folder for itself although the one before it closed later than Node-RED waits", async () => {
    const slow = await Runtime.open({ folder, flush: DEFAULT_FLUSH });
    const before = make("one");
    const closing = close(before); // it has to open first
    const after = make("one");
    await slow.close();
    await closing;
    await until(() => after.engine !== undefined);

    const other = make("two");
    await settle();

    assert.equal(other.failure, "error.shared");
    await Promise.all([close(after), close(other)]);
  });
});
