/**
 * Replaces and updates. In order, within a command and beyond: an older state must never overwrite a newer one.
 */
import { judgeCode } from "./judge.js";
import { errorOf, indexOf } from "./reply.js";
import { type Call, type Item, notUnderstood, sendWrites, uniqueIndex } from "./write.js";

export async function update(call: Call, items: readonly Item[]): Promise<void> {
  const { sheet, database, collection } = call;
  let rest = items;
  let triedAgain: Item | undefined;
  while (rest.length > 0) {
    const command = { update: collection, updates: rest.map((item) => item.document), ordered: true };
    const reply = await sendWrites(call, command, rest);
    const [error] = reply?.writeErrors ?? [];
    // The first error ends the command: what stands before it is done, what stands behind it was not tried.
    const done = error?.index ?? rest.length;
    const culprit = rest[done];
    // A statement that was alone and failed has written nothing, said or unsaid; of several, nobody knows which failed.
    const isAlone = error !== undefined && rest.length === 1;
    const written = isAlone && Number.isNaN(reply?.n) ? 0 : reply?.n;
    if (reply === undefined || written !== done || (error !== undefined && culprit === undefined))
      throw notUnderstood();
    for (const item of rest.slice(0, done)) sheet.settle(item.index, reply);
    if (error === undefined || culprit === undefined) return;
    const judgement = judgeCode(error.code, "document");
    if (judgement.verdict !== "duplicateKey") sheet.judge(culprit.index, judgement, errorOf(error));
    else if (culprit !== triedAgain) {
      // Two upserts of one key at once: the other has won, so this one will find its document.
      triedAgain = culprit;
      rest = rest.slice(done);
      continue;
    } else {
      const index = indexOf(error, `${database}.${collection}`);
      const name = index.kind === "other" ? index.name : "_id_";
      sheet.judge(culprit.index, uniqueIndex(judgement, name), errorOf(error));
    }
    if (sheet.outcomeOf(culprit.index)?.kind === "retry") return;
    rest = rest.slice(done + 1);
  }
}
