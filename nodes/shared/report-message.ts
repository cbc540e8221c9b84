/**
 * The message that an exporter's output sends for each batch that its target has answered.
 */
import type { Node, NodeMessage } from "node-red";
import type { DeliveryReport } from "../../src/library/report.js";
import { valueOf } from "./config.js";

/** The dialog's switch is the number of outputs. */
export function hasReportOutput(config: object): boolean {
  return Number(valueOf(config, "outputs")) >= 1;
}

export function reportMessage(node: Node, report: DeliveryReport): NodeMessage {
  const { destination, delivered, duplicates, retried, rejected } = report;
  return {
    topic: "report",
    payload: {
      exporter: { id: node.id, name: node.name ?? "", type: node.type },
      destination,
      delivered: delivered.length,
      duplicates,
      retried: retried.length,
      rejected: rejected.map(({ id, rejection: { code, message, statusCode }, routing }) => ({
        id,
        code,
        message,
        ...(statusCode === undefined ? {} : { statusCode }),
        routing: { ...routing },
      })),
      ids: { delivered, retried },
    },
  };
}
