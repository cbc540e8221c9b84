/** What a user can hear of deliveries, and order, in a real Node-RED: commands, reports, events, rejected records. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { NODE_RED_VERSIONS } from "../support/node-red-install.js";
import { type Flow, type NodeRed, startNodeRed } from "../support/node-red.js";
import {
  type Heard,
  TAB,
  eventsNode,
  exporterNode,
  heard,
  linesOf,
  listeners,
  noted,
  notes,
  runtimeNode,
  send,
  until,
} from "./flows.js";

interface Letters {
  readonly count: number;
  readonly hasMore: boolean;
  readonly letters: readonly { readonly id: string; readonly code: string; readonly payload: string }[];
}

/** "secret", as adminAuth wants it. */
const SECRET = "$2b$04$uMZ1OYB.FTjuXrFGuVNvQOAkLPjQvkaPgt9FZrhf/f2QXx7Ovdqw6";
const QUEUE = { runtime: "rt", queue: "exporter" };

for (const version of NODE_RED_VERSIONS) {
  describe(`deliveries in Node-RED ${version}`, () => {
    let nodeRed: NodeRed;
    let out: string;

    before(async () => {
      nodeRed = await startNodeRed(version);
      out = join(nodeRed.userDir, "out.jsonl");
    });
    afterEach(async function () {
      if (this.currentTest?.state === "failed") process.stdout.write(`${nodeRed.lines.slice(-40).join("\n")}\n`);
      await nodeRed.deploy([TAB]);
      rmSync(join(nodeRed.userDir, "resilient-exporters"), { recursive: true, force: true });
      rmSync(out, { force: true });
    });
    after(() => nodeRed.remove());

    const waiting = async (): Promise<number> => (await stateOf(nodeRed)).status.waiting;
    const ready = (): Promise<void> => until("an open queue", async () => (await membersOf(nodeRed)).length > 0);
    const deploy = async (flow: Flow): Promise<void> => {
      await nodeRed.deploy(flow);
      await ready();
    };
    const command = (resilient: string): Promise<void> => send(nodeRed, { payload: "no record", resilient });

    it("obeys pause, discard and resume as messages, and writes none of them", async () => {
      await deploy([TAB, runtimeNode(), exporterNode({ discard: true }), ...listeners()]);
      await send(nodeRed, { payload: 1 });
      await until("the first line", () => linesOf(out).length === 1);

      await command("pause");
      await send(nodeRed, { payload: 2 }, { payload: 3 });
      await until("two that wait", async () => (await waiting()) === 2);
      await command("discard");
      await until("none that waits", async () => (await waiting()) === 0);
      await command("resume");
      await send(nodeRed, { payload: 4 });
      await until("the last line", () => linesOf(out).at(-1) === 4);

      assert.deepEqual(linesOf(out), [1, 4]);
      assert.deepEqual((await heard(nodeRed)).caught, []);
    });

    it("lets go of its file at close, and takes it up again at open", async () => {
      await deploy([TAB, runtimeNode(), exporterNode(), ...listeners()]);
      await send(nodeRed, { payload: 1 });
      await until("the first line", () => linesOf(out).length === 1);

      await command("close");
      await until("paused on show", async () => (await stateOf(nodeRed)).status.paused);
      renameSync(out, `${out}.taken`);
      await send(nodeRed, { payload: 2 });
      await until("one that waits", async () => (await waiting()) === 1);
      assert.ok(!existsSync(out));
      await command("open");
      await until("the second line", () => linesOf(out).length === 1);

      assert.deepEqual([linesOf(`${out}.taken`), linesOf(out)], [[1], [2]]);
    });

    it("sends on request when it is asked, and not before", async () => {
      const flush = { sending: "onRequest" };
      await deploy([TAB, runtimeNode(), exporterNode({ flush }), ...listeners()]);

      await send(nodeRed, { payload: 1 }, { payload: 2 });
      await until("two that wait", async () => (await waiting()) === 2);
      assert.ok(!existsSync(out));
      await command("flush");

      await until("both lines", () => existsSync(out) && linesOf(out).length === 2);
    });

    it("refuses to discard at a message's word where that is not switched on, and tells Catch nodes", async () => {
      await deploy([TAB, runtimeNode(), exporterNode({ control: true }), ...listeners()]);

      await command("discard");

      await until("an error", async () => (await heard(nodeRed)).caught.at(-1)?.code === "not-allowed");
    });

    it("writes an array as one record where that is wanted, and names files by the day", async () => {
      const dated = exporterNode({ file: "days/%Y-%m-%d.jsonl", createFolders: true, arrays: "one" });
      await deploy([TAB, runtimeNode(), dated, ...listeners()]);
      const today = (): string => new Date().toISOString().slice(0, 10);

      const before = today();
      await send(nodeRed, { payload: [1, 2] });
      const files = [before, today()].map((day) => join(nodeRed.userDir, "days", `${day}.jsonl`));
      await until("its line", () => files.some((file) => linesOf(file).length === 1));

      assert.deepEqual(
        files.map(linesOf).find((lines) => lines.length > 0),
        [[1, 2]],
      );
    });

    it("tells of a target that goes and comes, and of a backlog that grows, as messages", async () => {
      const flow = [TAB, runtimeNode(), exporterNode({ file: "later/out.jsonl" }), ...listeners(), ...notes()];
      await deploy([...flow, eventsNode({ thresholds: { records: 3 } })]);
      const kinds = async (): Promise<string[]> => (await noted(nodeRed)).events.map(({ kind }) => kind);

      await send(nodeRed, { payload: 1 }, { payload: 2 }, { payload: 3 });
      await until("down and high", async () => ["targetDown", "backlogHigh"].every(contains(await kinds())));
      mkdirSync(join(nodeRed.userDir, "later"));
      await until("up and normal", async () => ["targetUp", "backlogNormal"].every(contains(await kinds())), 60_000);

      const down = (await noted(nodeRed)).events.find(({ kind }) => kind === "targetDown");
      assert.deepEqual(down?.["exporter"], { id: "exporter", name: "", type: "resilient-file" });
      assert.deepEqual(down?.["runtime"], { id: "rt", name: "" });
      assert.match(String(down?.["message"]), /later/);
    });

    it("sets aside one poison record among 10,000, delivers the others once, and that one when its cause is mended", async () => {
      const folder = join(nodeRed.userDir, "files");
      mkdirSync(join(folder, "elsewhere"), { recursive: true });
      symlinkSync(join(folder, "elsewhere"), join(folder, "link"));
      const named = exporterNode({
        file: "name",
        fileType: "msg",
        folder: "files",
        outputs: 1,
        wires: [["note-reports"]],
      });
      await deploy([TAB, runtimeNode(), named, ...listeners(["exporter"]), ...notes()]);

      for (let from = 1; from <= 10_000; from += 1_000) {
        const numbers = Array.from({ length: 1_000 }, (_, i) => from + i);
        await send(nodeRed, ...numbers.map((n) => ({ payload: n, name: n === 5_000 ? "link/bad" : "good" })));
      }
      await until("all but one", () => linesOf(join(folder, "good")).length === 9_999, 60_000);
      await until("the other", async () => (await letters(nodeRed)).count === 1);
      const caught = async (): Promise<Heard["caught"]> =>
        (await heard(nodeRed)).caught.filter(({ code }) => code === "file-name-refused");
      const delivered = async (): Promise<number> =>
        sum((await noted(nodeRed)).reports.map((report) => report.delivered));
      // Both are told when the lines are there already.
      await until("the report of each", async () => (await caught()).length === 1 && (await delivered()) >= 9_999);

      assert.deepEqual(new Set(linesOf(join(folder, "good"))).size, 9_999);
      const { letters: kept } = await letters(nodeRed);
      assert.deepEqual([kept[0]?.code, kept[0]?.payload], ["file-name-refused", '{"$numberInt":"5000"}']);
      assert.deepEqual(
        (await caught()).map(({ payload, code }) => [payload, code]),
        [[5_000, "file-name-refused"]],
      );
      const { reports } = await noted(nodeRed);
      assert.equal(await delivered(), 9_999);
      assert.equal(sum(reports.map(({ ids }) => new Set(ids.delivered).size)), 9_999);
      const rejected = reports.flatMap((report) => report.rejected);
      assert.deepEqual(
        rejected.map(({ code, routing }) => [code, routing]),
        [["file-name-refused", { file: "link/bad" }]],
      );
      assert.deepEqual(reports[0]?.exporter.type, "resilient-file");

      await post(nodeRed, "letters", { ...QUEUE, action: "requeue", ids: [kept[0]?.id] });
      await until("it is rejected again", async () => (await caught()).length === 2);
      await until("it is kept again", async () => (await letters(nodeRed)).count === 1);
      assert.equal((await letters(nodeRed)).letters[0]?.id, kept[0]?.id, "the same id");
      rmSync(join(folder, "link"));
      mkdirSync(join(folder, "link"));
      assert.deepEqual(await post(nodeRed, "letters", { ...QUEUE, action: "requeue", all: true }), { records: 1 });
      await until("it is delivered", () => linesOf(join(folder, "link", "bad")).length === 1);
      assert.deepEqual((await letters(nodeRed)).count, 0);
    });

    it("lists what was rejected in pages and by code, exports and discards it, also after a restart", async () => {
      const named = exporterNode({ file: "name", fileType: "msg", folder: "files" });
      await deploy([TAB, runtimeNode(), named, ...listeners(["exporter"])]);
      await send(nodeRed, ...[1, 2, 3].map((payload) => ({ payload, name: "../out" })), { payload: 4, name: "a/" });
      await until("four letters", async () => (await letters(nodeRed)).count === 4);

      await nodeRed.restart();
      await ready();
      const first = await letters(nodeRed, "&limit=3");
      const second = await letters(nodeRed, "&limit=3&from=3");
      assert.deepEqual([first.letters.length, first.hasMore], [3, true]);
      assert.deepEqual([second.letters.length, second.hasMore], [1, false]);
      assert.equal((await letters(nodeRed, "&code=other")).letters.length, 0);
      const exported = await exportOf(nodeRed, `letters/export?${QUERY}`);
      assert.deepEqual(
        exported
          .trim()
          .split("\n")
          .map((line) => (JSON.parse(line) as { payload: unknown }).payload),
        [1, 2, 3, 4].map((n) => ({ $numberInt: String(n) })),
      );

      await post(nodeRed, "letters", { ...QUEUE, action: "discard", ids: [first.letters[0]?.id] });
      assert.equal((await letters(nodeRed)).count, 3);
      await assert.rejects(post(nodeRed, "letters", { ...QUEUE, action: "discard" }), /400/);
      assert.deepEqual(await post(nodeRed, "letters", { ...QUEUE, action: "discard", all: true }), { records: 3 });
      assert.equal((await letters(nodeRed)).count, 0);
    });

    it("finds the queue of a node that is gone, exports it, and has another node adopt it", async () => {
      await deploy([TAB, runtimeNode(), exporterNode({ file: "nowhere/out.jsonl" }), ...listeners()]);
      await send(nodeRed, { payload: 1 }, { payload: 2 });
      await until("two that wait", async () => (await waiting()) === 2);
      await deploy([TAB, runtimeNode(), exporterNode({ id: "new" }), ...listeners()]);

      const { orphans } = (await nodeRed.request(`${API}/orphans?runtime=rt`)) as {
        orphans: { id: string; records: number }[];
      };
      assert.deepEqual(
        orphans.map(({ id, records }) => [id, records]),
        [["exporter", 2]],
      );
      const exported = await exportOf(nodeRed, "orphans/export?runtime=rt&orphan=exporter");
      assert.equal(exported.trim().split("\n").length, 2);
      await assert.rejects(post(nodeRed, "orphans", { runtime: "rt", orphan: "../..", action: "discard" }), /404/);
      await post(nodeRed, "orphans", { runtime: "rt", orphan: "exporter", action: "adopt", into: "new" });

      await until("what it had", () => linesOf(out).length === 2);
      assert.deepEqual(linesOf(out), [1, 2]);
    });

    it("takes changes as JSON only, which another site cannot send, and nothing from who is not logged in", async () => {
      const form = {
        method: "POST",
        body: "command=pause",
        headers: { "content-type": "application/x-www-form-urlencoded" },
      };
      assert.equal((await fetch(`${nodeRed.url}${API}/command`, form)).status, 415);

      const password = SECRET;
      const users = ["*", "read"].map((permissions) => ({ username: `may-${permissions}`, password, permissions }));
      const closed = await startNodeRed(version, {
        flows: [TAB, runtimeNode(), exporterNode()],
        settings: { adminAuth: { type: "credentials", users } },
      });
      try {
        const all = await login(closed, "may-*");
        const read = await login(closed, "may-read");
        const asked = async (path: string, token?: string, body?: object): Promise<number> => {
          const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
          if (body !== undefined) headers["content-type"] = "application/json";
          const init = body === undefined ? { headers } : { headers, method: "POST", body: JSON.stringify(body) };
          return (await fetch(`${closed.url}${API}/${path}`, init)).status;
        };
        const pause = { ...QUEUE, command: "pause" };
        await until("an open queue", async () => (await asked(`letters?${QUERY}`, read)) === 200);
        for (const path of ["state", `letters?${QUERY}`, `letters/export?${QUERY}`, "orphans?runtime=rt"]) {
          assert.deepEqual([await asked(path), await asked(path, read)], [401, 200], path);
        }
        for (const path of ["command", "letters", "orphans"]) {
          assert.deepEqual([await asked(path, undefined, pause), await asked(path, read, pause)], [401, 401], path);
        }
        assert.equal(await asked("command", all, pause), 200);
      } finally {
        await closed.remove();
      }
    });
  });
}

