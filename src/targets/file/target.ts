/**
 * Records as lines of files, each line exactly once through kill -9 and power cuts.
 *
 * What holds: while nobody else changes a file, every record accepted is one line of it, in order. When others do:
 * - moved within its folder (logrotate `create`, `mv`): lines go on in a new file under the name; exactly once.
 * - deleted, moved to another folder or compressed: lines go on in a new file; a crash before that was noticed may
 *   repeat the last lines in it.
 * - truncated (logrotate `copytruncate`, an editor): lines go on at its end; the same.
 * - appended to: their bytes stay, an unfinished line of theirs gets its end; a crash may repeat our last lines.
 * In no case is a record lost. The one thing that cannot be seen is someone who writes, behind our last line and while
 * this process is dead, the very bytes that our next lines would have had.
 */
import * as path from "node:path";
import { promisify } from "node:util";
import fs from "fs-extra";
import type { StatsFs } from "fs-extra";
import type { LogRecord, Offset } from "../../record.js";
import { DELIVERED, DUPLICATE } from "../target.js";
import type { Answer, Outcome, Rejection, ResumePoint, Target, TargetTraits } from "../target.js";
import { catchUp } from "./catch-up.js";
import type { LineAhead } from "./catch-up.js";
import { FileUnavailableError, errnoOf, fileError, notRegular } from "./errors.js";
import { TextLines, joinLines } from "./lines.js";
import type { LineFormat } from "./lines.js";
import { checkName, refuseLinks } from "./names.js";
import { OpenFiles } from "./open-files.js";
import { checkOptions } from "./options.js";
import type { CheckedOptions, FileTargetOptions } from "./options.js";
import type { OutputFile } from "./output-file.js";
import { Positions, isSameFile, pathKey } from "./state.js";
import type { FilePosition } from "./state.js";

const NOTHING = Buffer.alloc(0);
/** fs-extra has it as a promise too, its types only with a callback. */
const statfs = promisify<string, StatsFs>(fs.statfs);
/** A full disk is full enough when less than this is free: the probe writes nothing to find out. */
const MIN_FREE_BYTES = 64 * 1_024;

/** Where a record goes; or that it goes nowhere, and why. */
type Destination =
  | { readonly kind: "file"; readonly name: string; readonly path: string }
  | { readonly kind: "refused"; readonly refusal: Rejection };

export class FileTarget implements Target {
  readonly traits: TargetTraits = {
    ordered: true,
    maxBatchRecords: 20_000,
    maxBatchBytes: 4 * 1024 * 1024,
    resumes: true,
  };
  readonly #options: CheckedOptions;
  readonly #format: LineFormat;
  readonly #files = new OpenFiles();
  #positions: Positions | undefined;
  #resume: ResumePoint | undefined;
  #ahead = new Map<Offset, LineAhead>();
  #underWay: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  /** @throws {TargetConfigError} when the options name no file */
  constructor(options: FileTargetOptions) {
    this.#options = checkOptions(options);
    this.#format = new TextLines();
  }

  destinationOf(record: LogRecord): string {
    return record.routing["file"] ?? this.#options.file ?? "";
  }

