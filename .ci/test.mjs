/**
 * Runs the tests and ends with one line over all of them: `N passed, N failed`.
 *   node .ci/test.mjs                    checks, then every group of tests
 *   node .ci/test.mjs unit -g "torn"     one group; what follows goes to mocha
 *   node .ci/test.mjs --install          installs what is missing first (`npm run verify`)
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, sep } from "node:path";
import { heading, installPackages, mustRun, requirePackages, root, run } from "./steps.mjs";

/** Groups run in processes of their own: the Node-RED test helper extends `Object.prototype`, which the engine must not see. */
const GROUPS = {
  unit: { what: "engine tests", holds: (file) => !/^test\/(nodes|node-red|editor)\//.test(file) },
  nodes: { what: "nodes, in the Node-RED test helper", holds: (file) => file.startsWith("test/nodes/") },
  "node-red": { what: "nodes, in real Node-RED processes", holds: (file) => file.startsWith("test/node-red/") },
  editor: { what: "editor, in a browser", holds: (file) => file.startsWith("test/editor/") },
};
const CHECKS = ["check:types", "check:lint", "check:format", "check:package"];

const [first, ...rest] = process.argv.slice(2);
if (first === "--install") {
  await installPackages();
  await installBrowser();
}
requirePackages();

const total = { passed: 0, failed: 0, skipped: 0 };
const group = first !== undefined && Object.hasOwn(GROUPS, first) ? first : undefined;
if (group === undefined) {
  heading("build");
  await mustRun(process.execPath, [join(root, ".ci", "build.mjs")]);
  for (const check of CHECKS) await runCheck(check);
}
for (const name of group === undefined ? Object.keys(GROUPS) : [group])
  await runGroup(name, group === undefined ? [] : rest);

if (total.skipped > 0) process.stdout.write(`\n${total.skipped} skipped: each says above what this machine lacks\n`);
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed\n`);
process.exitCode = total.failed === 0 ? 0 : 1;

async function runCheck(script) {
  heading(script);
  if ((await run("npm", ["run", "--silent", script])) === 0) total.passed += 1;
  else total.failed += 1;
}

async function runGroup(name, mochaArgs) {
  const files = testFiles().filter(GROUPS[name].holds);
  if (files.length === 0) return;
  heading(`${name}: ${GROUPS[name].what}`);
  const folder = mkdtempSync(join(tmpdir(), "summary-"));
  const summary = join(folder, "summary.json");
  const reporter = ["--reporter", join(root, ".ci", "reporter.cjs"), "--reporter-option", `summary=${summary}`];
  const code = await run("mocha", [...reporter, ...mochaArgs, ...files]);
  const counts = readCounts(summary);
  // A run that failed without a failing test (a file that does not load, a process that died) is a failure of its own.
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  for (const key of Object.keys(total)) total[key] += counts[key];
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
