/**
 * A real file system that fails on request, mounted on a folder of its own: full, read-only, slow, cut from power.
 * For what the simulated disk says to be checked against a kernel. Linux and root only; `test/servers/disk.sh` does it.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { output, projectFolder } from "./servers-cache.js";

const SCRIPT = join(projectFolder, "test", "servers", "disk.sh");

/** What reached the device since the machine booted: take differences. */
export interface DeviceCounters {
  readonly writes: number;
  readonly bytes: number;
  readonly flushes: number;
}

/** Why this machine cannot do it, for the message of a skipped test; undefined when it can. */
export function whyNoFaultyDisk(): string | undefined {
  try {
    execFileSync("bash", [SCRIPT, "check"], { stdio: "pipe" });
    return undefined;
  } catch (error) {
    return (error as { stderr?: Buffer }).stderr?.toString().trim() || String(error);
  }
}

/** Those that are mounted: a process that ends in the middle of its work must not leave them behind. */
const mounted = new Set<string>();
process.on("exit", () => {
  for (const folder of mounted) execFileSync("bash", [SCRIPT, "remove", folder], { stdio: "ignore" });
});

export class FaultyDisk {
  /** Where it is mounted. Empty at first. */
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** A memory disk of that size ("2m"): a write beyond it gives ENOSPC. */
  static small(size: string): Promise<FaultyDisk> {
    return FaultyDisk.#mount("small", size);
  }

  /** An ext4 of that size ("32m") whose power can be cut. */
  static ext4(size: string): Promise<FaultyDisk> {
    return FaultyDisk.#mount("ext4", size);
  }

  /** An ext4 that promises more room than the `size` ("6m") it has: writes succeed, and the sync after them fails, once. */
  static thin(size: string): Promise<FaultyDisk> {
    return FaultyDisk.#mount("thin", size);
  }

  static async #mount(kind: "small" | "ext4" | "thin", size: string): Promise<FaultyDisk> {
    const disk = new FaultyDisk(join(mkdtempSync(join(tmpdir(), "resilient-disk-")), "disk"));
    mounted.add(disk.folder);
    await disk.#do(kind, size);
    return disk;
  }

  /** Gives a small disk a new size. */
  async grow(size: string): Promise<void> {
    await this.#do("grow", size);
  }

  async makeReadOnly(): Promise<void> {
    await this.#do("readonly");
  }

  async makeWritable(): Promise<void> {
    await this.#do("writable");
  }

  /** From now on every call gives EIO, and what was not synced is lost. For ext4 and thin. */
  async cutPower(): Promise<void> {
    await this.#do("cut");
  }

  /** Mounts it again, as after a reboot. Whoever has a file open keeps the dead one. */
  async restorePower(): Promise<void> {
    await this.#do("repair");
  }

  /** From now on whoever writes or syncs hangs, as on a network disk whose server is gone. For ext4. */
  async freeze(): Promise<void> {
    await this.#do("freeze");
  }

  async thaw(): Promise<void> {
    await this.#do("thaw");
  }

  /** From now on no more than so many writes a second for that process, as on a bad card. For ext4 and thin. */
  async throttle(writesPerSecond: number, pid: number): Promise<void> {
    await this.#do("throttle", String(writesPerSecond));
    await output("sh", ["-c", `echo ${pid} > "$1"`, "sh", `${this.folder}.backing/throttle.procs`], tmpdir());
  }

  async counters(): Promise<DeviceCounters> {
    const found = /writes (\d+) bytes (\d+) flushes (\d+)/.exec(await this.#do("counters"));
    if (found === null) throw new Error("disk.sh gave no counters");
    return { writes: Number(found[1]), bytes: Number(found[2]), flushes: Number(found[3]) };
  }

  /** Unmounts and forgets everything. Safe to call twice. */
  async remove(): Promise<void> {
    await this.#do("remove");
    mounted.delete(this.folder);
    try {
      rmdirSync(dirname(this.folder));
    } catch {
      /* removed by an earlier call */
    }
  }

  #do(command: string, ...args: string[]): Promise<string> {
    return output("bash", [SCRIPT, command, this.folder, ...args], tmpdir());
  }
}
