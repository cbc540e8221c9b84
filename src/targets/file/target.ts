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
 *
 * It holds for every file whose position the state has, or that `ResumePoint.note` could store before its first line.
 */
import * as path from "node:path";
import { systemClock } from "../../clock.js";
import type { Clock } from "../../clock.js";
import type { LogRecord, Offset } from "../../record.js";
import { DELIVERED, DUPLICATE } from "../target.js";
import type { Answer, Outcome, Rejection, ResumePoint, Target, TargetTraits } from "../target.js";
import { catchUp } from "./catch-up.js";
import type { LineAhead } from "./catch-up.js";
import { copyWithoutOldest, removeLeftover } from "./drop-oldest.js";
import { FileUnavailableError, errnoOf } from "./errors.js";
import { LineCounts } from "./line-count.js";
import { joinLines } from "./lines.js";
import { destinationFor, refuseLinks } from "./names.js";
import type { Destination } from "./names.js";
import { OpenFiles } from "./open-files.js";
import { checkOptions } from "./options.js";
import type { CheckedOptions, FileTargetOptions } from "./options.js";
import { syncFolder } from "./output-file.js";
import type { OutputFile } from "./output-file.js";
import { probeFile } from "./probe.js";
import { Room } from "./room.js";
import type { Amount } from "./room.js";
import { Rotation } from "./rotation.js";
import { Positions, isSameFile, pathKey } from "./state.js";

const NOTHING = Buffer.alloc(0);

type Place = Destination & { readonly kind: "file" };

/** How full the file is that was used last. */
export interface FileFill {
  readonly path: string;
  readonly bytes: number;
  /** `Infinity` when there is no limit. */
  readonly maxBytes: number;
  /** Undefined while there is no limit in lines: then nobody counts. */
  readonly lines: number | undefined;
  readonly maxLines: number;
}

/** The records of a batch that are lines, and where they stand in the batch. */
interface Encoded {
  readonly bodies: readonly Buffer[];
  readonly places: readonly number[];
}

export class FileTarget implements Target {
  readonly traits: TargetTraits = {
    ordered: true,
    maxBatchRecords: 20_000,
    maxBatchBytes: 4 * 1024 * 1024,
    resumes: true,
  };
  readonly #options: CheckedOptions;
  readonly #clock: Clock;
  readonly #files = new OpenFiles();
  readonly #counts: LineCounts;
  readonly #room: Room;
  readonly #rotation: Rotation;
  /** Names of the files that this object has used: with `overwrite`, they have been emptied. */
  readonly #used = new Set<string>();
  #positions: Positions | undefined;
  #resume: ResumePoint | undefined;
  #ahead = new Map<Offset, LineAhead>();
  #lastUsed: OutputFile | undefined;
  #underWay: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  /** @throws {TargetConfigError} when the options do not make sense */
  constructor(options: FileTargetOptions, clock: Clock = systemClock) {
    this.#options = checkOptions(options);
    this.#clock = clock;
    const { format, maxLines, maxBytes } = this.#options;
    this.#counts = new LineCounts(format);
    this.#room = new Room({ lines: maxLines, bytes: maxBytes }, format);
    this.#rotation = new Rotation(this.#options.rotate);
  }