const API = "/resilient-exporters";
const QUERY = new URLSearchParams(QUEUE).toString();

interface MemberState {
  readonly status: { readonly waiting: number; readonly paused: boolean };
}

async function membersOf(nodeRed: NodeRed): Promise<readonly MemberState[]> {
  const { runtimes } = (await nodeRed.request(`${API}/state`)) as {
    runtimes: readonly { readonly queues?: readonly { readonly members: readonly MemberState[] }[] }[];
  };
  return runtimes[0]?.queues?.[0]?.members ?? [];
}

async function stateOf(nodeRed: NodeRed): Promise<MemberState> {
  return (await membersOf(nodeRed))[0]!;
}

async function letters(nodeRed: NodeRed, more = ""): Promise<Letters> {
  return (await nodeRed.request(`${API}/letters?${QUERY}${more}`)) as Letters;
}

function post(nodeRed: NodeRed, path: string, body: object): Promise<unknown> {
  return nodeRed.request(`${API}/${path}`, { method: "POST", body: JSON.stringify(body) });
}

async function exportOf(nodeRed: NodeRed, path: string): Promise<string> {
  return (await fetch(`${nodeRed.url}${API}/${path}`)).text();
}

async function login(nodeRed: NodeRed, username: string): Promise<string> {
  const body = { client_id: "node-red-admin", grant_type: "password", scope: "", username, password: "secret" };
  const answer = await nodeRed.request("/auth/token", { method: "POST", body: JSON.stringify(body) });
  return (answer as { access_token: string }).access_token;
}

function contains(all: readonly string[]): (one: string) => boolean {
  return (one) => all.includes(one);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
