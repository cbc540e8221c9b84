/** The nodes in Node-RED's own test helper: quick, in this process. What a user sees is tested in `test/node-red`. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import helper from "node-red-node-test-helper";
import registerFile from "../../nodes/file-exporter/file-exporter.js";
import registerRuntime from "../../nodes/runtime/runtime.js";
import { until } from "../node-red/flows.js";
import { tempFolder } from "../support/temp-folder.js";

describe("a file exporter in Node-RED's test helper", () => {
  before((done) => {
    helper.init(require.resolve("node-red"));
    helper.startServer(done);
  });
  after((done) => {
    helper.stopServer(done);
  });
  afterEach(() => helper.unload());

  it("completes a message when it is accepted, and brings it to its file", async () => {
    const folder = tempFolder();
    const file = join(folder, "lines.jsonl");
    const flow = [
      { id: "runtime", type: "resilient-runtime", folder: join(folder, "queues") },
      { id: "exporter", type: "resilient-file", runtime: "runtime", file, fileType: "str", wires: [] },
      { id: "done", type: "complete", scope: ["exporter"], wires: [["heard"]] },
      { id: "heard", type: "helper" },
    ];
    await helper.load([registerRuntime, registerFile, require("@node-red/nodes/core/common/24-complete.js")], flow);
    const completed = new Promise<unknown>((resolve) => {
      helper.getNode("heard").on("input", (message: { payload?: unknown }) => resolve(message.payload));
    });

    helper.getNode("exporter").receive({ payload: { temperature: 21.5 } });

    assert.deepEqual(await completed, { temperature: 21.5 });
    await until("the line is in the file", () => existsSync(file) && readFileSync(file, "utf8") !== "");
    assert.equal(readFileSync(file, "utf8"), '{"temperature":21.5}\n');
  });
});
