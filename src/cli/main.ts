#!/usr/bin/env node
/**
 * The command line: looks into a queue folder without Node-RED, and gets records out of it. Everything here reads only:
 * what can be mended the queue mends itself when it is opened.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import fse from "fs-extra";
import { check } from "./check.js";
import { exportRecords } from "./export.js";
import { inspect } from "./inspect.js";
import { FileOutput, StreamOutput } from "./output.js";
import { QueueFolder, UsageError } from "./queue-folder.js";

const HELP = `Looks into the queue folder of a runtime, without Node-RED. Nothing in the folder is changed.

  resilient-exporters inspect FOLDER [--json]
      what waits, for whom and since when; what was rejected
  resilient-exporters check FOLDER
      reads every byte: what is damaged, and whether anyone still needed it
  resilient-exporters export FOLDER [--log ID] [--consumer ID] [--dead] [--out FILE]
      what waits, as lines of JSON: log, id, acceptedAt, routing, payload (canonical MongoDB Extended JSON)
      --log ID       of this queue only
      --consumer ID  what this member of a pool still waits for
      --dead         what was rejected instead, with code and message
      --out FILE     into a new file, readable by you alone, instead of to stdout

FOLDER is the one that holds logs/ and dead/: in Node-RED ~/.node-red/resilient-exporters/<id of the runtime> unless the
runtime says otherwise. It may be in use: then what is still in memory is not seen.

There is no command to repair a queue: it opens with whatever is left, and delivers it.

Ends with 0; with 1 when something is damaged or cannot be read; with 2 when it was asked for what it cannot do.
`;

const OPTIONS = {
  json: { type: "boolean", default: false },
  log: { type: "string" },
  consumer: { type: "string" },
  dead: { type: "boolean", default: false },
  out: { type: "string" },
  help: { type: "boolean", short: "h", default: false },
  version: { type: "boolean", default: false },
} as const;

type OptionName = keyof typeof OPTIONS;

/** What each command takes. */
const COMMANDS: Readonly<Record<string, readonly OptionName[]>> = {
  inspect: ["json"],
  check: [],
  export: ["log", "consumer", "dead", "out"],
};

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parse(args);
  const output = new StreamOutput(process.stdout);
  if (values.version) {
    await output.line(await version());
    return 0;
  }
  const [command, path, ...more] = positionals;
  if (values.help || command === undefined) {
    await output.line(HELP.trimEnd());
    return values.help ? 0 : 2;
  }
  const takes = COMMANDS[command];
  if (takes === undefined) throw new UsageError(`There is no command ${command}.`);
  if (path === undefined || more.length > 0) throw new UsageError(`${command} takes one folder.`);
  for (const name of Object.keys(OPTIONS) as OptionName[]) {
    const isGiven = values[name] !== undefined && values[name] !== false;
    if (isGiven && !takes.includes(name)) throw new UsageError(`${command} does not take --${name}.`);
  }
  const folder = await QueueFolder.open(path);
  if (folder.isInUse) output.note(`${folder.path} is in use: what its process holds in memory is not seen here`);
  switch (command) {
    case "inspect":
      return inspect(folder, output, values.json);
    case "check":
      return check(folder, output);
    default: {
      const { log, consumer, dead, out } = values;
      if (out === undefined) return exportRecords(folder, { log, consumer, dead }, output);
      const file = await FileOutput.create(out);
      try {
        return await exportRecords(folder, { log, consumer, dead }, file);
      } finally {
        await file.close();
      }
    }
  }
}

type Parsed = ReturnType<typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true }>>;

function parse(args: string[]): Parsed {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}

async function version(): Promise<string> {
  // From dist/src/cli.
  const { version: own } = (await fse.readJson(join(__dirname, "..", "..", "..", "package.json"))) as {
    version: string;
  };
  return own;
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    // Whoever read our output has heard enough: `| head`.
    if ((error as { code?: unknown }).code === "EPIPE") return;
    const isUsage = error instanceof UsageError;
    process.stderr.write(`${(error as Error).message}\n${isUsage ? "See resilient-exporters --help\n" : ""}`);
    process.exitCode = 2;
  },
);
