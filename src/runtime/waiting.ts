/**
 * What still waits in a queue that nobody has open, and for whom: read for a person, or to be moved elsewhere.
 */
import type { Log } from "../log/log.js";
import type { LogRecord } from "../record.js";

/** Where a member of a pool began, as a place of its own, while anything from before still waits: node ids have no colon. */
export const BEGINNING = "began:";

/** Such a place says where somebody began, and waits for nothing. */
export function isBeginning(id: string): boolean {
  return id.startsWith(BEGINNING);
}

/** Reads what nobody's place tells of any more. */
const NOBODY = "nobody:";

/** Those who have a place in the log. */
export function waitersIn(log: Log): string[] {
  return [...log.orphans.keys()].filter((id) => !isBeginning(id));
}

/** Damage may have swallowed places: what follows it may be wanted by somebody who is not known any more. */
export function hasLostPlaces(log: Log): boolean {
  const { newcomerOffset, nextOffset } = log.found;
  return newcomerOffset < nextOffset;
}

/** Everything that at least one of them has not confirmed, oldest first, each record once. Opens all of them. */
export async function* waitingIn(log: Log): AsyncGenerator<LogRecord> {
  const ids = waitersIn(log);
  if (hasLostPlaces(log)) ids.push(NOBODY);
  // Each has confirmed records that others still wait for, so no single one sees all.
  const streams = ids.map((id) => log.addConsumer(id).unconfirmed());
  const heads = await Promise.all(streams.map(nextOf));
  for (;;) {
    let first: LogRecord | undefined;
    for (const head of heads)
      if (head !== undefined && (first === undefined || head.offset < first.offset)) first = head;
    if (first === undefined) return;
    for (const [i, head] of heads.entries()) if (head?.offset === first.offset) heads[i] = await nextOf(streams[i]!);
    yield first;
  }
}

async function nextOf(stream: AsyncGenerator<LogRecord>): Promise<LogRecord | undefined> {
  const next = await stream.next();
  return next.done === true ? undefined : next.value;
}
