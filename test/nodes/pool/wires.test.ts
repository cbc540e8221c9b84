/** Who would be a member of a pool, though it is disabled: read from the flows, since there is no node to look at. */
import assert from "node:assert/strict";
import type { Node, NodeAPI, NodeDef } from "node-red";
import { describer } from "../../../nodes/pool/described.js";
import { type Followed, followWires } from "../../../nodes/pool/wires.js";

/** A pool that runs, wired to nodes that do not. */
function follow(wires: readonly string[], flows: readonly object[], hasTransform = false): Followed {
  const pool = { id: "pool", type: "resilient-pool", wires: [wires] } as unknown as Node;
  const RED = { nodes: { eachNode: (cb: (node: NodeDef) => void) => (flows as NodeDef[]).forEach(cb) } };
  return followWires(pool, hasTransform, () => null, describer(RED as unknown as NodeAPI));
}

describe("a disabled node wired to a pool", () => {
  it("is stored for when it is an exporter, and not when it is anything else", () => {
    const { disabled, absent } = follow(
      ["a", "debug", "gone"],
      [
        { id: "a", type: "resilient-file" },
        { id: "debug", type: "debug" },
      ],
    );

    assert.deepEqual([...disabled], ["a"]);
    assert.deepEqual([...absent], ["a", "debug", "gone"]);
  });

  it("is stored for behind a junction, links or a pool that are disabled too, whatever loops there are", () => {
    const { disabled } = follow(
      ["junction", "inner"],
      [
        { id: "junction", type: "junction", wires: [["out"]] },
        { id: "out", type: "link out", mode: "link", links: ["in"], wires: [] },
        { id: "in", type: "link in", links: ["out"], wires: [["a", "junction"]] },
        { id: "inner", type: "resilient-pool", wires: [["b", "pool", "fn"]] },
        { id: "fn", type: "function", wires: [["c"]] },
        ...["a", "b", "c"].map((id) => ({ id, type: "resilient-mongodb" })),
      ],
    );

    assert.deepEqual([...disabled].sort(), ["a", "b"]);
  });

  it("keeps its own records, not the pool's, when it has a transform and the pool has none", () => {
    const flows = [{ id: "a", type: "resilient-file", transform: { kind: "jsonata", source: "payload" } }];

    assert.deepEqual([...follow(["a"], flows).disabled], []);
    assert.deepEqual([...follow(["a"], flows, true).disabled], ["a"]);
  });

  it("is known inside a subflow by the name that it has in that instance", () => {
    const { disabled } = follow(
      ["one-two-junction"],
      [
        { id: "junction", type: "junction", wires: [["a"]] },
        { id: "a", type: "resilient-elasticsearch" },
      ],
    );

    assert.deepEqual([...disabled], ["one-two-a"]);
  });

  it("does not end a pool whose flow file is damaged", () => {
    const { disabled } = follow(
      ["a", "b", "c"],
      [
        { id: "a", type: "junction", wires: "broken" },
        { id: "b", type: "link out", links: [1, null, ["d"]] },
        { id: "c", type: "resilient-file", transform: null },
      ],
    );

    assert.deepEqual([...disabled], ["c"]);
  });
});
