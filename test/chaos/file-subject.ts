/** A file as the target of chaos: its folder vanishes, or a folder stands in its place. */
import { existsSync } from "node:fs";
import { mkdir, open, rename, symlink } from "node:fs/promises";
import { join } from "node:path";
import type { Subject } from "./subject.js";

const LINK_NAME = "target";
const FILE_NAME = "out.jsonl";

/**
 * The folder is reached through a link, so that it can be exchanged in one step: were it moved piece by piece, an
 * exporter that looks in between would rightly begin a new file, and the test would then write over that.
 */
export class FileSubject implements Subject {
  readonly name = "file";
  readonly inOrder = true;
  readonly #folder: string;

  /** @param folder an existing, empty folder */
  static async in(folder: string): Promise<FileSubject> {
    await mkdir(join(folder, "real"));
    await mkdir(join(folder, "decoy", FILE_NAME), { recursive: true });
    const subject = new FileSubject(folder);
    await subject.release();
    return subject;
  }

  private constructor(folder: string) {
    this.#folder = folder;
  }

  get exporter(): Readonly<Record<string, unknown>> {
    return {
      type: "resilient-file",
      file: join(this.#folder, LINK_NAME, FILE_NAME),
      fileType: "str",
      folder: "",
      createFolders: false,
      data: "payload",
      dataType: "msg",
      control: false,
      flush: {},
    };
  }

  async hold(pick: number): Promise<string> {
    await this.#pointTo(pick < 0.5 ? "missing" : "decoy");
    return pick < 0.5 ? "its folder is missing" : "a folder stands in its place";
  }

  release(): Promise<void> {
    return this.#pointTo("real");
  }

  async *arrived(): AsyncIterable<unknown> {
    const path = join(this.#folder, "real", FILE_NAME);
    if (!existsSync(path)) return;
    const file = await open(path);
    try {
      for await (const line of file.readLines()) yield parsed(line);
    } finally {
      await file.close();
    }
  }

  close(): Promise<void> {
    return this.release();
  }

  async #pointTo(name: string): Promise<void> {
    const next = join(this.#folder, "next");
    await symlink(name, next);
    await rename(next, join(this.#folder, LINK_NAME));
  }
}

/** A line that is no JSON is told as it is: the ledger says that this was never sent. */
function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return line;
  }
}
