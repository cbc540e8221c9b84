/** The rest of a message, for a transform that looks at more than the data. */
import type { NodeMessageInFlow } from "node-red";
import type { TransformContext } from "../../src/transform.js";

/** Without what no copy would work of, as Node-RED itself leaves it out of clones: the request and its answer. */
export function contextOf(message: NodeMessageInFlow): TransformContext {
  const { req: _req, res: _res, ...rest } = message as NodeMessageInFlow & Record<"req" | "res", unknown>;
  return rest;
}
