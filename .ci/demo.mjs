/**
 * A real Node-RED with this package installed as a user would get it and the example flow deployed; shows the lines as
 * they land in the data file. Ctrl-C ends it.
 *   node .ci/demo.mjs --seconds 20     ends by itself, with exit code 0 when lines landed and 1 otherwise
 */
import { spawn } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { StringDecoder } from "node:string_decoder";
import { parseArgs } from "node:util";
import { heading, installPackages, mustRun, root } from "./steps.mjs";

const EXAMPLE = join(root, "examples", "1-readings-to-file.json");
/** Node-RED's own, where people look for it first. */
const USUAL_PORT = 1880;
const LOOK_EVERY_MS = 250;
/** Node-RED gives its nodes 15 s to close. */
const STOP_WITHIN_MS = 20_000;
const SHOWN_CHARACTERS = 160;

const seconds = secondsAsked();
await installPackages();
const userDir = mkdtempSync(join(tmpdir(), "resilient-demo-"));
await installInto(userDir);
const dataFile = prepareFlow(userDir);
const port = await freePort();
const nodeRed = startNodeRed(userDir, port);
const ended = new Promise((resolve) => nodeRed.once("close", resolve));
// From here on: Node-RED, in its own group, would go on without us.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, stop);

await started(nodeRed);
if (nodeRed.stopAsked !== true) {
  heading("It runs");
  say(`Editor      http://127.0.0.1:${port}/`);
  say(`Data file   ${dataFile}`);
  say(seconds === undefined ? "Ctrl-C ends it. Each line that lands:" : `Ends in ${seconds} s. Each line that lands:`);
}

const lines = followLines(dataFile);
const timer = seconds === undefined ? undefined : setTimeout(stop, seconds * 1_000);
const code = await ended;
clearTimeout(timer);
const landed = lines.end();
const stopped = nodeRed.stopAsked === true;
if (!stopped) say(`Node-RED ended by itself (exit code ${code}).`);
heading(`${landed} lines landed in ${dataFile}`);
if (seconds === undefined) say(`The folder is left as it is: ${userDir}`);
else rmSync(userDir, { recursive: true, force: true, maxRetries: 3 });
process.exitCode = landed > 0 && stopped ? 0 : 1;

function say(text) {
  process.stdout.write(`${text}\n`);
}

function secondsAsked() {
  const { values } = parseArgs({ options: { seconds: { type: "string" } } });
  if (values.seconds === undefined) return undefined;
  const asked = Number(values.seconds);
  if (asked > 0) return asked;
  process.stderr.write("--seconds takes a number above 0\n");
  process.exit(2);
}

/** From the tarball that npm would publish, so that a file missing from it shows here. */
async function installInto(folder) {
  heading("build and pack");
  await mustRun(process.execPath, [join(root, ".ci", "build.mjs")]);
  await mustRun("npm", ["pack", "--ignore-scripts", "--loglevel=error", "--pack-destination", folder], { quiet: true });
  const tarball = readdirSync(folder).find((name) => name.endsWith(".tgz"));
  heading(`npm install ${tarball}`);
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "node-red-project", private: true }));
  const flags = ["--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
  await mustRun("npm", ["install", ...flags, `./${tarball}`], { cwd: folder });
}

/** Puts the example in place of the flow file; returns where its file exporter writes. */
function prepareFlow(folder) {
  const flow = JSON.parse(readFileSync(EXAMPLE, "utf8"));
  copyFileSync(EXAMPLE, join(folder, "flows.json"));
  const settings = {
    uiHost: "127.0.0.1",
    flowFile: "flows.json",
    credentialSecret: "demo",
    telemetry: { enabled: false, updateNotification: false },
    editorTheme: { tours: false },
  };
  writeFileSync(join(folder, "settings.js"), `module.exports = ${JSON.stringify(settings, undefined, 2)};\n`);
  const { folder: subfolder, file } = flow.find((node) => node.type === "resilient-file");
  return resolve(folder, subfolder ?? "", file);
}

function portIfFree(wanted) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen(wanted, "127.0.0.1", () => {
      const { port: given } = server.address();
      server.close(() => resolve(given));
    });
  });
}

async function freePort() {
  return (await portIfFree(USUAL_PORT)) ?? (await portIfFree(0));
}

function startNodeRed(folder, onPort) {
  heading("Node-RED");
  const script = join(root, "node_modules", "node-red", "red.js");
  return spawn(process.execPath, [script, "-u", folder, "-p", String(onPort)], {
    cwd: folder,
    env: { ...process.env, NODE_RED_DISABLE_TELEMETRY: "1" },
    stdio: ["ignore", "pipe", "inherit"],
    // In a group of its own: Ctrl-C reaches us alone, and we end it.
    detached: true,
  });
}

/** Resolves when the flows run. Everything Node-RED says is passed on. */
function started(child) {
  return new Promise((resolve) => {
    createInterface(child.stdout).on("line", (line) => {
      say(line);
      if (/Started flows|Waiting for missing types/.test(line)) resolve();
    });
    child.once("close", resolve);
  });
}

function stop() {
  if (nodeRed.stopAsked) return;
  nodeRed.stopAsked = true;
  nodeRed.kill("SIGTERM");
  setTimeout(() => nodeRed.kill("SIGKILL"), STOP_WITHIN_MS).unref();
}

/** Shows what is appended to a file that may not exist yet; `end` resolves to the number of lines seen. */
function followLines(path) {
  const decoder = new StringDecoder("utf8");
  const buffer = Buffer.alloc(64 * 1024);
  let position = 0;
  let unfinished = "";
  let count = 0;
  const look = () => {
    for (let n; (n = readAt(path, buffer, position)) > 0; position += n) {
      const parts = (unfinished + decoder.write(buffer.subarray(0, n))).split("\n");
      unfinished = parts.pop();
      for (const line of parts) say(line.length > SHOWN_CHARACTERS ? `${line.slice(0, SHOWN_CHARACTERS)} ...` : line);
      count += parts.length;
    }
  };
  const looking = setInterval(look, LOOK_EVERY_MS);
  return {
    end() {
      clearInterval(looking);
      look();
      return count;
    },
  };
}

function readAt(path, buffer, position) {
  let descriptor;
  try {
    descriptor = openSync(path, "r");
  } catch {
    return 0; // Not there yet.
  }
  try {
    return readSync(descriptor, buffer, 0, buffer.length, position);
  } finally {
    closeSync(descriptor);
  }
}
