import assert from "node:assert/strict";
import * as fs from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import type { FileTargetOptions } from "../../../src/targets/file/options.js";
import { FileTarget } from "../../../src/targets/file/target.js";
import type { ResumePoint } from "../../../src/targets/target.js";
import { tempFolder } from "../../support/temp-folder.js";
import { LogModel } from "./log-model.js";

/** What a random life is made of. `die` ends it at once; `dieInDelivery` after the bytes, before the answer is heard. */
type Step =
  | { readonly do: "add"; readonly values: readonly (readonly [number, number])[] }
  | { readonly do: "deliver"; readonly most: number }
  | { readonly do: "store" }
  | { readonly do: "rotateByOthers" }
  | { readonly do: "die" }
  | { readonly do: "dieInDelivery"; readonly most: number }
  /** At the next position that is to be stored: before or after it is. */
  | { readonly do: "dieAtNote"; readonly isStored: boolean };

const step = (others: boolean): fc.Arbitrary<Step> =>
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant("add" as const),
        values: fc.array(fc.tuple(fc.nat(1), fc.nat(4)), { minLength: 1, maxLength: 8 }),
      }),
    },
    { weight: 6, arbitrary: fc.record({ do: fc.constant("deliver" as const), most: fc.integer({ min: 1, max: 6 }) }) },
    { weight: 2, arbitrary: fc.constant({ do: "store" as const }) },
    { weight: 1, arbitrary: fc.constant({ do: "die" as const }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant("dieInDelivery" as const), most: fc.integer({ min: 1, max: 6 }) }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("dieAtNote" as const), isStored: fc.boolean() }) },
    ...(others ? [{ weight: 1, arbitrary: fc.constant({ do: "rotateByOthers" as const }) }] : []),
  );

class Died extends Error {}

/** Plays the steps over as many lives as it takes, then one more that delivers what is left. */
async function play(
  options: FileTargetOptions,
  log: LogModel,
  steps: readonly Step[],
  routing: (value: number) => string | undefined,
  rotate: () => void,
): Promise<void> {
  let target: FileTarget | undefined;
  let dies: { readonly isStored: boolean } | undefined;
  const born = async (): Promise<FileTarget> => {
    if (target !== undefined) return target;
    const resume: ResumePoint = log.resume();
    target = new FileTarget(options);
    await target.open(new AbortController().signal, {
      ...resume,
      note: async (state) => {
        if (dies?.isStored !== false) await resume.note!(state);
        if (dies !== undefined) throw new Died();
      },
    });
    return target;
  };
  const die = async (): Promise<void> => {
    await target?.close(); // flushes nothing: a descriptor holds no data
    target = undefined;
    dies = undefined;
    log.crash();
  };
  for (const step of [...steps, { do: "die" as const }, { do: "deliver" as const, most: Infinity }]) {
    try {
      switch (step.do) {
        case "add":
          for (const [value, file] of step.values) {
            const name = routing(file);
            log.add(String(value), name === undefined ? {} : { file: name });
          }
          break;
        case "deliver":
          await log.deliver(await born(), step.most);
          break;
        case "store":
          log.store();
          break;
        case "rotateByOthers":
          rotate();
          break;
        case "die":
          await die();
          break;
        case "dieInDelivery":
          await log.deliver(await born(), step.most, true);
          await die();
          break;
        case "dieAtNote":
          dies = step;
          await born();
          break;
      }
    } catch (error) {
      if (!((error as Error).cause instanceof Died)) throw error;
      await die();
    }
  }
  await log.deliverAll(await born());
  await die();
}

function lines(text: string): string[] {
  return text.split("\n").slice(0, -1);
}