  open(signal: AbortSignal, resume?: ResumePoint): Promise<void> {
    return this.#exclusively(async () => {
      this.#resume = resume;
      // In the same life our own positions are as new as the stored state, or newer.
      this.#positions ??= Positions.from(resume?.state);
      if (resume !== undefined) await this.#catchUp(this.#positions, resume, signal);
      const { file } = this.#options;
      if (file !== undefined) await this.#usable({ kind: "file", name: "", path: file }, this.#positions);
    });
  }

  deliver(batch: readonly LogRecord[], signal: AbortSignal): Promise<Answer> {
    return this.#exclusively(async () => {
      signal.throwIfAborted();
      const destination = this.#resolve(batch[0]!);
      if (destination.kind === "refused") return { outcomes: batch.map(() => rejected(destination.refusal)) };
      const positions = (this.#positions ??= Positions.from(undefined));
      try {
        return await this.#append(batch, destination, positions, signal);
      } catch (error) {
        if (destination.name === "" || !(error instanceof FileUnavailableError) || !error.ofThisFile) throw error;
        return {
          outcomes: batch.map(() => ({ kind: "retry", cause: error })),
          consequence: { kind: "hold", cause: error },
        };
      }
    });
  }

  settle(): Promise<void> {
    return this.#files.settle();
  }

  async probe(_signal: AbortSignal): Promise<void> {
    const at = this.#options.file ?? path.join(this.#options.root!, "any");
    let existing = at;
    for (;;) {
      try {
        const stats = await fs.stat(existing);
        if (existing === at && !stats.isFile()) throw notRegular(at, stats.isDirectory());
        await fs.access(existing, existing === at ? fs.constants.W_OK : fs.constants.W_OK | fs.constants.X_OK);
        break;
      } catch (error) {
        const parent = path.dirname(existing);
        const mayBeMade = existing === at || this.#options.createFolders;
        if (errnoOf(error) !== "ENOENT" || !mayBeMade || parent === existing) throw fileError(at, error);
        existing = parent;
      }
    }
    const { bavail, bfree, bsize } = await statfs(existing);
    const free = (process.getuid?.() === 0 ? bfree : bavail) * bsize;
    if (free < MIN_FREE_BYTES)
      throw fileError(at, Object.assign(new Error("disk full"), { code: "ENOSPC", errno: -28 }));
  }

  close(): Promise<void> {
    // A descriptor is never closed under a call that uses it: a number used again would be another file.
    return (this.#closed ??= this.#exclusively(() => this.#files.close()));
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#underWay.then(work);
    this.#underWay = result.catch(() => {
      /* whoever asked for the work hears of it */
    });
    return result;
  }

  #resolve(record: LogRecord): Destination {
    const { file, root } = this.#options;
    const given = record.routing["file"];
    if (given === undefined && file !== undefined) return { kind: "file", name: "", path: file };
    if (given === undefined)
      return refused("file-name-missing", "The record names no file, and the exporter has none.");
    if (root === undefined) {
      return refused("file-name-refused", "The exporter has no folder below which records may name their files.");
    }
    const checked = checkName(given);
    if ("refusal" in checked) return { kind: "refused", refusal: checked.refusal };
    return { kind: "file", name: checked.name, path: path.join(root, checked.name) };
  }

  async #append(
    batch: readonly LogRecord[],
    destination: Destination & { kind: "file" },
    positions: Positions,
    signal: AbortSignal,
  ): Promise<Answer> {
    if (destination.name !== "") {
      const refusal = await refuseLinks(this.#options.root!, destination.name);
      if (refusal !== undefined) return { outcomes: batch.map(() => rejected(refusal)) };
    }
    const outcomes: Outcome[] = [];
    const bodies: Buffer[] = [];
    const places: number[] = [];
    let there: LineAhead | undefined;
    batch.forEach((record, i) => {
      const ahead = this.#ahead.get(record.offset);
      const body = ahead === undefined ? this.#bodyOf(record) : DUPLICATE;
      if (ahead !== undefined) there = ahead;
      if (!Buffer.isBuffer(body)) return void (outcomes[i] = body);
      bodies.push(body);
      places.push(i);
    });
    if (there !== undefined) this.#moveOver(there, positions);
    if (bodies.length > 0) {
      const file = await this.#usable(destination, positions);
      signal.throwIfAborted();
      const lines = joinLines(this.#before(file), bodies, this.#format.lineEnd);
      const appended = await file.append(lines.bytes, lines.ends);
      if (appended.bytes > 0) this.#files.markDirty(file.path);
      if (appended.bytes === 0 && appended.error !== undefined) throw appended.error;
      positions.set({
        ...file.identity,
        ...keyOf(destination),
        position: file.end,
        tailCrc: await file.tailCrc(file.end),
      });
      lines.ends.forEach((end, i) => {
        // What did not fit is offered again; that attempt then fails as a whole and says that the target is unusable.
        outcomes[places[i]!] = end <= appended.bytes ? DELIVERED : { kind: "retry", cause: appended.error! };
      });
    }
    for (const record of batch) this.#ahead.delete(record.offset);
    return { outcomes, state: positions.encode() };
  }

  /** The open file of a destination, its position known to the log before the first of our bytes gets there. */
  async #usable(destination: Destination & { kind: "file" }, positions: Positions): Promise<OutputFile> {
    const current = await this.#files.current(destination.path);
    const file =
      current?.file ??
      (await this.#files.open(destination.path, {
        create: true,
        createFolders: this.#options.createFolders,
        noFollow: destination.name !== "",
      }));
    const known = positions.get(destination.name);
    const key = keyOf(destination);
    const goesOn =
      known !== undefined &&
      known.pathKey === key.pathKey &&
      isSameFile(known, file.identity) &&
      file.end >= known.position &&
      current?.wasCut !== true;
    if (!goesOn) {
      positions.set({ ...file.identity, ...key, position: file.end, tailCrc: await file.tailCrc(file.end) });
      await this.#resume?.note?.(positions.encode());
    }
    return file;
  }

  #before(file: OutputFile): Buffer {
    return file.endsWith(this.#format.lineEnd) ? NOTHING : this.#format.lineEnd;
  }

  #bodyOf(record: LogRecord): Buffer | Outcome {
    try {
      return this.#format.body(record);
    } catch (error) {
      return rejected({ code: errnoOf(error) ?? "file-payload", message: (error as Error).message });
    }
  }

  #moveOver(there: LineAhead, positions: Positions): void {
    const known = positions.get(there.name);
    if (known !== undefined && known.position < there.end) {
      positions.set({ ...known, position: there.end, tailCrc: there.tailCrc });
    }
  }

  async #catchUp(positions: Positions, resume: ResumePoint, signal: AbortSignal): Promise<void> {
    const { root, file } = this.#options;
    await this.#files.close();
    this.#ahead = await catchUp({
      onDoubt: (at) => this.#files.markDirty(at),
      positions,
      resume,
      signal,
      lineEnd: this.#format.lineEnd,
      pathOf: (entry: FilePosition) => {
        const at = entry.name === "" ? file : root === undefined ? undefined : path.join(root, entry.name);
        return at !== undefined && pathKey(at) === entry.pathKey ? at : undefined;
      },
      nameOf: (record) => {
        const destination = this.#resolve(record);
        return destination.kind === "file" ? destination.name : undefined;
      },
      lineOf: (record) => {
        const body = this.#bodyOf(record);
        return Buffer.isBuffer(body) ? Buffer.concat([body, this.#format.lineEnd]) : undefined;
      },
      preambles: (endsLine) => (endsLine ? [] : [this.#format.lineEnd]),
    });
  }
}

function keyOf(destination: Destination & { kind: "file" }): { name: string; pathKey: bigint } {
  return { name: destination.name, pathKey: pathKey(destination.path) };
}

function rejected(cause: Rejection): Outcome {
  return { kind: "rejected", cause };
}

function refused(code: string, message: string): Destination {
  return { kind: "refused", refusal: { code, message } };
}
