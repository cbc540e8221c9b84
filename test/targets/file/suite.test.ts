import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { FileTarget } from "../../../src/targets/file/target.js";
import { describeTarget } from "../../support/target-suite.js";
import { tempFolder } from "../../support/temp-folder.js";

describeTarget("FileTarget", {
  oncePer: "resume",
  can: { stop: true, mute: false, poison: true },
  deadlineMs: 2_000,
  async make({ isStarted }) {
    const parent = tempFolder();
    const folder = join(parent, "disk");
    const unplugged = join(parent, "unplugged");
    const file = join(folder, "data.log");
    if (isStarted) mkdirSync(folder);
    const make = (): FileTarget => new FileTarget({ file, createFolders: false });
    return {
      target: make(),
      another: make,
      async readBack() {
        if (!existsSync(file)) return [];
        const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
        return lines.map((line) => (JSON.parse(line) as { n: number }).n);
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
});