/** The files set aside, oldest first, and the file itself. */
function allOf(file: string): string {
  const numbers = fs
    .readdirSync(join(file, ".."))
    .map((name) => /^data\.log\.(\d+)$/.exec(name)?.[1])
    .filter((number) => number !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
  return [...numbers.map((n) => `${file}.${n}`), file].map((each) => fs.readFileSync(each, "utf8")).join("");
}

describe("Through lives that end anywhere, the file target", () => {
  const runs = Number(process.env["RUNS"] ?? 40);
  let folder: string;
  let round = 0;

  beforeEach(() => {
    folder = tempFolder();
  });

  function newFile(): string {
    return join(folder, String(round++), "data.log");
  }

  async function holds(
    others: boolean,
    options: (file: string) => FileTargetOptions,
    routing: (value: number) => string | undefined,
    check: (file: string, log: LogModel) => void,
  ): Promise<void> {
    await fc.assert(
      fc.asyncProperty(fc.array(step(others), { maxLength: 25 }), async (steps) => {
        const file = newFile();
        const log = new LogModel();
        let rotations = 1_000;
        const rotate = (): void => {
          if (fs.existsSync(file)) fs.renameSync(file, `${file}.${rotations++}`);
        };
        await play(options(file), log, steps, routing, rotate);
        if (log.records.length > 0) check(file, log);
      }),
      { numRuns: runs },
    );
  }

  const one = (): undefined => undefined;
  const payloads = (log: LogModel): string[] => log.records.map(({ bytes }) => JSON.parse(bytes.toString()) as string);

  it("writes each record once, in order, though others move the file away", async () => {
    await holds(
      true,
      (file) => ({ file }),
      one,
      (file, log) => {
        assert.deepEqual(lines(allOf(file)), payloads(log));
      },
    );
  });

  it("writes each record once over the files that it sets aside itself", async () => {
    const options = (file: string): FileTargetOptions => ({
      file,
      maxLines: 3,
      whenFull: "rotate",
      rotate: { keepFiles: 10_000 },
    });
    await holds(false, options, one, (file, log) => {
      const all = allOf(file);
      assert.deepEqual(lines(all), payloads(log));
      assert.ok(lines(fs.readFileSync(file, "utf8")).length <= 3);
    });
  });

  it("keeps the newest lines, each once, and no more than it may", async () => {
    const options = (file: string): FileTargetOptions => ({ file, maxLines: 10 });
    await holds(false, options, one, (file, log) => {
      const kept = lines(fs.readFileSync(file, "utf8"));
      assert.ok(kept.length <= 10 && kept.length >= Math.min(log.records.length, 4), `${kept.length} lines`);
      assert.deepEqual(kept, payloads(log).slice(-kept.length));
      assert.deepEqual(fs.readdirSync(join(file, "..")), ["data.log"]);
    });
  });

  it("begins each file with one header, whatever is cut off", async () => {
    const csv = { columns: ["value"] };
    const options = (file: string): FileTargetOptions => ({ file, format: "csv", csv, maxLines: 10 });
    await holds(false, options, one, (file, log) => {
      const [header, ...kept] = lines(fs.readFileSync(file, "utf8"));
      assert.equal(header, "value");
      assert.deepEqual(kept, payloads(log).slice(-kept.length));
    });
  });

  it("writes each record once to the file that it names", async () => {
    const options = (file: string): FileTargetOptions => ({ root: join(file, "..") });
    await holds(
      false,
      options,
      (n) => `${n}/data.log`,
      (file, log) => {
        for (let n = 0; n < 5; n++) {
          const expected = log.records.filter(({ routing }) => routing["file"] === `${n}/data.log`);
          if (expected.length === 0) continue;
          assert.deepEqual(
            lines(fs.readFileSync(join(file, "..", `${n}/data.log`), "utf8")),
            expected.map(({ bytes }) => JSON.parse(bytes.toString()) as string),
          );
        }
      },
    );
  });

  it("writes each record once to more files than its state has room for", async () => {
    const long = "x".repeat(200);
    const options = (file: string): FileTargetOptions => ({ root: join(file, "..") });
    const name = (n: number): string => `${long}${n}`;
    let counter = 0;
    await holds(
      false,
      options,
      () => name(counter++ % 30),
      (file, log) => {
        for (let n = 0; n < 30; n++) {
          const expected = log.records.filter(({ routing }) => routing["file"] === name(n));
          if (expected.length === 0) continue;
          assert.deepEqual(
            lines(fs.readFileSync(join(file, "..", name(n)), "utf8")),
            expected.map(({ bytes }) => JSON.parse(bytes.toString()) as string),
          );
        }
      },
    );
  });
});
