/**
 * `resilient-file`: each record becomes a line of a file. How lines get there exactly once is the engine's file target.
 */
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import type { Node, NodeAPI, NodeDef, NodeMessageInFlow } from "node-red";
import { systemClock } from "../../src/clock.js";
import { formatUtc } from "../../src/date-codes.js";
import type { Routing } from "../../src/record.js";
import type { FileTargetOptions } from "../../src/targets/file/options.js";
import { FileTarget } from "../../src/targets/file/target.js";
import { becomeExporter } from "../shared/become-exporter.js";
import { switchOf, textOf, valueOf } from "../shared/config.js";
import { environmentOf } from "../shared/environment.js";
import { NodeError } from "../shared/errors.js";
import type { ExporterKind } from "../shared/exporter-node.js";
import { RoutingCache } from "../shared/routing-cache.js";
import { tellProblems } from "../shared/setup.js";
import { typedValue } from "../shared/typed-value.js";
import { checkFileSettings, targetOptions } from "./file-settings.js";

export default function register(RED: NodeAPI): void {
  // A node that starts with Node-RED goes on with its files; one that is deployed may have to empty them.
  let isFirstStart = true;
  RED.events.once("flows:started", () => (isFirstStart = false));

  function ResilientFile(this: Node, config: NodeDef): void {
    RED.nodes.createNode(this, config);
    becomeExporter(RED, this, config, () => fileExporter(RED, this, config, isFirstStart));
  }

  RED.nodes.registerType("resilient-file", ResilientFile);
}

/**
 * A name that the user fixed may be anywhere. One that comes from messages comes from anyone: it stays below the
 * folder, which the target sees to, links included.
 * @throws when an expression cannot be read, or the dialog's values do not suffice
 */
function fileExporter(RED: NodeAPI, node: Node, config: NodeDef, isFirstStart: boolean): ExporterKind {
  const { settings, problems } = checkFileSettings(valueOf(config, "output"));
  tellProblems(node, problems);
  const filledIn = environmentOf(RED, node);
  const fileType = textOf(config, "fileType", "str");
  const fileText = textOf(config, "file");
  const file = typedValue(RED, node, fileType === "str" ? filledIn(fileText) : fileText, fileType);
  const folder = filledIn(textOf(config, "folder")).trim();
  const given = file.kind === "fixed" ? nameIn(file.evaluate({})) : undefined;
  if (given === undefined && folder === "") throw new NodeError("no-destination", RED._("error.folderMissing"));
  const options: FileTargetOptions = {
    ...targetOptions(settings),
    createFolders: switchOf(config, "createFolders", true),
    ...placeOf(resolve(filesFolder(RED), folder), given),
  };
  // Made here although it is used later: what is wrong with the options shows at once.
  let target = new FileTarget({ ...options, continues: isFirstStart });
  let isFirst = true;

  const routings = new RoutingCache();
  const routed = (message: NodeMessageInFlow, name: string): Routing =>
    routings.of("file", formatUtc(name, systemClock.wallMs()), message);
  const dated = given === undefined ? undefined : datedName(given);
  return {
    target: () => {
      if (!isFirst) target = new FileTarget({ ...options, continues: true });
      isFirst = false;
      return target;
    },
    routesLater: file.kind === "later",
    routingOf: (message) => {
      if (dated !== undefined) return routed(message, dated.name);
      if (given !== undefined) return routings.of("file", undefined, message);
      const name = file.evaluate(message);
      return name instanceof Promise
        ? name.then((found) => routed(message, nameIn(found)))
        : routed(message, nameIn(name));
    },
    note: () => {
      const { lines, maxLines } = target.fill ?? {};
      if (lines === undefined || maxLines === undefined || !Number.isFinite(maxLines)) return "";
      return RED._("status.lines", { lines, maxLines });
    },
  };
}

/** A fixed name is one file. One with a date is a file a day, or an hour, below what stands before the first date. */
function placeOf(folder: string, given: string | undefined): Pick<FileTargetOptions, "file" | "root"> {
  if (given === undefined) return { root: folder };
  const dated = datedName(given);
  const file = resolve(folder, formatUtc(given, systemClock.wallMs()));
  // With a date: a record that was accepted while the name had none goes to the file of today.
  return dated === undefined ? { file } : { file, root: resolve(folder, dated.folder) };
}

/** Where a name with a date in it begins to change; undefined when there is no date in it. */
function datedName(given: string): { readonly folder: string; readonly name: string } | undefined {
  if (formatUtc(given, 0) === given) return undefined;
  const changes = given.indexOf("%");
  const slash = Math.max(given.lastIndexOf("/", changes), given.lastIndexOf("\\", changes));
  const folder = slash === 0 ? given[0]! : given.slice(0, Math.max(0, slash));
  return { folder, name: given.slice(slash + 1) };
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
