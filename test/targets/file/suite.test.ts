import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import type { FileTargetOptions } from "../../../src/targets/file/options.js";
import { FileTarget } from "../../../src/targets/file/target.js";
import { describeTarget } from "../../support/target-suite.js";
import type { TargetHarness } from "../../support/target-suite.js";
import { tempFolder } from "../../support/temp-folder.js";

function numberIn(line: string): number {
  return (JSON.parse(line) as { n: number }).n;
}

/** The disk is a folder that is moved away and back. */
function harnessOf(options: Partial<FileTargetOptions>): TargetHarness {
  return {
    oncePer: "resume",
    can: { stop: true, mute: false, poison: true },
    deadlineMs: 2_000,
    async make({ isStarted }) {
      const parent = tempFolder();
      const folder = join(parent, "disk");
      const unplugged = join(parent, "unplugged");
      if (isStarted) mkdirSync(folder);
      const make = (): FileTarget =>
        new FileTarget({ file: join(folder, "data.log"), createFolders: false, ...options });
      return {
        target: make(),
        another: make,
        async readBack() {
          if (!existsSync(folder)) return [];
          const numbers = readdirSync(folder)
            .map((name) => Number(name.split(".")[2] ?? Infinity))
            .sort((a, b) => a - b);
          const names = numbers.map((n) => (n === Infinity ? "data.log" : `data.log.${n}`));
          return names
            .flatMap((name) => readFileSync(join(folder, name), "utf8").split("\n").slice(0, -1))
            .map(numberIn);
        },
        poison: () => ({ encoded: { codec: 1, bytes: Buffer.from("not BSON") } }),
        async stop() {
          renameSync(folder, unplugged);
        },
        async start() {
          if (existsSync(unplugged)) renameSync(unplugged, folder);
          else mkdirSync(folder);
        },
        async dispose() {},
      };
    },
  };
}

describeTarget("FileTarget", harnessOf({}));
describeTarget(
  "FileTarget that sets files aside",
  harnessOf({ maxLines: 25, whenFull: "rotate", rotate: { keepFiles: 10_000 } }),
);
describeTarget("FileTarget that counts its lines", harnessOf({ maxLines: 5_000 }));
