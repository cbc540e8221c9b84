/**
 * The files of one target, ready for their next lines: opened, their positions known to the log, with room below their
 * limits. What is written to them, and what becomes of the records, is `target.ts`.
 */
import * as path from "node:path";
import type { Clock } from "../../clock.js";
import { TargetUnavailableError } from "../target.js";
import type { CaughtUp } from "./catch-up.js";
import { copyWithoutOldest, removeLeftover } from "./drop-oldest.js";
import { LineCounts } from "./line-count.js";
import { OpenFiles } from "./open-files.js";
import type { CheckedOptions } from "./options.js";
import type { OutputFile } from "./output-file.js";
import { Room } from "./room.js";
import type { Amount } from "./room.js";
import { Rotation } from "./rotation.js";
import { isSameFile } from "./state.js";
import type { Positions } from "./state.js";
import { syncFolder } from "./sync.js";

const NOTHING = Buffer.alloc(0);

/** The one file that the user chose has the empty name; others are named below the root. */
export interface Place {
  readonly name: string;
  readonly path: string;
  readonly pathKey: bigint;
}

/** What a delivery needs to be safe: where it stands, how to store that, when to stop. */
export interface Session {
  readonly positions: Positions;
  /** Stores the positions before the first byte goes to a file whose position they did not have. */
  note(): Promise<void>;
  readonly signal: AbortSignal;
}

export class Destinations {
  readonly files = new OpenFiles();
  readonly room: Room;
  readonly rotation: Rotation;
  readonly counts: LineCounts;
  readonly #options: CheckedOptions;
  readonly #clock: Clock;
  /** Names of the files that this object has used: with `overwrite`, they have been emptied. */
  readonly #used = new Set<string>();
  /** Names of files whose stored position is not where the next line goes. */
  readonly #toNote = new Set<string>();
  /** Names of files whose bytes behind the stored position are known. Undefined while nothing has been compared. */
  #known: Set<string> | undefined;
  #lastUsed: OutputFile | undefined;

  constructor(options: CheckedOptions, clock: Clock) {
    const { format, maxLines, maxBytes, rotate } = options;
    this.#options = options;
    this.#clock = clock;
    this.room = new Room({ lines: maxLines, bytes: maxBytes }, format);
    this.counts = new LineCounts(format);
    this.rotation = new Rotation(rotate);
  }

  get lastUsed(): OutputFile | undefined {
    return this.#lastUsed;
  }

  /** The open file of a place, made if need be. `wasCut`: someone truncated it since it was last used. */
  async open(place: Place, signal: AbortSignal): Promise<{ file: OutputFile; wasCut: boolean }> {
    const { createFolders, empties, whenFull } = this.#options;
    let current = await this.files.current(place.path);
    if (current === undefined) {
      if (this.room.isLimited && whenFull === "keepNew") await removeLeftover(place.path);
      const file = await this.files.open(place.path, { create: true, createFolders, noFollow: place.name !== "" });
      current = { file, wasCut: false };
    }
    const { file, wasCut } = current;
    if (empties && !this.#used.has(place.name)) {
      if (file.end > 0) await file.cut(0);
      this.#used.add(place.name);
    }
    if (wasCut) this.counts.forget(place.path);
    if (this.room.countsLines) await this.counts.linesOf(file, signal);
    this.#lastUsed = file;
    return current;
  }

