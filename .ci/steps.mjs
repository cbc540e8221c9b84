/**
 * What the commands of package.json share. Plain Node without dependencies: these files run before anything is installed.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Says what starts now, so that a long log can be read by its headings. */
export function heading(text) {
  process.stdout.write(`\n=== ${text}\n`);
}

/**
 * Runs a program in the project's folder with its output passed through; resolves to its exit code.
 * Programs that npm installed are found by their bare name, as in a package.json script.
 */
export function run(command, args, { env = {}, cwd = root, quiet = false } = {}) {
  const path = `${join(root, "node_modules", ".bin")}:${process.env.PATH}`;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, PATH: path, ...env },
      stdio: ["inherit", quiet ? "ignore" : "inherit", "inherit"],
    });
    child.on("error", reject);
    child.on("exit", (code) => resolve(code ?? 1));
  });
}

/** As `run`, but what it says is kept in a file until it has ended, and then shown as one piece, with its time. */
export async function runQuietly(command, args, { title = command } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "said-"));
  const file = join(folder, "output.txt");
  heading(`${title} begins (${file})`);
  const said = openSync(file, "w");
  const path = `${join(root, "node_modules", ".bin")}:${process.env.PATH}`;
  const startedAt = performance.now();
  try {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, PATH: path },
      stdio: ["ignore", said, said],
    });
    const [code] = await once(child, "close");
    heading(`${title} (${Math.round((performance.now() - startedAt) / 1_000)} s)`);
    process.stdout.write(readFileSync(file));
    return code ?? 1;
  } finally {
    closeSync(said);
    rmSync(folder, { recursive: true });
  }
}

/** As `run`, but a failure ends the command with the same exit code: nothing after this step would make sense. */
export async function mustRun(command, args, options) {
  const code = await run(command, args, options);
  if (code === 0) return;
  process.stderr.write(`failed (exit code ${code}): ${command} ${args.join(" ")}\n`);
  process.exit(code);
}

/** Installs the packages of the lock file when that has not been done, or when the lock file has changed since. */
export async function installPackages() {
  requireNode();
  // npm writes this copy of the lock file at the end of an install: without it the install was cut short.
  const installed = join(root, "node_modules", ".package-lock.json");
  if (existsSync(installed) && holdsAll(readLock(installed), readLock(join(root, "package-lock.json")))) return;
  heading("npm ci");
  await mustRun("npm", ["ci", "--no-audit", "--no-fund"]);
}

function requireNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  process.stderr.write(`Node.js 20.19 or newer is needed, this is ${process.versions.node}.\n`);
  process.exit(1);
}

function readLock(path) {
  return JSON.parse(readFileSync(path, "utf8")).packages;
}

/** Whether every package that must be there is there in its version; optional ones depend on the machine. */
function holdsAll(installed, wanted) {
  return Object.entries(wanted).every(
    ([path, entry]) =>
      path === "" || entry.optional || entry.devOptional || entry.peer || installed[path]?.version === entry.version,
  );
}

/** Ends with a sentence instead of a stack trace when the packages are missing. */
export function requirePackages() {
  if (existsSync(join(root, "node_modules", ".package-lock.json"))) return;
  process.stderr.write(
    "The packages are not installed. Run `npm run verify` (installs what is missing) or `npm ci`.\n",
  );
  process.exit(1);
}
