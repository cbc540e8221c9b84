/**
 * What the editor's sidebar asks and orders: how the queues stand, what waits without a node, what was rejected, and
 * what is to become of it.
 */
import { once } from "node:events";
import type { NodeAPI } from "node-red";
import { extendedJson } from "../../src/codec.js";
import type { DeadLetter, DeadLetters, LetterFilter } from "../../src/delivery/dead-letters.js";
import type { Exporter } from "../../src/runtime/exporter.js";
import type { Member } from "../../src/runtime/member.js";
import type { Pool } from "../../src/runtime/pool.js";
import type { Runtime } from "../../src/runtime/runtime.js";
import { type AdminResponse, RequestError, adminOf, numberIn, textIn } from "../shared/admin.js";
import { isCommand, obey, together } from "../shared/commands.js";
import type { RuntimeNode } from "./runtimes.js";

/** Letters in one answer at most. */
const MOST_LETTERS = 200;
/** Letters before these are read and passed over. */
const MOST_PASSED_OVER = 10_000_000;
/** Of a payload, what a list shows; the export has all of it. */
const SHOWN_CHARACTERS = 2_000;
/** Letters named one by one in an order. */
const MOST_IDS = 1_000;
/** An export that nobody goes on reading must not keep a queue from being opened. */
const EXPORT_STALL_MS = 30_000;

type Fields = Readonly<Record<string, unknown>>;

/** To be called once, when the module is loaded. */
export function serveQueues(RED: NodeAPI, runtimes: () => readonly RuntimeNode[]): void {
  const admin = adminOf(RED);
  const engineOf = (fields: Fields): Runtime => {
    const node = runtimes().find(({ id }) => id === textIn(fields, "runtime"));
    if (node === undefined) throw new RequestError(404, "There is no such runtime: it may be disabled.");
    if (node.engine === undefined) throw new RequestError(409, `The queues are not open: ${node.failure ?? "opening"}`);
    return node.engine;
  };
  const openedIn = (fields: Fields, name = "queue"): Exporter | Pool => {
    const opened = engineOf(fields).find(textIn(fields, name));
    if (opened === undefined) throw new RequestError(404, "There is no such queue: its node may be disabled.");
    return opened;
  };

  admin.get("state", () => ({ runtimes: runtimes().map(stateOf) }));

  admin.post("command", async (body) => {
    const command = textIn(body, "command");
    if (!isCommand(command)) throw new RequestError(400, "There is no such command.");
    const { members } = openedIn(body);
    const member = textIn(body, "member");
    const steered = member === "" ? [...members.values()] : [memberIn(members, member)];
    // A flush ends when the target has been offered everything: the editor does not wait for it.
    const done = obey(command, together(steered), true);
    if (command !== "flush") await done;
    else done.catch((error: unknown) => RED.log.warn(String(error)));
    return { ok: true };
  });

  admin.get("orphans", async ({ query }) => ({ orphans: await engineOf(query).orphans() }));

  admin.get("orphans/export", ({ query }, response) => {
    const orphan = orphanIn(query);
    return download(response, `${orphan}.jsonl`, engineOf(query).exportOrphan(orphan));
  });

  admin.post("orphans", async (body) => {
    const engine = engineOf(body);
    const orphan = orphanIn(body);
    // Only what is there now: an id from outside names no folder.
    if (!(await engine.orphans()).some(({ id }) => id === orphan)) {
      throw new RequestError(404, "There is no such queue without a node.");
    }
    switch (textIn(body, "action")) {
      case "adopt":
        return { records: await engine.adoptOrphan(orphan, openedIn(body, "into")) };
      case "discard":
        await engine.discardOrphan(orphan);
        return { ok: true };
      default:
        throw new RequestError(400, "The action is adopt or discard.");
    }
  });

  admin.get("letters", async ({ query }) => {
    const { letters } = lettersIn(openedIn(query), query);
    const from = numberIn(query, "from", 0, MOST_PASSED_OVER);
    const limit = numberIn(query, "limit", 50, MOST_LETTERS);
    return { count: letters.count, dropped: letters.dropped, ...(await page(letters, filterIn(query), from, limit)) };
  });

  admin.get("letters/export", ({ query }, response) => {
    const { letters } = lettersIn(openedIn(query), query);
    return download(response, `${textIn(query, "queue")}-rejected.jsonl`, letters.exported(filterIn(query)));
  });

  admin.post("letters", async (body) => {
    const opened = openedIn(body);
    const { letters, member } = lettersIn(opened, body);
    const filter = filterIn(body);
    if (filter.ids === undefined && body["all"] !== true) throw new RequestError(400, "Name ids, or say all.");
    switch (textIn(body, "action")) {
      case "requeue":
        if (member !== undefined) return { records: await member.requeue(filter) };
        return { records: await letters.requeue(filter, (letter) => opened.queue.requeue(letter)) };
      case "discard": {
        const records = await letters.discard(filter);
        member?.changed();
        return { records };
      }
      default:
        throw new RequestError(400, "The action is requeue or discard.");
    }
  });
}

