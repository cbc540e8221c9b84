import assert from "node:assert/strict";
import fc from "fast-check";
import { deepCopy } from "../src/deep-copy.js";
import { compile, TransformError, type Transform } from "../src/transform.js";
import { FakeClock } from "./support/fake-clock.js";

const js = (body: string, options = {}): Transform => compile("javascript", body, options);

function failsWith(code: TransformError["code"], message = /./): (error: unknown) => boolean {
  return (error) => error instanceof TransformError && error.code === code && message.test(error.message);
}

describe("transform", () => {
  describe("of no kind", () => {
    it("hands the payload on as it is, an array as many records", () => {
      const payload = { a: 1 };

      assert.deepEqual(compile("none").run(payload), [payload]);
      assert.deepEqual(compile("none").run([1, null]), [1, null]);
      assert.deepEqual(compile("none").run(null), [null]);
    });
  });

  describe("in JavaScript", () => {
    it("returns at once what the function returns", () => {
      assert.equal(JSON.stringify(js("return { t: payload.t / 10 };").run({ t: 215 })), '[{"t":21.5}]');
      assert.deepEqual(js("return msg.payload + msg.topic;").run("a", { topic: "b" }), ["ab"]);
    });

    it("never changes the message, however deep it writes", () => {
      const payload = { list: [{ n: 1 }], at: new Date(1), bytes: Buffer.from("a"), map: new Map([["k", { n: 1 }]]) };
      const context = { topic: "t", meta: { n: 1 } };
      const before = structuredClone({ payload: { ...payload, bytes: "a" }, context });

      const change = js(
        "payload.list[0].n = 2; payload.at.setTime(9); payload.bytes[0] = 0; payload.map.get('k').n = 2; msg.meta.n = 2; return 1;",
      );
      assert.deepEqual(change.run(payload, context), [1]);
      const inPlace = compile("javascript", (copy) => ((copy as typeof payload).list[0]!.n = 3));
      assert.deepEqual(inPlace.run(payload), [3]);

      assert.deepEqual({ payload: { ...payload, bytes: payload.bytes.toString() }, context }, before);
    });

    it("makes many records of an array, and none of nothing", () => {
      assert.deepEqual(js("return [1, null, 2, undefined, false, 0, ''];").run(0), [1, 2, false, 0, ""]);
      for (const body of ["", "return;", "return null;", "return [];", "return [null];"]) {
        assert.deepEqual(js(body).run(0), []);
      }
    });

    it("takes what was written for a function node: return msg means its payload", async () => {
      assert.deepEqual(js("msg.payload = msg.payload * 2; return msg;").run(2), [4]);
      assert.deepEqual(js("msg.payload = 5; return [msg, 'x'];").run(2), [5, "x"]);
      assert.deepEqual(await js("msg.payload = await Promise.resolve(6); return msg;").run(2), [6]);
    });

    it("rejects the record when the function throws, with what it threw as the cause", () => {
      assert.throws(() => js("throw new RangeError('too hot');").run(0), failsWith("transform-failed", /too hot/));
      assert.throws(() => js("throw 'words';").run(0), failsWith("transform-failed", /words/));
      assert.throws(
        () => js("return payload.a.b;").run({}),
        (error: Error) => /undefined/.test(String(error.cause)),
      );
      assert.throws(
        () =>
          compile("javascript", () => {
            throw new Error("own");
          }).run(0),
        failsWith("transform-failed", /own/),
      );
    });

    it("rejects the record whatever the function throws", () => {
      for (const thrown of ["null", "undefined", "Object.create(null)", "{}", "Symbol('s')", "1n"]) {
        assert.throws(() => compile("javascript", `throw ${thrown};`).run(1), TransformError, thrown);
      }
    });

    it("stops an endless loop, and goes on working", () => {
      // Far more than the second run needs, on a machine with other work too.
      const transform = js("while (payload) {} return 'out';", { timeoutMs: 1_000 });

      assert.throws(() => transform.run(true), failsWith("transform-timeout"));
      assert.deepEqual(transform.run(false), ["out"]);
    });

    it("gives up waiting for a promise that never settles", async () => {
      const clock = new FakeClock();
      const transform = js("await new Promise(() => {});", { timeoutMs: 1_000, clock });

      const running = transform.run(0);
      const rejected = assert.rejects(running as Promise<unknown>, failsWith("transform-timeout"));
      await clock.advance(1_000);

      await rejected;
    });

    it("may await, and rejects by the promise then", async () => {
      assert.deepEqual(await js("return [await Promise.resolve(payload), 2];", { timeoutMs: 1_000 }).run(1), [1, 2]);
      await assert.rejects(
        js("await null; throw new Error('late');").run(0) as Promise<unknown>,
        failsWith("transform-failed", /late/),
      );
    });

    it("is refused when it does not compile", () => {
      for (const body of ["return {", "}); process.exit(1); (function () {"]) {
        assert.throws(() => js(body), failsWith("transform-invalid"));
      }
    });

    it("sees the globals of a function node and those that are given, not those of the process", () => {
      const globals = { env: { get: (name: string) => name.toUpperCase() } };

      assert.deepEqual(
        js("return [typeof process, typeof require, typeof Buffer, env.get('x')];", { globals }).run(0),
        ["undefined", "undefined", "function", "X"],
      );
    });
  });

  describe("in JSONata", () => {
    it("sees the message, as elsewhere in Node-RED", async () => {
      const transform = compile("jsonata", '{ "where": topic, "celsius": (payload.f - 32) / 1.8 }');

      assert.deepEqual(JSON.parse(JSON.stringify(await transform.run({ f: 212 }, { topic: "kettle" }))), [
        { where: "kettle", celsius: 100 },
      ]);
    });

    it("makes many records of a sequence, and none of nothing", async () => {
      assert.deepEqual(await compile("jsonata", "payload.n").run([{ n: 1 }, { n: 2 }]), [1, 2]);
      assert.deepEqual(await compile("jsonata", "payload.missing").run({}), []);
    });

    it("sees the payload as it was when it was accepted", async () => {
      const payload = { n: 1 };

      const running = compile("jsonata", "payload.n").run(payload);
      payload.n = 2;

      assert.deepEqual(await running, [1]);
    });

    it("rejects the record on an error, in JSONata's words", async () => {
      await assert.rejects(
        compile("jsonata", "payload + 'x'").run("y") as Promise<unknown>,
        failsWith("transform-failed", /operator/),
      );
    });

    it("stops an endless loop", async () => {
      const endless = compile("jsonata", "($f := function($n) { $f($n + 1) }; $f(payload))", { timeoutMs: 20 });

      await assert.rejects(endless.run(1) as Promise<unknown>, failsWith("transform-timeout"));
    });

    it("is refused when it does not compile", () => {
      assert.throws(() => compile("jsonata", "{ 'a': "), failsWith("transform-invalid"));
    });

    it("can use given functions and values", async () => {
      const globals = { env: (name: string) => name.toUpperCase(), factor: 3 };

      assert.deepEqual(await compile("jsonata", "$env('x') & $factor", { globals }).run(0), ["X3"]);
    });
  });
});

