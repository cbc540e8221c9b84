/**
 * Two exporters, or one exporter that is fed by two queues, write to one file. What holds: no line is lost or torn, each
 * one's lines are in order; a crash may repeat the last lines of either.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { FileTarget } from "../../../src/targets/file/target.js";
import type { FileTargetOptions } from "../../../src/targets/file/options.js";
import { tempFolder } from "../../support/temp-folder.js";
import { LogModel } from "./log-model.js";

interface Writer {
  readonly name: string;
  readonly log: LogModel;
  target: FileTarget;
}

describe("Two writers of one file", () => {
  let file: string;
  let writers: Writer[];

  beforeEach(() => {
    file = join(tempFolder(), "data.log");
    writers = [];
  });
  afterEach(() => Promise.all(writers.map(({ target }) => target.close())));

  async function begin(options: Omit<FileTargetOptions, "file"> = {}): Promise<void> {
    for (const name of ["a", "b"]) {
      const writer: Writer = { name, log: new LogModel(), target: new FileTarget({ file, ...options }) };
      await writer.log.open(writer.target);
      writers.push(writer);
    }
  }

  const lines = (): string[] => {
    const all = readFileSync(file, "utf8").split("\n");
    assert.equal(all.pop(), "", "the last line has no end");
    return all;
  };
  const linesOf = (name: string): number[] =>
    lines()
      .filter((line) => line.startsWith(name))
      .map((line) => Number(line.split(" ")[1]));
  const add = ({ name, log }: Writer, count: number): void => {
    for (let i = 0; i < count; i++) log.add(`${name} ${log.records.length} ${"x".repeat((i * 37) % 300)}`);
  };

  /** As the loop does it: a target that wants to compare the file first is opened again. */
  const deliver = async ({ log, target }: Writer): Promise<void> => {
    while (log.waiting().length > 0) {
      try {
        await log.deliver(target);
      } catch (error) {
        if ((error as { code?: unknown }).code !== "file-came-back") throw error;
        await log.open(target);
      }
    }
  };

  it("have all their lines in it, whole and each writer's in order", async () => {
    await begin();

    for (let round = 0; round < 50; round++) {
      for (const writer of writers) add(writer, 1 + ((round * 7) % 20));
      await Promise.all(writers.map(({ log, target }) => log.deliver(target)));
    }

    for (const { name, log } of writers) {
      assert.deepEqual(
        linesOf(name),
        log.records.map((_, n) => n),
      );
    }
  });

  it("lose no line while the oldest make room, or files are set aside", async () => {
    await begin({ maxLines: 60 });

    for (let round = 0; round < 60; round++) {
      for (const writer of writers) add(writer, 10);
      await Promise.all(writers.map(({ log, target }) => log.deliver(target)));
      const found = lines();
      for (const { name, log } of writers) {
        const newest = log.records.slice(-10).map(({ bytes }) => JSON.parse(bytes.toString()) as string);
        for (const line of newest) assert.ok(found.includes(line), `round ${round}: ${line.slice(0, 10)} of ${name}`);
      }
    }
  });

  it("lose no line by a crash of both, though the last ones may come again", async () => {
    await begin();
    for (let life = 0; life < 20; life++) {
      for (let round = 0; round < 4; round++) {
        for (const writer of writers) add(writer, 1 + ((life + round * 3) % 9));
        await Promise.all(writers.map(deliver));
        if ((life + round) % 5 === 0) for (const { log } of writers) log.store();
      }
      for (const writer of writers) {
        await writer.target.close();
        writer.log.crash();
        writer.target = new FileTarget({ file });
      }
      await Promise.all(writers.map(({ log, target }) => log.open(target)));
    }
    await Promise.all(writers.map(deliver));

    for (const { name, log } of writers) {
      const firsts = [...new Set(linesOf(name))];
      assert.deepEqual(
        firsts,
        log.records.map((_, n) => n),
        "lost, or out of order",
      );
    }
  });
});
