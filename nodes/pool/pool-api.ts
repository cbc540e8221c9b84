/**
 * What the pool's dialog asks of a pool that runs: how its members stand, who has left a place behind, and what is to
 * become of that.
 */
import type { NodeAPI } from "node-red";
import { RequestError, adminOf, textIn } from "../shared/admin.js";
import { memberOf } from "../shared/membership.js";
import { PoolNode } from "./pool-node.js";
import type { PoolView } from "./pool-status.js";

type Fields = Readonly<Record<string, unknown>>;

/** To be called once, when the module is loaded. */
export function servePools(RED: NodeAPI): void {
  const admin = adminOf(RED);
  const poolIn = (fields: Fields): { pool: PoolNode; view: PoolView } => {
    const pool = memberOf(RED.nodes.getNode(textIn(fields, "pool")));
    if (!(pool instanceof PoolNode)) throw new RequestError(404, "There is no such pool: it may be disabled.");
    const { view } = pool;
    if (view === undefined) throw new RequestError(409, "The pool's queue is not open.");
    return { pool, view };
  };

  admin.get("pool", ({ query }) => {
    const { members, orphans, waiting } = poolIn(query).view;
    return {
      members: members.map(({ id, isDisabled, waiting: own }) => ({ id, isDisabled, waiting: own })),
      orphans,
      waiting,
    };
  });

  admin.post("pool", async (body) => {
    const { pool, view } = poolIn(body);
    const orphan = textIn(body, "orphan");
    // Only one that is listed: a member's place is not given away.
    if (!view.orphans.some(({ id }) => id === orphan)) throw new RequestError(404, "There is no such place.");
    switch (textIn(body, "action")) {
      case "discard":
        await pool.discardOrphan(orphan);
        return { ok: true };
      case "adopt": {
        const into = textIn(body, "into");
        const heir = view.members.find(({ id }) => id === into);
        if (heir?.status === undefined) throw new RequestError(409, "The member that is to have it is not there.");
        return { records: await pool.adoptOrphan(orphan, into) };
      }
      default:
        throw new RequestError(400, "The action is adopt or discard.");
    }
  });
}