function stateOf(node: RuntimeNode): object {
  const { id, name, engine, failure } = node;
  if (engine === undefined) return { id, name, failure: failure ?? "" };
  const { network } = engine;
  return {
    id,
    name,
    folder: engine.folder,
    network: network.kind === "offline" ? { kind: network.kind, proof: network.proof } : { kind: network.kind },
    used: engine.used,
    budgets: engine.budgets,
    queues: engine.overview(),
  };
}

function memberIn(members: ReadonlyMap<string, Member>, id: string): Member {
  const member = members.get(id);
  if (member === undefined) throw new RequestError(404, "There is no such member.");
  return member;
}

/** The letters of a member, or what a pool itself could not accept. */
function lettersIn(opened: Exporter | Pool, fields: Fields): { letters: DeadLetters; member: Member | undefined } {
  const id = textIn(fields, "member");
  if (id === "" && "deadLetters" in opened) return { letters: opened.deadLetters, member: undefined };
  const member = memberIn(opened.members, id === "" ? opened.id : id);
  return { letters: member.deadLetters, member };
}

function filterIn(fields: Fields): LetterFilter {
  const { ids } = fields;
  const code = textIn(fields, "code");
  if (ids !== undefined && (!Array.isArray(ids) || ids.length > MOST_IDS)) {
    throw new RequestError(400, `ids must be an array of at most ${MOST_IDS}.`);
  }
  return {
    ...(ids === undefined ? {} : { ids: new Set(ids.map(String)) }),
    ...(code === "" ? {} : { code }),
  };
}

function orphanIn(fields: Fields): string {
  const orphan = textIn(fields, "orphan");
  if (orphan === "") throw new RequestError(400, "Name the queue.");
  return orphan;
}

async function page(
  letters: DeadLetters,
  filter: LetterFilter,
  from: number,
  limit: number,
): Promise<{ letters: object[]; hasMore: boolean }> {
  const shown: object[] = [];
  let passed = 0;
  for await (const letter of letters.letters(filter)) {
    if (passed++ < from) continue;
    if (shown.length >= limit) return { letters: shown, hasMore: true };
    shown.push(shownLetter(letter));
  }
  return { letters: shown, hasMore: false };
}

function shownLetter({ id, acceptedAtMs, rejectedAtMs, rejection, routing, record, wasAccepted }: DeadLetter): object {
  const payload = extendedJson(record);
  return {
    id,
    acceptedAtMs,
    rejectedAtMs,
    ...rejection,
    routing: { ...routing },
    wasAccepted,
    payload: payload.slice(0, SHOWN_CHARACTERS),
    isCut: payload.length > SHOWN_CHARACTERS,
  };
}

/** Sends lines as a file, no faster than they are read. */
async function download(response: AdminResponse, name: string, lines: AsyncGenerator<string>): Promise<undefined> {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  // The first line before the head: what cannot be read at all is an error, not an empty file.
  let next = await lines.next();
  response.setHeader("Content-Type", "application/x-ndjson; charset=utf-8");
  response.setHeader("Content-Disposition", `attachment; filename="${name.replaceAll(/[^\w.-]/g, "_")}"`);
  response.setHeader("X-Content-Type-Options", "nosniff");
  try {
    while (next.done !== true && !gone.signal.aborted) {
      if (!response.write(next.value)) {
        await once(response, "drain", { signal: AbortSignal.any([gone.signal, AbortSignal.timeout(EXPORT_STALL_MS)]) });
      }
      next = await lines.next();
    }
    response.end();
  } finally {
    await lines.return(undefined);
  }
  return undefined;
}
