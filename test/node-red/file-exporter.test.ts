/** The file exporter in a real Node-RED: deploys, restarts, and what Catch, Complete and Status nodes hear of it. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { type DeployType, type Flow, type NodeRed, startNodeRed } from "../support/node-red.js";
import { projectFolder } from "../support/servers-cache.js";
import {
  type Heard,
  TAB,
  countingSource,
  exporterNode,
  heard,
  linesOf,
  listeners,
  runtimeNode,
  send,
  until,
} from "./flows.js";

/** Node-RED gives a node 15 s to close; a deploy that comes near it would feel broken. */
const MAX_DEPLOY_MS = 12_000;

for (const version of NODE_RED_VERSIONS) {
  describe(`the file exporter in Node-RED ${version}`, () => {
    let nodeRed: NodeRed;
    let out: string;

    beforeEach(async () => {
      nodeRed = await startNodeRed(version);
      out = join(nodeRed.userDir, "out.jsonl");
    });
    afterEach(async function () {
      if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
      await nodeRed?.remove();
    });

    it("loses and doubles nothing through deploys of every kind, disabling, renaming and moving", async () => {
      const rest = [...listeners(["exporter"]), countingSource(3)];
      const steps: readonly (readonly [string, DeployType, Flow])[] = [
        ["first", "full", [TAB, runtimeNode(), exporterNode(), ...rest]],
        ["the same again", "full", [TAB, runtimeNode(), exporterNode(), ...rest]],
        ["renamed", "nodes", [TAB, runtimeNode(), exporterNode({ name: "renamed" }), ...rest]],
        ["other settings", "flows", [TAB, runtimeNode(), exporterNode({ flush: { batchRecords: 7 } }), ...rest]],
        ["runtime changed", "nodes", [TAB, runtimeNode({ name: "changed" }), exporterNode(), ...rest]],
        ["disabled", "nodes", [TAB, runtimeNode(), exporterNode({ d: true }), ...rest]],
        ["enabled", "nodes", [TAB, runtimeNode(), exporterNode(), ...rest]],
        ["tab disabled", "full", [{ ...TAB, disabled: true }, runtimeNode(), exporterNode(), ...rest]],
        ["tab enabled", "full", [TAB, runtimeNode(), exporterNode(), ...rest]],
        ["moved away", "full", [TAB, { ...TAB, id: "tab2" }, runtimeNode(), exporterNode({ z: "tab2" }), ...rest]],
        ["moved back", "full", [TAB, { ...TAB, id: "tab2" }, runtimeNode(), exporterNode(), ...rest]],
      ];

      for (const [name, type, flow] of steps) {
        const before = (await tryHeard(nodeRed))?.completed.length ?? 0;
        const startedAt = performance.now();
        await nodeRed.deploy(flow, type);
        const tookMs = performance.now() - startedAt;
        assert.ok(tookMs < MAX_DEPLOY_MS, `${name} took ${tookMs} ms`);
        if (name.includes("disabled") || name.includes("away")) continue;
        await until(`records after: ${name}`, async () => (await heard(nodeRed)).completed.length > before + 20);
      }
      await nodeRed.deploy(steps[0]![2].filter(({ id }) => id !== "source"));
      const { completed, caught, sent } = await heard(nodeRed);
      await until("the last line", () => linesOf(out).at(-1) === completed.at(-1));

      assertExactlyOnce(linesOf(out), completed);
      assert.ok(completed.length > 100 && sent >= completed.length, `${completed.length} of ${sent}`);
      assert.deepEqual(caught, []);
      assert.ok(!nodeRed.lines.some((line) => line.includes("Close timed out")));
    });

    it("delivers after a restart what waited before it, once and in order", async () => {
      const late = exporterNode({ file: "later/out.jsonl" });
      await nodeRed.deploy([TAB, runtimeNode(), late, ...listeners(["exporter"]), countingSource(3)]);
      await until("an outage on show", async () =>
        /target down.*waiting/.test((await heard(nodeRed)).statuses.join("\n")),
      );
      await until("some records", async () => (await heard(nodeRed)).completed.length > 100);

      const { completed } = await heard(nodeRed);
      const { code } = await nodeRed.stop();
      assert.equal(code, 0);
      mkdirSync(join(nodeRed.userDir, "later"));
      await nodeRed.restart();

      const file = join(nodeRed.userDir, "later", "out.jsonl");
      await until("what waited", () => linesOf(file).length >= completed.length);
      assert.deepEqual(linesOf(file).slice(0, completed.length), completed);
    });

    it("delivers after kill -9 what had been written, once and in order", async () => {
      const late = exporterNode({ file: "later/out.jsonl", flush: { durability: "everyMessage" } });
      await nodeRed.deploy([TAB, runtimeNode(), late, ...listeners(["exporter"]), countingSource(3)]);
      await until("some records", async () => (await heard(nodeRed)).completed.length > 100);

      const { completed } = await heard(nodeRed);
      await nodeRed.kill9();
      mkdirSync(join(nodeRed.userDir, "later"));
      await nodeRed.restart();

      const file = join(nodeRed.userDir, "later", "out.jsonl");
      await until("what waited", () => linesOf(file).length >= completed.length);
      assert.deepEqual(linesOf(file).slice(0, completed.length), completed);
    });

    it("shows an outage of the file, delivers when it ends, and touches the queue folder only meanwhile", async () => {
      await nodeRed.deploy([TAB, runtimeNode(), exporterNode({ file: "later/out.jsonl" }), ...listeners()]);
      await send(nodeRed, { payload: 1 });
      await until(
        "yellow",
        async () => (await heard(nodeRed)).statuses.at(-1)?.startsWith("yellow ring target down, 1 waiting") === true,
      );
      await until("a segment", () => segments(nodeRed).length > 0);

      mkdirSync(join(nodeRed.userDir, "later"));
      await until("green again", async () => (await heard(nodeRed)).statuses.at(-1) === "green dot ready", 60_000);

      assert.deepEqual(linesOf(join(nodeRed.userDir, "later", "out.jsonl")), [1]);
      await until("the queue to be empty", () => segments(nodeRed).length === 0);
    });

    it("gives a record that can never be written to Catch nodes, with payload, reason and code", async () => {
      const named = exporterNode({ file: "name", fileType: "msg", folder: "files", createFolders: true });
      await nodeRed.deploy([TAB, runtimeNode(), named, ...listeners(["exporter"])]);

      await send(nodeRed, { payload: { t: 1 }, topic: "attic", name: "../escaped" }, { payload: 2, name: "good" });
      await until(
        "both",
        async () => (await heard(nodeRed)).caught.length > 0 && existsSync(join(nodeRed.userDir, "files/good")),
      );

      const [caught] = (await heard(nodeRed)).caught;
      assert.deepEqual(caught?.payload, { t: 1 });
      assert.equal(caught?.topic, "attic");
      assert.equal(caught?.code, "file-name-refused");
      assert.match(caught?.message ?? "", /leads out of the folder/);
      assert.equal(caught?.rejection?.["file"], "../escaped");
      assert.ok(!existsSync(join(nodeRed.userDir, "escaped")));
      await until("the status to count it", async () =>
        /1 rejected/.test((await heard(nodeRed)).statuses.at(-1) ?? ""),
      );
    });

    it("tells the sender what is wrong with a message, and Complete nodes nothing", async () => {
      const where = { file: "to.name", fileType: "msg", folder: "files", createFolders: true };
      await nodeRed.deploy([TAB, runtimeNode(), exporterNode(where), ...listeners(["exporter"])]);

      await send(nodeRed, { payload: 1 }, { payload: 1, to: null }, { to: { name: "a" } });
      await until("all", async () => (await heard(nodeRed)).caught.length === 3);

      const { caught, completed } = await heard(nodeRed);
      assert.deepEqual(
        caught.map(({ code }) => code),
        ["no-destination", "no-destination", "no-data"],
      );
      assert.deepEqual(completed, []);
    });

    it("names files by JSONata, makes a line of each item of an array, and takes the data from where it is told", async () => {
      const named = exporterNode({
        file: "topic & '.txt'",
        fileType: "jsonata",
        folder: "files",
        createFolders: true,
        data: "payload.readings",
        dataType: "msg",
      });
      await nodeRed.deploy([TAB, runtimeNode(), named, ...listeners(["exporter"])]);

      await send(
        nodeRed,
        { topic: "a", payload: { readings: [1, { two: 2 }] } },
        { topic: "b", payload: { readings: "text as it is" } },
        { topic: "a", payload: { readings: [3] } },
      );
      await until(
        "all",
        () =>
          existsSync(join(nodeRed.userDir, "files/a.txt")) &&
          linesOf(join(nodeRed.userDir, "files/a.txt")).length === 3,
      );

      assert.deepEqual(linesOf(join(nodeRed.userDir, "files/a.txt")), [1, { two: 2 }, 3]);
      const b = join(nodeRed.userDir, "files/b.txt");
      await until("b", () => existsSync(b) && statSync(b).size > 0);
      assert.equal(readFileSync(b, "utf8"), "text as it is\n");
    });

    it("says so for every message when no runtime is chosen", async () => {
      await nodeRed.deploy([TAB, exporterNode({ runtime: "" }), ...listeners(["exporter"])]);

      await send(nodeRed, { payload: 1 }, { payload: 2 });
      await until("both", async () => (await heard(nodeRed)).caught.length === 2);

      assert.equal((await heard(nodeRed)).caught[0]?.code, "no-runtime");
    });

    it("refuses a folder that another Node-RED uses, harms nothing, and takes it over by itself later", async () => {
      const folder = join(nodeRed.userDir, "queues");
      const flow = [TAB, runtimeNode({ folder }), exporterNode(), ...listeners(["exporter"])];
      await nodeRed.deploy(flow);
      await send(nodeRed, { payload: "first" });
      const second = await startNodeRed(version);
      try {
        await second.deploy(flow);
        await second.waitFor("in use by another process");
        await send(second, { payload: "refused" });
        await until("an error", async () => (await heard(second)).caught.length === 1);
        assert.equal((await heard(second)).caught[0]?.code, "not-open");
        assert.match((await heard(second)).caught[0]?.message ?? "", /in use by another process/);

        await until("the first one's line", () => existsSync(out));
        await nodeRed.stop();
        await until("the second to be open", async () => (await heard(second)).statuses.at(-1) === "green dot ready");
        await send(second, { payload: "second" });
        await until("its line", () => existsSync(join(second.userDir, "out.jsonl")));
      } finally {
        await second.remove();
      }
    });

    it("keeps two runtimes of one Node-RED out of one folder", async () => {
      const folder = "queues";
      await nodeRed.deploy([
        TAB,
        runtimeNode({ folder }),
        runtimeNode({ id: "rt2", folder }),
        exporterNode(),
        exporterNode({ id: "exporter2", runtime: "rt2", file: "out2.jsonl" }),
        ...listeners(["exporter"]),
      ]);

      await nodeRed.waitFor("is used by another runtime of this Node-RED");
    });

    it("tells, each time, in which folder records are left behind when a runtime is given another one", async () => {
      const late = exporterNode({ file: "later/out.jsonl" });
      const useFolder = async (folder: string, tells?: string): Promise<void> => {
        const from = nodeRed.lines.length;
        await nodeRed.deploy([TAB, runtimeNode({ folder }), late, ...listeners(["exporter"])], "nodes");
        if (tells !== undefined) await nodeRed.waitFor(`${join(nodeRed.userDir, tells)} holds records`, from);
        await send(nodeRed, { payload: folder });
        await until("it to be accepted", async () => (await heard(nodeRed)).completed.at(-1) === folder);
      };

      await useFolder("first");
      await useFolder("", "first");
      await useFolder("second", "resilient-exporters/rt");
      await useFolder("first", "second");
      await useFolder("second", "first");
    });

    it("is paused, resumed and flushed by msg.resilient", async () => {
      await nodeRed.deploy([
        TAB,
        runtimeNode(),
        exporterNode({ flush: { sending: "onRequest" } }),
        ...listeners(["exporter"]),
      ]);
      await send(nodeRed, { payload: 1 }, { payload: 2 });
      await until("both waiting", async () => /2 waiting/.test((await heard(nodeRed)).statuses.at(-1) ?? ""));
      assert.deepEqual(linesOf(out), []);

      await send(nodeRed, { payload: "no record", resilient: "flush" });
      await until("both", () => linesOf(out).length === 2);

      await send(nodeRed, { resilient: "pause" });
      await until(
        "paused",
        async () => (await heard(nodeRed)).statuses.at(-1)?.startsWith("grey ring paused") === true,
      );
      assert.deepEqual(linesOf(out), [1, 2]);
    });

    it("runs the example: the machine's readings land in a file", async () => {
      const name = "1-readings-to-file.json";
      await nodeRed.deploy(JSON.parse(readFileSync(join(projectFolder, "examples", name), "utf8")) as Flow);
      const file = join(nodeRed.userDir, "readings.jsonl");

      const topics = (): Set<string> => new Set(linesOf(file).flatMap((line) => Object.keys(line as object)));
      await until("readings", () => topics().has("load") && topics().has("availableKiB"));

      for (const line of linesOf(file) as Record<string, unknown>[]) {
        assert.match(String(line["at"]), /^\d{4}-\d\d-\d\dT/);
        for (const [key, value] of Object.entries(line)) if (key !== "at") assert.ok(Number.isFinite(value), key);
      }
    });

    it("keeps the newest lines of a file that is full, and says how full it is", async () => {
      const output = { maxLines: 20, whenFull: "keepNew" };
      await nodeRed.deploy([TAB, runtimeNode(), exporterNode({ output }), ...listeners(["exporter"])]);

      const numbers = Array.from({ length: 50 }, (_, index) => index + 1);
      await send(nodeRed, { payload: numbers });
      await until("the last one", () => linesOf(out).at(-1) === 50);

      const lines = linesOf(out);
      assert.deepEqual(lines, numbers.slice(-lines.length));
      assert.ok(lines.length <= 20 && lines.length >= 10, `${lines.length} lines`);
      await until(
        "the status",
        async () => (await heard(nodeRed)).statuses.at(-1) === `green dot ready, ${lines.length} of 20 lines`,
      );
    });

    it("empties a file when it is deployed so, and not when Node-RED is only restarted", async () => {
      const output = { mode: "overwrite", format: "json" };
      const flow = [TAB, runtimeNode(), exporterNode({ output }), ...listeners(["exporter"])];
      await nodeRed.deploy(flow);
      await send(nodeRed, { payload: "first" });
      await until("the first", () => linesOf(out).length === 1);

      await nodeRed.restart();
      await send(nodeRed, { payload: "second" });
      await until("the second", () => linesOf(out).length === 2);
      assert.deepEqual(linesOf(out), ["first", "second"]);

      await nodeRed.deploy(flow);
      await send(nodeRed, { payload: "third" });
      await until("only the third", () => linesOf(out).length === 1);
      assert.deepEqual(linesOf(out), ["third"]);
    });

    it("keeps a backlog within its limit: refuses what is too much, or gives up the oldest, as the user chose", async () => {
      const outage = { file: "later/out.jsonl" };
      const refusing = exporterNode({ ...outage, flush: { backlogRecords: 10, overflow: "refuse" } });
      await nodeRed.deploy([TAB, runtimeNode(), refusing, ...listeners(["exporter"])]);
      await send(nodeRed, ...Array.from({ length: 12 }, (_, index) => ({ payload: index })));
      await until("ten accepted and two refusals", async () => {
        const { caught, completed } = await heard(nodeRed);
        return completed.length === 10 && caught.length === 2;
      });
      const { caught, completed } = await heard(nodeRed);
      assert.deepEqual(
        caught.map(({ payload, code }) => [payload, code]),
        [
          [10, "queue-full"],
          [11, "queue-full"],
        ],
      );
      assert.equal(completed.length, 10);

      const dropping = exporterNode({ ...outage, flush: { backlogRecords: 10, overflow: "dropOldest" } });
      await nodeRed.deploy([TAB, runtimeNode(), dropping, ...listeners(["exporter"])], "nodes");
      await send(nodeRed, { payload: 12 }, { payload: 13 });
      await until("the drops on show", async () => /2 dropped/.test((await heard(nodeRed)).statuses.at(-1) ?? ""));
      mkdirSync(join(nodeRed.userDir, "later"));

      const file = join(nodeRed.userDir, "later", "out.jsonl");
      await until("the rest", () => linesOf(file).at(-1) === 13);
      assert.deepEqual(linesOf(file), [2, 3, 4, 5, 6, 7, 8, 9, 12, 13]);
    });

    it("says at once, and for each message, what only the user can mend", async () => {
      const output = { format: "csv", columns: "" };
      await nodeRed.deploy([TAB, runtimeNode(), exporterNode({ output }), ...listeners(["exporter"])]);

      await nodeRed.waitFor("CSV needs the names of its columns");
      await send(nodeRed, { payload: 1 });
      await until("an error", async () => (await heard(nodeRed)).caught.length === 1);
      assert.equal((await heard(nodeRed)).caught[0]?.code, "file-columns");
    });

    it("fills variables into the names of its file and folders, and makes none by a name that lacks its value", async () => {
      await nodeRed.remove();
      nodeRed = await startNodeRed(version, { env: { DATA_FOLDER: "data", DEVICE: "pi-7" } });
      const named = runtimeNode({ folder: "queues/${DEVICE}" });
      const exporter = { file: "log-${DEVICE}.jsonl", folder: "${DATA_FOLDER}/lines", createFolders: true };
      await nodeRed.deploy([TAB, named, exporterNode(exporter), ...listeners(["exporter"])]);

      await send(nodeRed, { payload: 1 });

      const written = join(nodeRed.userDir, "data", "lines", "log-pi-7.jsonl");
      await until("written", () => linesOf(written).length === 1);
      assert.ok(existsSync(join(nodeRed.userDir, "queues", "pi-7")));

      for (const flow of [
        [runtimeNode(), exporterNode({ ...exporter, folder: "${NO_SUCH}/lines" })],
        [runtimeNode({ folder: "queues/${NO_SUCH}" }), exporterNode(exporter)],
      ]) {
        const from = nodeRed.lines.length;
        await nodeRed.deploy([TAB, ...flow, ...listeners(["exporter"])]);
        await nodeRed.waitFor("The environment variable NO_SUCH has no value", from);
        await send(nodeRed, { payload: 2 });
        await until("refused", async () =>
          (await heard(nodeRed)).caught.some((said) => JSON.stringify(said).includes("NO_SUCH")),
        );
      }
      const made = [nodeRed.userDir, join(nodeRed.userDir, "queues")].flatMap((folder) => readdirSync(folder));
      assert.ok(!made.some((name) => name.includes("NO_SUCH")), made.join());
    });

    it("waits while a folder stands in the place of the file", async () => {
      mkdirSync(out);
      await nodeRed.deploy([TAB, runtimeNode(), exporterNode(), ...listeners(["exporter"])]);
      await send(nodeRed, { payload: 1 });
      await until("an outage on show", async () =>
        /(target down|to be mended), 1 waiting/.test((await heard(nodeRed)).statuses.at(-1) ?? ""),
      );

      rmSync(out, { recursive: true });
      await until("its line", () => existsSync(out) && linesOf(out).length === 1, 60_000);
    });
  });
}

async function tryHeard(nodeRed: NodeRed): Promise<Heard | undefined> {
  try {
    return await heard(nodeRed);
  } catch {
    // Before the first deploy nobody listens.
    return undefined;
  }
}

/** Every completed record is there, none twice, and all in order. */
function assertExactlyOnce(lines: readonly unknown[], completed: readonly unknown[]): void {
  const numbers = lines as number[];
  for (let i = 1; i < numbers.length; i++) assert.ok(numbers[i]! > numbers[i - 1]!, `${numbers[i - 1]}, ${numbers[i]}`);
  const found = new Set(lines);
  assert.deepEqual(
    completed.filter((record) => !found.has(record)),
    [],
  );
}

function segments(nodeRed: NodeRed): string[] {
  const folder = join(nodeRed.userDir, "resilient-exporters", "rt", "logs");
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true })
    .map(String)
    .filter((name) => name.endsWith(".seg"));
}
