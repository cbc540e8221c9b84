/**
 * Runs the tests and ends with one line over all of them: `N passed, N failed`.
 *   node .ci/test.mjs                    checks, then every group of tests, two at a time
 *   node .ci/test.mjs unit -g "torn"     one group, or several; what follows goes to mocha
 *   node .ci/test.mjs --install          installs what is missing first (`npm run verify`)
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, sep } from "node:path";
import { heading, installPackages, mustRun, requirePackages, root, run, runQuietly } from "./steps.mjs";

const NEEDS_SERVERS = /^test\/(targets\/(elasticsearch|mongodb)\/|library\/readme-servers\.)/;
/** Groups run in processes of their own: the Node-RED test helper extends `Object.prototype`, which the engine must not see. */
const GROUPS = {
  unit: {
    what: "engine tests",
    holds: (file) => !/^test\/(nodes|node-red|editor)\//.test(file) && !NEEDS_SERVERS.test(file),
  },
  servers: { what: "targets, with real databases", holds: (file) => NEEDS_SERVERS.test(file) },
  nodes: { what: "nodes, in the Node-RED test helper", holds: (file) => file.startsWith("test/nodes/") },
  "node-red": { what: "nodes, in real Node-RED processes", holds: (file) => file.startsWith("test/node-red/") },
  editor: { what: "editor, in a browser", holds: (file) => file.startsWith("test/editor/") },
};
const CHECKS = ["check:types", "check:lint", "check:format", "check:package", "check:unused"];
/** Groups wait for servers and intervals most of their time. */
const LANES = 2;
/**
 * The longest begin, beside some that need neither another Node-RED nor a database, which may have to be fetched first.
 * Those that would keep one lane busy while the other has nothing left come in parts.
 */
const ORDER = ["node-red", "unit", "node-red", "servers", "node-red", "unit", "editor", "editor", "nodes"];

const args = process.argv.slice(2);
const installs = args[0] === "--install";
/** What is not needed before its group begins. */
let browser = Promise.resolve();
if (installs) {
  await installPackages();
  browser = installBrowser();
  buildDatabase();
}
requirePackages();

const total = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
const asked = [];
while (args.length > 0 && Object.hasOwn(GROUPS, args[0])) asked.push(args.shift());
if (asked.length > 0) {
  for (const name of asked) await runGroup(name, args, run);
} else {
  heading("build");
  await mustRun(process.execPath, [join(root, ".ci", "build.mjs")]);
  await runAll();
}

for (const failure of failures) process.stdout.write(`\nfailed: ${failure}`);
if (total.skipped > 0) process.stdout.write(`\n${total.skipped} skipped: each says above what this machine lacks\n`);
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed\n`);
process.exitCode = total.failed === 0 ? 0 : 1;

/** Everything, in lanes; the output of each group is shown when it has ended. */
async function runAll() {
  const jobs = [
    ...ORDER.map((name, place) => async () => {
      if (name === "editor") await browser;
      const part = ORDER.slice(0, place).filter((other) => other === name).length;
      await runGroup(name, [], runQuietly, part, ORDER.filter((other) => other === name).length);
    }),
    ...CHECKS.map((script) => () => runCheck(script)),
  ];
  const lane = async () => {
    for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) await job();
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

async function runCheck(script) {
  if ((await runQuietly("npm", ["run", "--silent", script], { title: script })) === 0) total.passed += 1;
  else {
    total.failed += 1;
    failures.push(script);
  }
}

async function runGroup(name, mochaArgs, runner, part = 0, parts = 1) {
  const files = testFiles()
    .filter(GROUPS[name].holds)
    .filter((_, i) => i % parts === part);
  if (files.length === 0) return;
  const title = `${name}: ${GROUPS[name].what}${parts > 1 ? `, part ${part + 1} of ${parts}` : ""}`;
  if (runner === run) heading(title);
  const folder = mkdtempSync(join(tmpdir(), "summary-"));
  const summary = join(folder, "summary.json");
  const reporter = ["--reporter", join(root, ".ci", "reporter.cjs"), "--reporter-option", `summary=${summary}`];
  const code = await runner("mocha", [...reporter, ...mochaArgs, ...files], { title });
  const { failures: failed = [], ...counts } = readCounts(summary);
  // A run that failed without a failing test (a file that does not load, a process that died) is a failure of its own.
  if (code !== 0 && counts.failed === 0) {
    counts.failed = 1;
    failed.push(`exit code ${code}`);
  }
  for (const key of Object.keys(total)) total[key] += counts[key];
  failures.push(...failed.map((test) => `${name}: ${test}`));
  rmSync(folder, { recursive: true });
}

function testFiles() {
  return readdirSync(join(root, "test"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".test.ts"))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
}

function readCounts(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    // Mocha never came to its end: the caller counts that by the exit code.
    return { passed: 0, failed: 0, skipped: 0 };
  }
}

/**
 * The MongoDB-protocol server takes minutes to compile the first time: begun here, beside tests that do not need it.
 * Those that do wait for it, and say why when it cannot be had.
 */
function buildDatabase() {
  const script = join(root, "test", "servers", "mongodb.sh");
  spawn("nice", ["bash", script, "build"], { stdio: "ignore" })
    .on("error", () => undefined)
    .unref();
}

/** The editor tests need a chromium: taken from Debian where we may, otherwise those tests say that it is missing. */
async function installBrowser() {
  if (
    (await run("sh", ["-c", "command -v chromium || command -v chromium-browser || command -v google-chrome"], {
      quiet: true,
    })) === 0
  )
    return;
  if (process.getuid?.() !== 0 || (await run("sh", ["-c", "command -v apt-get"], { quiet: true })) !== 0) return;
  heading("apt-get install chromium");
  const apt = "apt-get -qq update && apt-get install -y -qq --no-install-recommends chromium";
  if ((await run("sh", ["-c", apt], { env: { DEBIAN_FRONTEND: "noninteractive" }, quiet: true })) !== 0)
    process.stderr.write("chromium could not be installed: the editor tests will be skipped\n");
}
