/** Where the command line writes its result: to a stream, or into a file that must not be there yet. */
import { once } from "node:events";
import type { Writable } from "node:stream";
import fse from "fs-extra";
import { isErrno } from "../files.js";
import { UsageError } from "./queue-folder.js";
import type { Output } from "./text.js";

export class StreamOutput implements Output {
  readonly #stream: Writable;
  #failure: Error | undefined;

  constructor(stream: Writable) {
    this.#stream = stream;
    stream.on("error", (error) => (this.#failure = error));
  }

  /** @throws when the stream has failed, with `EPIPE` when nobody reads any more */
  async line(text: string): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.#stream.write(`${text}\n`)) await once(this.#stream, "drain");
  }

  note(text: string): void {
    process.stderr.write(`${text}\n`);
  }
}

export class FileOutput extends StreamOutput {
  readonly #file: Writable;
  readonly #fd: number;

  private constructor(file: Writable, fd: number) {
    super(file);
    this.#file = file;
    this.#fd = fd;
  }

  /** @throws {UsageError} when the file is there already */
  static async create(path: string): Promise<FileOutput> {
    try {
      const fd = await fse.open(path, "wx", 0o600);
      return new FileOutput(fse.createWriteStream(path, { fd, autoClose: false }), fd);
    } catch (error) {
      if (isErrno(error, "EEXIST")) throw new UsageError(`${path} is there already.`);
      throw error;
    }
  }

  /** Resolves when all of it is on the disk. */
  async close(): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#file.once("error", reject);
        this.#file.end(resolve);
      });
      await fse.fsync(this.#fd);
    } finally {
      await fse.close(this.#fd);
    }
  }
}