describe("deep copy", () => {
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSet: true,
    withTypedArray: true,
  });

  it("equals its source and shares nothing that can change", () => {
    fc.assert(
      fc.property(anything, (value) => {
        const copy = deepCopy(value);

        assert.deepEqual(copy, value);
        assertNothingShared(copy, value);
      }),
    );
  });

  it("keeps circles, shared parts and any depth", () => {
    const circle: Record<string, unknown> = { shared: {} };
    circle["self"] = circle;
    circle["again"] = circle["shared"];
    let deep: unknown[] = [];
    for (let i = 0; i < 1_000; i++) deep = [deep];

    const copy = deepCopy(circle) as typeof circle;

    assert.notEqual(copy, circle);
    assert.equal(copy["self"], copy);
    assert.equal(copy["again"], copy["shared"]);
    assert.deepEqual(deepCopy(deep), deep);
  });

  it("ends when one object repeats until a plain copy would not", () => {
    let doubled: unknown = [1];
    for (let i = 0; i < 60; i++) doubled = [doubled, doubled];

    const copy = deepCopy(doubled) as unknown[];

    assert.equal(copy[0], copy[1]);
    assert.notEqual(copy[0], (doubled as unknown[])[0]);
  });

  it("keeps a key __proto__ as data", () => {
    const copy = deepCopy(JSON.parse('{"__proto__":{"polluted":1}}')) as Record<string, unknown>;

    assert.equal(JSON.stringify(copy), '{"__proto__":{"polluted":1}}');
    assert.equal(Object.getPrototypeOf(copy), Object.prototype);
  });

  it("shares what no copy could replace", () => {
    class Socket {
      readonly #open = true;
      get isOpen(): boolean {
        return this.#open;
      }
    }
    const source = { socket: new Socket(), call: () => 1 };

    const copy = deepCopy(source) as typeof source;

    assert.equal(copy.socket.isOpen, true);
    assert.equal(copy.call, source.call);
  });
});

function assertNothingShared(copy: unknown, source: unknown): void {
  if (typeof copy !== "object" || copy === null) return;
  assert.notEqual(copy, source);
  if (copy instanceof Map)
    return assertNothingShared([...copy.values()], [...(source as Map<unknown, unknown>).values()]);
  if (copy instanceof Set) return assertNothingShared([...copy], [...(source as Set<unknown>)]);
  if (ArrayBuffer.isView(copy)) return assert.notEqual(copy.buffer, (source as ArrayBufferView).buffer);
  for (const key of Object.keys(copy)) {
    assertNothingShared((copy as Record<string, unknown>)[key], (source as Record<string, unknown>)[key]);
  }
}
