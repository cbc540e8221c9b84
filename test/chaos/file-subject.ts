/** A file as the target of chaos: its folder vanishes, a folder stands in its place, its disk has no room. */
import { existsSync } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Subject } from "./subject.js";

type Hold = { readonly kind: "none" } | { readonly kind: "folder" } | { readonly kind: "file" };

export class FileSubject implements Subject {
  readonly name = "file";
  readonly inOrder = true;
  readonly path: string;
  #hold: Hold = { kind: "none" };

  /** @param folder an existing folder; the file is in one below it */
  static async in(folder: string): Promise<FileSubject> {
    await mkdir(join(folder, "target"));
    return new FileSubject(join(folder, "target", "out.jsonl"));
  }

  private constructor(path: string) {
    this.path = path;
  }

  get exporter(): Readonly<Record<string, unknown>> {
    return {
      type: "resilient-file",
      file: this.path,
      fileType: "str",
      folder: "",
      createFolders: false,
      data: "payload",
      dataType: "msg",
      control: false,
      flush: {},
    };
  }

  get #away(): string {
    return this.#hold.kind === "folder" ? `${dirname(this.path)}.away` : `${this.path}.away`;
  }

  async hold(pick: number): Promise<string> {
    await this.release();
    if (pick < 0.5) {
      this.#hold = { kind: "folder" };
      await rename(dirname(this.path), this.#away);
      return "its folder is missing";
    }
    this.#hold = { kind: "file" };
    if (existsSync(this.path)) await rename(this.path, this.#away);
    await mkdir(this.path);
    return "a folder stands in its place";
  }

  async release(): Promise<void> {
    if (this.#hold.kind === "folder") await rename(this.#away, dirname(this.path));
    if (this.#hold.kind === "file") {
      await rm(this.path, { recursive: true });
      if (existsSync(this.#away)) await rename(this.#away, this.path);
    }
    this.#hold = { kind: "none" };
  }

  async *arrived(): AsyncIterable<unknown> {
    if (!existsSync(this.path)) return;
    const file = await open(this.path);
    try {
      for await (const line of file.readLines()) yield parsed(line);
    } finally {
      await file.close();
    }
  }

  close(): Promise<void> {
    return this.release();
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