  /** Undefined before a file was used. */
  get fill(): FileFill | undefined {
    const file = this.#lastUsed;
    if (file === undefined) return undefined;
    const { maxBytes, maxLines } = this.#options;
    return { path: file.path, bytes: file.end, maxBytes, lines: this.#counts.known(file.path), maxLines };
  }

  /** Why old files could not be removed or compressed, if so. Delivery goes on. */
  get tidyFailure(): Error | undefined {
    return this.#rotation.failure;
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
      if (file !== undefined) await this.#opened({ kind: "file", name: "", path: file });
    });
  }

  deliver(batch: readonly LogRecord[], signal: AbortSignal): Promise<Answer> {
    return this.#exclusively(async () => {
      signal.throwIfAborted();
      const place = this.#placeOf(batch[0]!);
      if (place.kind === "refused") return { outcomes: batch.map(() => rejected(place.refusal)) };
      const positions = (this.#positions ??= Positions.from(undefined));
      try {
        return this.#answerAhead(batch, positions) ?? (await this.#append(batch, place, positions, signal));
      } catch (error) {
        if (place.name === "" || !(error instanceof FileUnavailableError) || !error.ofThisFile) throw error;
        const retry: Outcome = { kind: "retry", cause: error };
        return { outcomes: batch.map(() => retry), consequence: { kind: "hold", cause: error } };
      }
    });
  }

  settle(): Promise<void> {
    return this.#files.settle();
  }

  probe(_signal: AbortSignal): Promise<void> {
    const { file, root, createFolders } = this.#options;
    return probeFile(file ?? path.join(root!, "any"), createFolders);
  }

  close(): Promise<void> {
    // A descriptor is never closed under a call that uses it: its number, used again, would be another file.
    return (this.#closed ??= this.#exclusively(async () => {
      await this.#rotation.close();
      await this.#files.close();
    }));
  }

  /** Resolves when old files have been removed and compressed. */
  idle(): Promise<void> {
    return this.#rotation.idle();
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#underWay.then(work);
    this.#underWay = result.catch(() => {
      /* whoever asked for the work hears of it */
    });
    return result;
  }

  #placeOf(record: LogRecord): Destination {
    return destinationFor(record.routing["file"], this.#options.file, this.#options.root);
  }

  /**
   * Records that a crash left in this file while earlier ones are not in theirs. They are answered before anything is
   * written, so that no position is stored beyond a record that is not confirmed.
   */
  #answerAhead(batch: readonly LogRecord[], positions: Positions): Answer | undefined {
    if (this.#ahead.size === 0 || !batch.some(({ offset }) => this.#ahead.has(offset))) return undefined;
    const outcomes = batch.map(({ offset }): Outcome => {
      const there = this.#ahead.get(offset);
      if (there === undefined) return { kind: "retry", cause: new Error(REST.message) };
      this.#ahead.delete(offset);
      const known = positions.get(there.name);
      if (known !== undefined) positions.set({ ...known, position: there.end, tailCrc: there.tailCrc });
      return DUPLICATE;
    });
    return { outcomes, consequence: { kind: "split", cause: REST }, state: positions.encode() };
  }

  async #append(batch: readonly LogRecord[], place: Place, positions: Positions, signal: AbortSignal): Promise<Answer> {
    if (place.name !== "") {
      const refusal = await refuseLinks(this.#options.root!, place.name);
      if (refusal !== undefined) return { outcomes: batch.map(() => rejected(refusal)) };
    }
    const outcomes: Outcome[] = [];
    const { bodies, places } = this.#encode(batch, outcomes);
    if (bodies.length === 0) return { outcomes };
    const { file, count } = await this.#makeRoom(place, positions, bodies);
    signal.throwIfAborted();
    if (count > 0) {
      const lines = joinLines(this.#before(file), bodies.slice(0, count), this.#options.format.lineEnd);
      const appended = await file.append(lines.bytes, lines.ends);
      if (appended.bytes === 0 && appended.error !== undefined) throw appended.error;
      this.#files.markDirty(file.path);
      await this.#store(file, place, positions);
      if (this.#room.countsLines) this.#counts.appended(file, lines.bytes.subarray(0, appended.bytes));
      lines.ends.forEach((end, i) => {
        // What did not fit the disk is offered again; that attempt fails as a whole, and the target is unusable.
        outcomes[places[i]!] = end <= appended.bytes ? DELIVERED : { kind: "retry", cause: appended.error! };
      });
    }
    const state = positions.encode();
    if (count === bodies.length) return { outcomes, state };
    const isRefused = this.#options.whenFull === "refuseNew";
    const rest: Outcome = isRefused ? rejected(fileFull(file.path)) : { kind: "retry", cause: new Error(REST.message) };
    for (const i of places.slice(count)) outcomes[i] = rest;
    return isRefused ? { outcomes, state } : { outcomes, state, consequence: { kind: "split", cause: REST } };
  }

  #encode(batch: readonly LogRecord[], outcomes: Outcome[]): Encoded {
    const bodies: Buffer[] = [];
    const places: number[] = [];
    // A new file takes a record of any size when files are only set aside, not bounded for good.
    const isBounded = this.#room.isLimited && this.#options.whenFull !== "rotate";
    batch.forEach((record, i) => {
      const body = this.#bodyOf(record);
      if (!Buffer.isBuffer(body)) outcomes[i] = rejected(body);
      else if (isBounded && this.#room.isTooLarge(body)) outcomes[i] = rejected(TOO_LARGE);
      else {
        bodies.push(body);
        places.push(i);
      }
    });
    return { bodies, places };
  }

  #bodyOf(record: LogRecord): Buffer | Rejection {
    try {
      return this.#options.format.body(record);
    } catch (error) {
      return { code: errnoOf(error) ?? "file-payload", message: (error as Error).message };
    }
  }

  /** The file for the next lines, and how many of them it takes. */
  async #makeRoom(
    place: Place,
    positions: Positions,
    bodies: readonly Buffer[],
  ): Promise<{ file: OutputFile; count: number }> {
    let file = await this.#usable(place, positions);
    const { whenFull } = this.#options;
    if (whenFull === "rotate" && this.#rotation.isDue(file, this.#clock.wallMs())) {
      file = await this.#rotate(place, positions);
    }
    if (!this.#room.isLimited) return { file, count: bodies.length };
    let count = this.#room.fitting(await this.#usedBy(file), bodies);
    if (whenFull === "rotate" && count === 0) {
      if (file.end > 0) file = await this.#rotate(place, positions);
      count = Math.max(1, this.#room.fitting(await this.#usedBy(file), bodies));
    } else if (whenFull === "keepNew" && count < bodies.length) {
      file = await this.#dropOldest(file, place, positions, bodies);
      count = this.#room.fitting(await this.#usedBy(file), bodies);
    }
    return { file, count };
  }

  /** What the file holds, with what has to be written before the next line. */
  async #usedBy(file: OutputFile): Promise<Amount> {
    const lines = this.#room.countsLines ? await this.#counts.linesOf(file) : 0;
    const before = this.#before(file);
    const isUnfinished = file.end > 0 && before.length > 0;
    return { lines: lines + (isUnfinished ? 1 : 0), bytes: file.end + before.length };
  }

  async #rotate(place: Place, positions: Positions): Promise<OutputFile> {
    await this.#rotation.setAside(place.path);
    await this.#files.retire(place.path);
    this.#counts.forget(place.path);
    const file = await this.#usable(place, positions);
    this.#rotation.tidy(place.path);
    return file;
  }

  /**
   * The shorter copy becomes the file in one step. Its position is stored before: if a crash comes first, the state
   * speaks of a file that is not there, and nothing was delivered since.
   */
  async #dropOldest(
    file: OutputFile,
    place: Place,
    positions: Positions,
    bodies: readonly Buffer[],
  ): Promise<OutputFile> {
    const used = await this.#usedBy(file);
    const shortened = await copyWithoutOldest(file, this.#room.excess(used, bodies), this.#options.format);
    try {
      await this.#store(shortened.file, place, positions);
      await this.#resume?.note?.(positions.encode());
      await shortened.file.rename(shortened.becomes, place.path);
    } catch (error) {
      await shortened.file.close();
      await removeLeftover(shortened.becomes);
      throw error;
    }
    // Before a line is added: a power cut that took the name back would take the line with it.
    await syncFolder(path.dirname(shortened.becomes));
    await this.#files.replace(shortened.file);
    this.#lastUsed = shortened.file;
    if (this.#room.countsLines) this.#counts.set(shortened.file, used.lines - shortened.droppedLines);
    return shortened.file;
  }

  /** The open file of a destination, its position known to the log before the first of our bytes gets there. */
  async #usable(place: Place, positions: Positions): Promise<OutputFile> {
    const { file, wasCut } = await this.#opened(place);
    const known = positions.get(place.name);
    const goesOn =
      known !== undefined &&
      known.pathKey === pathKey(place.path) &&
      isSameFile(known, file.identity) &&
      file.end >= known.position &&
      !wasCut;
    if (!goesOn) {
      await this.#store(file, place, positions);
      await this.#resume?.note?.(positions.encode());
    }
    return file;
  }

  async #opened(place: Place): Promise<{ file: OutputFile; wasCut: boolean }> {
    let current = await this.#files.current(place.path);
    if (current === undefined) {
      const { createFolders } = this.#options;
      const noFollow = place.name !== "";
      if (this.#room.isLimited && this.#options.whenFull === "keepNew") await removeLeftover(place.path);
      current = { file: await this.#files.open(place.path, { create: true, createFolders, noFollow }), wasCut: false };
    }
    const { file } = current;
    if (this.#options.empties && !this.#used.has(place.name)) {
      if (file.end > 0) await file.cut(0);
      this.#used.add(place.name);
    }
    if (current.wasCut) this.#counts.forget(place.path);
    if (this.#room.countsLines) await this.#counts.linesOf(file);
    this.#lastUsed = file;
    return current;
  }

  /** Everything in the file up to its end is confirmed with the answer under way, or was before. */
  async #store(file: OutputFile, place: Place, positions: Positions): Promise<void> {
    const { name } = place;
    const tailCrc = await file.tailCrc(file.end);
    positions.set({ ...file.identity, name, pathKey: pathKey(place.path), position: file.end, tailCrc });
  }

  #before(file: OutputFile): Buffer {
    const { format } = this.#options;
    if (file.end === 0) return format.header;
    return file.endsWith(format.lineEnd) ? NOTHING : format.lineEnd;
  }

  async #catchUp(positions: Positions, resume: ResumePoint, signal: AbortSignal): Promise<void> {
    const { root, file, format } = this.#options;
    await this.#files.close();
    this.#ahead = await catchUp({
      positions,
      resume,
      signal,
      format,
      pathOf: (entry) => {
        const at = entry.name === "" ? file : root === undefined ? undefined : path.join(root, entry.name);
        return at !== undefined && pathKey(at) === entry.pathKey ? at : undefined;
      },
      nameOf: (record) => {
        const place = this.#placeOf(record);
        return place.kind === "file" ? place.name : undefined;
      },
      lineOf: (record) => {
        const body = this.#bodyOf(record);
        return Buffer.isBuffer(body) ? Buffer.concat([body, format.lineEnd]) : undefined;
      },
      onDoubt: (at) => this.#files.markDirty(at),
    });
  }
}

/** The rest of a batch, sent again at once: `split` is the answer that makes the loop do so. */
const REST: Rejection = { code: "file-rest", message: "The rest of the batch goes to the file next." };

const TOO_LARGE: Rejection = {
  code: "file-record-too-large",
  message: "The record alone is larger than the limit of its file.",
};

function fileFull(at: string): Rejection {
  return { code: "file-full", message: `${at} has reached its limit and takes no more lines.`, byChoice: true };
}

function rejected(cause: Rejection): Outcome {
  return { kind: "rejected", cause };
}
