/**
 * `resilient-file`: each record becomes a line of a file. How lines get there exactly once is the engine's file target.
 */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { Node, NodeAPI, NodeDef, NodeMessageInFlow } from "node-red";
import type { Routing } from "../../src/record.js";
import { FileTarget } from "../../src/targets/file/target.js";
import { becomeExporter } from "../shared/become-exporter.js";
import { switchOf, textOf } from "../shared/config.js";
import { NodeError } from "../shared/errors.js";
import type { ExporterKind } from "../shared/exporter-node.js";
import { RoutingCache } from "../shared/routing-cache.js";
import { typedValue } from "../shared/typed-value.js";

export default function register(RED: NodeAPI): void {
  function ResilientFile(this: Node, config: NodeDef): void {
    RED.nodes.createNode(this, config);
    becomeExporter(RED, this, config, () => fileExporter(RED, this, config));
  }

  RED.nodes.registerType("resilient-file", ResilientFile);
}

/**
 * A name that the user fixed may be anywhere. One that comes from messages comes from anyone: it stays below the
 * folder, which the target sees to, links included.
 * @throws when an expression cannot be read, or the dialog's values do not suffice
 */
function fileExporter(RED: NodeAPI, node: Node, config: NodeDef): ExporterKind {
  const file = typedValue(RED, node, textOf(config, "file"), textOf(config, "fileType", "str"));
  const folder = textOf(config, "folder").trim();
  const createFolders = switchOf(config, "createFolders", true);
  const routings = new RoutingCache();
  if (file.kind === "fixed") {
    const path = resolve(filesFolder(RED), folder, nameIn(file.evaluate({})));
    return {
      target: () => new FileTarget({ file: path, createFolders }),
      routesLater: false,
      routingOf: (message) => routings.of("file", undefined, message),
    };
  }
  if (folder === "") throw new NodeError("no-destination", RED._("error.folderMissing"));
  const root = resolve(filesFolder(RED), folder);
  const routed = (message: NodeMessageInFlow, name: unknown): Routing => routings.of("file", nameIn(name), message);
  return {
    target: () => new FileTarget({ root, createFolders }),
    routesLater: file.kind === "later",
    routingOf:
      file.kind === "later"
        ? async (message) => routed(message, await file.evaluate(message))
        : (message) => routed(message, file.evaluate(message)),
  };
}

function nameIn(value: unknown): string {
  const name = typeof value === "number" ? String(value) : value;
  if (typeof name === "string" && name.trim() !== "") return name;
  throw new NodeError(
    "no-destination",
    "The file name is missing: the message or variable that should hold it does not.",
  );
}

/** Where relative names start: as for Node-RED's own file nodes where that is set, never the folder of the process. */
function filesFolder(RED: NodeAPI): string {
  const { fileWorkingDirectory, userDir } = RED.settings as { fileWorkingDirectory?: string; userDir?: string };
  return fileWorkingDirectory ?? userDir ?? join(homedir(), ".node-red");
}