  /** The open file of a place, its position known to the log before the first of our bytes gets there. */
  async usable(place: Place, session: Session): Promise<OutputFile> {
    const { file, wasCut } = await this.open(place, session.signal);
    const known = session.positions.get(place.name);
    const goesOn =
      known !== undefined &&
      known.pathKey === place.pathKey &&
      isSameFile(known, file.identity) &&
      file.end >= known.position &&
      !wasCut;
    if (goesOn && file.end > known.position && this.#known?.has(place.name) === false) throw cameBack(place.path);
    if (!goesOn || this.#toNote.has(place.name)) {
      await this.setPosition(file, place, session.positions);
      await session.note();
      this.#toNote.delete(place.name);
    }
    return file;
  }

  /**
   * What a comparison has found. Files that go on have something between their stored position and their end that the
   * log does not know: lines of others, or of ours that never were in the log. A life that compared from there would not
   * find the lines that follow now, so they are noted anew.
   */
  caughtUp({ compared, goOn }: Pick<CaughtUp, "compared" | "goOn">): void {
    this.#known ??= new Set();
    for (const name of compared) this.#known.add(name);
    for (const name of goOn) this.#toNote.add(name);
  }

  /** How many of the next lines the file takes, and the file: another one, when room had to be made. */
  async makeRoom(
    usable: OutputFile,
    place: Place,
    bodies: readonly Buffer[],
    session: Session,
  ): Promise<{ file: OutputFile; count: number }> {
    let file = usable;
    const { whenFull } = this.#options;
    // A clock that has not been set yet says nothing about age, and what is set aside is deleted in the end.
    if (whenFull === "rotate" && this.#clock.isWallTrusted && this.rotation.isDue(file, this.#clock.wallMs()))
      file = await this.#rotate(place, session);
    if (!this.room.isLimited) return { file, count: bodies.length };
    let count = this.room.fitting(await this.#usedBy(file, session), bodies);
    if (whenFull === "rotate" && count === 0) {
      if (file.end > 0) file = await this.#rotate(place, session);
      count = Math.max(1, this.room.fitting(await this.#usedBy(file, session), bodies));
    } else if (whenFull === "keepNew" && count < bodies.length) {
      file = await this.#dropOldest(file, place, bodies, session);
      count = this.room.fitting(await this.#usedBy(file, session), bodies);
    }
    return { file, count };
  }

  /** Everything in the file up to its end is confirmed with the answer under way, or was before. */
  async setPosition(file: OutputFile, { name, pathKey }: Place, positions: Positions): Promise<void> {
    positions.set({ ...file.identity, name, pathKey, position: file.end, tailCrc: await file.tailCrc(file.end) });
    this.#known?.add(name);
  }

  /** What has to be written before the next line: the header of a new file, the missing end of someone's last line. */
  before(file: OutputFile): Buffer {
    const { format } = this.#options;
    if (file.end === 0) return format.header;
    return file.endsWith(format.lineEnd) ? NOTHING : format.lineEnd;
  }

  async close(): Promise<void> {
    await this.rotation.close();
    await this.files.close();
  }

  async #usedBy(file: OutputFile, { signal }: Session): Promise<Amount> {
    const lines = this.room.countsLines ? await this.counts.linesOf(file, signal) : 0;
    const before = this.before(file);
    const isUnfinished = file.end > 0 && before.length > 0;
    return { lines: lines + (isUnfinished ? 1 : 0), bytes: file.end + before.length };
  }

  async #rotate(place: Place, session: Session): Promise<OutputFile> {
    await this.rotation.setAside(place.path);
    await this.files.retire(place.path);
    this.counts.forget(place.path);
    const file = await this.usable(place, session);
    this.rotation.tidy(place.path, session.positions.all());
    return file;
  }

  /**
   * The shorter copy becomes the file in one step. Its position is stored before: if a crash comes first, the state
   * speaks of a file that is not there, and nothing was delivered since.
   */
  async #dropOldest(file: OutputFile, place: Place, bodies: readonly Buffer[], session: Session): Promise<OutputFile> {
    const used = await this.#usedBy(file, session);
    const excess = this.room.excess(used, bodies);
    const shortened = await copyWithoutOldest(file, excess, this.#options.format, session.signal);
    try {
      await this.setPosition(shortened.file, place, session.positions);
      await session.note();
      await shortened.file.rename(shortened.becomes, place.path);
    } catch (error) {
      await shortened.file.close();
      await removeLeftover(shortened.becomes);
      throw error;
    }
    await this.files.replace(shortened.file);
    // Before a line is added: a power cut that took the name back would take the line with it.
    await syncFolder(path.dirname(shortened.becomes));
    this.#lastUsed = shortened.file;
    if (this.room.countsLines) this.counts.set(shortened.file, used.lines - shortened.droppedLines);
    return shortened.file;
  }
}

/** It was not there when the others were compared. Opening the target again compares it, too. */
function cameBack(at: string): TargetUnavailableError {
  return new TargetUnavailableError(`${at} is back: its last lines are compared first.`, { code: "file-came-back" });
}
