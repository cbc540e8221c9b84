/**
 * Records as lines of files, each line exactly once through kill -9 and power cuts.
 *
 * What holds: while nobody else changes a file, every record accepted is one line of it, in order. When others do:
 * - moved within its folder (logrotate `create`, `mv`): lines go on in a new file under the name; exactly once.
 * - deleted, moved to another folder or compressed: lines go on in a new file; a crash before that was noticed may
 *   repeat the last lines in it.
 * - truncated (logrotate `copytruncate`, an editor): lines go on at its end; the same.
 * - appended to: their bytes stay, an unfinished line of theirs gets its end; a crash may repeat our last lines. The
 *   same goes for other exporters of this process, which take turns with us (`turns.ts`): no step of theirs loses a line.
 * In no case is a record lost. The one thing that cannot be seen is someone who writes, behind our last line and while
 * this process is dead, the very bytes that our next lines would have had.
 *
 * It holds for the files whose positions the state has (the 50 to 90 used last), and for any other, new or not used for
 * long, through `ResumePoint.note`: its position is stored before its first line. Where the log cannot do that, a crash
 * may repeat the lines that such a file got since the cursor was stored.
 *
 * A line of a record that the log never wrote (delivered at once) may be cut short by the death of the process. Nobody
 * can tell any more whose it was, so it stays, and gets its end; NULs that a power cut left at the very end go.
 */
import * as path from "node:path";
import { systemClock } from "../../clock.js";
import type { Clock } from "../../clock.js";
import type { LogRecord, Offset } from "../../record.js";
import { DELIVERED, DUPLICATE, TargetUnavailableError } from "../target.js";
import type { Answer, Outcome, Rejection, ResumePoint, Target, TargetTraits } from "../target.js";
import { catchUp } from "./catch-up.js";
import type { LineAhead } from "./catch-up.js";
import { Destinations } from "./destinations.js";
import type { Place, Session } from "./destinations.js";
import { FileUnavailableError, errnoOf } from "./errors.js";
import { joinLines, linesAsTheyLie } from "./lines.js";
import type { Lines } from "./lines.js";
import { destinationFor, refuseLinks } from "./names.js";
import { checkOptions } from "./options.js";
import type { OutputFile } from "./output-file.js";
import type { CheckedOptions, FileTargetOptions } from "./options.js";
import { probeFile } from "./probe.js";
import { Positions, pathKey } from "./state.js";
import type { FilePosition } from "./state.js";
import { inTurn } from "./turns.js";

