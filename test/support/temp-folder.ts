/**
 * A folder of its own for each test that asks, removed by the root hook (`hooks.ts`) after the test, which also looks
 * whether anything in it is still open.
 */
import { mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";

const folders = new Set<string>();

/** Makes an empty folder that lives as long as the running test. */
export function tempFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "resilient-test-")));
  folders.add(folder);
  return folder;
}

/** Paths below the test's folders that this process still has open. Empty where there is no /proc. */
export function openPathsInTempFolders(): string[] {
  if (folders.size === 0) return [];
  return openPaths().filter((path) => [...folders].some((folder) => path === folder || path.startsWith(folder + sep)));
}

export function removeTempFolders(): void {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  folders.clear();
}

function openPaths(): string[] {
  let descriptors: string[];
  try {
    descriptors = readdirSync("/proc/self/fd");
  } catch {
    // Only Linux tells; the other platforms are covered by the same tests there.
    return [];
  }
  return descriptors.flatMap((descriptor) => {
    try {
      return [readlinkSync(`/proc/self/fd/${descriptor}`)];
    } catch {
      // The descriptor of the listing itself, gone by now.
      return [];
    }
  });
}
