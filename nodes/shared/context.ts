/** The rest of a message, for a transform that looks at more than the data. */
import type { NodeMessageInFlow } from "node-red";
import type { TransformContext } from "../../src/transform.js";

/** Without what no copy would work of, as Node-RED itself leaves it out of clones: the request and its answer. */
export function contextOf(message: NodeMessageInFlow): TransformContext {
  const { req, res, ...rest } = message as NodeMessageInFlow & { readonly req?: unknown; readonly res?: unknown };
  return rest as unknown as TransformContext;
}
