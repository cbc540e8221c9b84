import assert from "node:assert/strict";
import { NodeError } from "../../../nodes/shared/errors.js";
import { Intake } from "../../../nodes/shared/intake.js";
import { settle } from "../../support/fake-clock.js";
import { deferred } from "../deferred.js";

interface Setup {
  readonly accepted: number[];
  readonly told: (Error | undefined)[];
  readonly intake: Intake<number>;
  readonly add: (item: number | Promise<number>) => void;
}

function setUp(max = 100): Setup {
  const accepted: number[] = [];
  const told: (Error | undefined)[] = [];
  const intake = new Intake<number>((item, done) => {
    accepted.push(item);
    done();
  }, max);
  return { accepted, told, intake, add: (item) => intake.add(item, (error) => told.push(error)) };
}

describe("messages that wait to be accepted", () => {
  it("accepts what came before the queue was open, in order, once it is", async () => {
    const { accepted, told, intake, add } = setUp();
    for (const item of [1, 2, 3]) add(item);
    assert.deepEqual(accepted, []);

    intake.open();
    await intake.drained();

    assert.deepEqual(accepted, [1, 2, 3]);
    assert.deepEqual(told, [undefined, undefined, undefined]);
    assert.equal(intake.isClear, true);
  });

  it("lets nothing pass a message whose value is still being looked up", async () => {
    const { accepted, intake, add } = setUp();
    intake.open();
    const first = deferred<number>();

    add(first.promise);
    assert.equal(intake.isClear, false);
    add(2);
    add(Promise.resolve(3));
    await settle();
    assert.deepEqual(accepted, []);

    first.resolve(1);
    await intake.drained();
    assert.deepEqual(accepted, [1, 2, 3]);
  });

  it("goes on after a value that cannot be had, and tells its sender", async () => {
    const { accepted, told, intake, add } = setUp();
    intake.open();

    add(Promise.reject(new Error("no such store")));
    add(2);
    await intake.drained();

    assert.deepEqual(accepted, [2]);
    assert.equal(told[0]?.message, "no such store");
    assert.equal(told[1], undefined);
  });

  it("refuses what is too much, at once, and keeps the rest", async () => {
    const { accepted, told, intake, add } = setUp(2);
    for (const item of [1, 2, 3]) add(item);

    assert.equal((told[0] as NodeError).code, "too-many-waiting");
    intake.open();
    await intake.drained();
    assert.deepEqual(accepted, [1, 2]);
  });

  it("tells every sender when the node closes, and accepts nothing afterwards", async () => {
    const { accepted, told, intake, add } = setUp();
    const value = deferred<number>();
    intake.open();
    add(value.promise);
    add(2);

    intake.refuse(new NodeError("closed", "closed"));
    value.resolve(1);
    await settle();

    assert.deepEqual(accepted, []);
    assert.deepEqual(
      told.map((error) => (error as NodeError).code),
      ["closed", "closed"],
    );
  });

  it("accepts what is added while it is accepting", async () => {
    const accepted: number[] = [];
    const intake: Intake<number> = new Intake((item, done) => {
      accepted.push(item);
      if (item < 3) intake.add(item + 1, () => undefined);
      done();
    }, 10);
    intake.add(1, () => undefined);

    intake.open();
    await intake.drained();

    assert.deepEqual(accepted, [1, 2, 3]);
  });
});
