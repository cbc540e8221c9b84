/**
 * File calls that fail on request in another process, by a library that is loaded before the C library: for errors that
 * no file system gives when it is asked to. Needs Linux and a C compiler; the library is `test/servers/faultio.c`.
 */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { projectFolder } from "./servers-cache.js";

const SOURCE = join(projectFolder, "test", "servers", "faultio.c");

/** Why this machine cannot do it, for the message of a skipped test; undefined when it can. */
export function whyNoFaultyCalls(): string | undefined {
  if (process.platform !== "linux") return "calls can be made to fail on Linux only";
  try {
    execFileSync("gcc", ["--version"], { stdio: "ignore" });
    return undefined;
  } catch {
    return "there is no C compiler (gcc), which builds test/servers/faultio.c";
  }
}

export type Call = "open" | "write" | "fsync";

/** One kind of call that fails, after so many that do not. */
export interface Fault {
  readonly call: Call;
  readonly error: keyof typeof constants.errno;
  readonly after?: number;
}

export class FaultyCalls {
  /** What the process has to be started with. */
  readonly env: Readonly<Record<string, string>>;
  readonly #control: string;
  #changes = 0;

  private constructor(env: Record<string, string>, control: string) {
    this.env = env;
    this.#control = control;
  }

  /** @param folder whose files are concerned; @param own a folder for the library and what steers it */
  static build(folder: string, own: string): FaultyCalls {
    const library = join(own, "faultio.so");
    execFileSync("gcc", ["-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], { stdio: "pipe" });
    const control = join(own, "faults");
    writeFileSync(control, "");
    return new FaultyCalls({ LD_PRELOAD: library, FAULT_DIR: `${folder}/`, FAULT_FILE: control }, control);
  }

  /** From now on these calls fail, and no others. */
  fail(...faults: readonly Fault[]): void {
    this.#set(faults.map(({ call, error, after = 0 }) => `${call} ${constants.errno[error]} ${after}`));
  }

  /** From now on each write takes half of what it is given, without an error; beside that `faults` fail. */
  shorten(...faults: readonly Fault[]): void {
    this.#set(["short 0", ...faults.map(({ call, error, after = 0 }) => `${call} ${constants.errno[error]} ${after}`)]);
  }

  mend(): void {
    this.#set([]);
  }

  /** The library counts calls anew when the text has changed, so each text is another one. */
  #set(lines: readonly string[]): void {
    writeFileSync(this.#control, [...lines, `# ${++this.#changes}`, ""].join("\n"));
  }
}