/** Within this `close` ends; a network disk that hangs is left to end by itself. */
const CLOSE_MS = 2_000;

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
    isLocal: true,
  };
  readonly #options: CheckedOptions;
  readonly #clock: Clock;
  readonly #destinations: Destinations;
  /** The place of the one file that the user chose. */
  readonly #fixed: Place | undefined;
  #positions: Positions | undefined;
  #resume: ResumePoint | undefined;
  #ahead = new Map<Offset, LineAhead>();
  #underWay: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  /** @throws {TargetConfigError} when the options do not make sense */
  constructor(options: FileTargetOptions, clock: Clock = systemClock) {
    this.#options = checkOptions(options);
    this.#clock = clock;
    this.#destinations = new Destinations(this.#options, clock);
    const { file } = this.#options;
    this.#fixed = file === undefined ? undefined : { name: "", path: file, pathKey: pathKey(file) };
  }

  /** Undefined before a file was used. */
  get fill(): FileFill | undefined {
    const file = this.#destinations.lastUsed;
    if (file === undefined) return undefined;
    const { maxBytes, maxLines } = this.#options;
    return { path: file.path, bytes: file.end, maxBytes, lines: this.#destinations.counts.known(file.path), maxLines };
  }

  /** Why old files could not be removed or compressed, if so. Delivery goes on. */
  get tidyFailure(): Error | undefined {
    return this.#destinations.rotation.failure;
  }

  destinationOf(record: LogRecord): string {
    const { file, root } = this.#options;
    return (root === undefined ? undefined : record.routing["file"]) ?? file ?? "";
  }

  open(signal: AbortSignal, resume?: ResumePoint): Promise<void> {
    return this.#whileOpen(async () => {
      this.#resume = resume;
      // In the same life our own positions are as new as the stored state, or newer.
      const positions = (this.#positions ??= Positions.from(resume?.state));
      await inTurn(this.#pathsOf(positions), () => this.#open(positions, resume, signal));
    });
  }

  async #open(positions: Positions, resume: ResumePoint | undefined, signal: AbortSignal): Promise<void> {
    if (resume !== undefined) await this.#catchUp(positions, resume, signal);
    if (this.#fixed === undefined) return;
    try {
      await this.#destinations.open(this.#fixed, signal);
    } catch (error) {
      if (!this.#mayHold(error)) throw error; // Otherwise the first record for it says so again.
    }
  }

  /** The files that opening may change. */
  #pathsOf(positions: Positions): string[] {
    const paths = new Set(positions.all().map((entry) => this.#pathOf(entry)));
    if (this.#fixed !== undefined) paths.add(this.#fixed.path);
    return [...paths].filter((at) => at !== undefined);
  }

  deliver(batch: readonly LogRecord[], signal: AbortSignal): Promise<Answer> {
    return this.#whileOpen(async () => {
      signal.throwIfAborted();
      const place = this.#placeOf(batch[0]!);
      if ("refusal" in place) return { outcomes: batch.map(() => rejected(place.refusal)) };
      const positions = (this.#positions ??= Positions.from(undefined));
      const session: Session = {
        positions,
        note: () => this.#note(positions),
        signal,
      };
      try {
        const ahead = this.#answerAhead(batch, positions);
        return ahead ?? (await inTurn([place.path], () => this.#append(batch, place, session)));
      } catch (error) {
        if (!this.#mayHold(error)) throw error;
        const retry: Outcome = { kind: "retry", cause: error };
        return { outcomes: batch.map(() => retry), consequence: { kind: "hold", cause: error } };
      }
    });
  }

  settle(): Promise<void> {
    return this.#destinations.files.settle();
  }

  probe(_signal: AbortSignal): Promise<void> {
    const { file, root, createFolders } = this.#options;
    return probeFile(root === undefined ? file! : path.join(root, "any"), createFolders);
  }

  close(): Promise<void> {
    return (this.#closed ??= new Promise((resolve, reject) => {
      const timer = this.#clock.after(CLOSE_MS, resolve);
      // A descriptor is never closed under a call that uses it: its number, used again, would be another file.
      const closing = this.#exclusively(() => this.#destinations.close());
      closing.then(resolve, reject).finally(() => timer.cancel());
    }));
  }

  /** Resolves when old files have been removed and compressed. */
  idle(): Promise<void> {
    return this.#destinations.rotation.idle();
  }

  #whileOpen<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed === undefined) return this.#exclusively(work);
    return Promise.reject(new TargetUnavailableError("The file target is closed.", { code: "closed" }));
  }

  #exclusively<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#underWay.then(work);
    this.#underWay = result.catch(() => {
      /* whoever asked for the work hears of it */
    });
    return result;
  }

  /** One file of many that cannot be written waits alone; the only one makes the target unusable. */
  #mayHold(error: unknown): error is FileUnavailableError {
    return this.#options.root !== undefined && error instanceof FileUnavailableError && error.ofThisFile;
  }

  #placeOf(record: LogRecord): Place | { readonly refusal: Rejection } {
    const { root } = this.#options;
    const given = record.routing["file"];
    // Without a root, a name is of a time when records named their files: the user has fixed the file since.
    if (this.#fixed !== undefined && (given === undefined || root === undefined)) return this.#fixed;
    const destination = destinationFor(given, root!);
    if ("refusal" in destination) return destination;
    return { ...destination, pathKey: pathKey(destination.path) };
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

  async #append(batch: readonly LogRecord[], place: Place, session: Session): Promise<Answer> {
    if (place.name !== "") {
      const refusal = await refuseLinks(this.#options.root!, place.name);
      if (refusal !== undefined) return { outcomes: batch.map(() => rejected(refusal)) };
    }
    // The system looks after the file while we make the lines.
    const opening = this.#destinations.usable(place, session);
    const { room } = this.#destinations;
    // The usual case: a file without limits, and payloads that are lines as they lie.
    const join = room.isLimited ? undefined : linesAsTheyLie(batch, this.#options.format);
    if (join !== undefined) {
      const { file } = await this.#destinations.makeRoom(await opening, place, [], session);
      session.signal.throwIfAborted();
      const lines = join(this.#destinations.before(file));
      return {
        outcomes: await this.#write(lines, batch.length, file, place, session),
        state: session.positions.encode(),
      };
    }
    const outcomes: Outcome[] = [];
    const { bodies, places } = this.#encode(batch, outcomes);
    const usable = await opening;
    if (bodies.length === 0) return { outcomes };
    const { file, count } = await this.#destinations.makeRoom(usable, place, bodies, session);
    session.signal.throwIfAborted();
    const isAll = count === bodies.length;
    if (count > 0) {
      const { lineEnd } = this.#options.format;
      const taken = isAll ? bodies : bodies.slice(0, count);
      // By their count: the bodies are not to be kept in memory while their lines are written.
      const lines = joinLines(this.#destinations.before(file), taken, lineEnd);
      const written = await this.#write(lines, count, file, place, session);
      for (let i = 0; i < count; i++) outcomes[places[i]!] = written[i]!;
    }
    const state = session.positions.encode();
    if (isAll) return { outcomes, state };
    const isRefused = this.#options.whenFull === "refuseNew";
    const rest: Outcome = isRefused ? rejected(fileFull(file.path)) : { kind: "retry", cause: new Error(REST.message) };
    for (const i of places.slice(count)) outcomes[i] = rest;
    return isRefused ? { outcomes, state } : { outcomes, state, consequence: { kind: "split", cause: REST } };
  }

  /** What has become of each of `count` lines. */
  async #write(
    lines: Lines,
    count: number,
    file: OutputFile,
    place: Place,
    { positions }: Session,
  ): Promise<readonly Outcome[]> {
    const { bytes, error } = await file.append(lines);
    if (bytes === 0 && error !== undefined) throw error;
    this.#destinations.files.markDirty(file.path);
    await this.#destinations.setPosition(file, place, positions);
    this.#destinations.counts.appended(file, lines.pieces, bytes);
    if (error === undefined) return new Array<Outcome>(count).fill(DELIVERED);
    // What did not fit the disk is offered again; that attempt fails as a whole, and the target is unusable.
    return lines.ends().map((end) => (end <= bytes ? DELIVERED : { kind: "retry", cause: error }));
  }

  async #note(positions: Positions): Promise<void> {
    try {
      await this.#resume?.note?.(positions.encode());
    } catch (error) {
      // The file may be well; but a line whose place nobody knows would come twice after a crash.
      const message = `The place of a line could not be stored in the queue: ${(error as Error).message}`;
      throw new TargetUnavailableError(message, { code: errnoOf(error) ?? "queue", cause: error });
    }
  }

  #encode(batch: readonly LogRecord[], outcomes: Outcome[]): Encoded {
    const bodies: Buffer[] = [];
    const places: number[] = [];
    // A new file takes a record of any size when files are only set aside, not bounded for good.
    const isBounded = this.#destinations.room.isLimited && this.#options.whenFull !== "rotate";
    for (let i = 0; i < batch.length; i++) {
      const body = this.#bodyOf(batch[i]!);
      if (!Buffer.isBuffer(body)) outcomes[i] = rejected(body);
      else if (isBounded && this.#destinations.room.isTooLarge(body)) outcomes[i] = rejected(TOO_LARGE);
      else {
        bodies.push(body);
        places.push(i);
      }
    }
    if (this.#options.whenFull !== "keepNew") return { bodies, places };
    // A file rewritten for each of them would cost a card more than all that stays in it.
    const outlived = this.#destinations.room.outlived(bodies);
    for (const i of places.slice(0, outlived)) outcomes[i] = DELIVERED;
    return { bodies: bodies.slice(outlived), places: places.slice(outlived) };
  }

  #bodyOf(record: LogRecord): Buffer | Rejection {
    try {
      return this.#options.format.body(record);
    } catch (error) {
      return { code: errnoOf(error) ?? "file-payload", message: (error as Error).message };
    }
  }

  /** Undefined when it is of another path than this target has now. */
  #pathOf({ name, pathKey: key }: FilePosition): string | undefined {
    const { root, file } = this.#options;
    const at = name === "" ? file : root === undefined ? undefined : path.join(root, name);
    return at !== undefined && pathKey(at) === key ? at : undefined;
  }

  async #catchUp(positions: Positions, resume: ResumePoint, signal: AbortSignal): Promise<void> {
    const { format } = this.#options;
    await this.#destinations.files.renew();
    const { ahead, ...found } = await catchUp({
      positions,
      resume,
      signal,
      format,
      pathOf: (entry) => this.#pathOf(entry),
      nameOf: (record) => {
        const place = this.#placeOf(record);
        return "refusal" in place ? undefined : place.name;
      },
      lineOf: (record) => {
        const body = this.#bodyOf(record);
        return Buffer.isBuffer(body) ? Buffer.concat([body, format.lineEnd]) : undefined;
      },
      onDoubt: (at) => this.#destinations.files.markDirty(at),
    });
    this.#ahead = ahead;
    this.#destinations.caughtUp(found);
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
