/**
 * The body of a bulk request: for each record a line that says what to do, and the line of its document. Made from
 * the stored bytes, which are copied once and not parsed. What is put into a document is `document.ts`.
 */
import { jsonText } from "../../codec.js";
import { idProblem, pipelineProblem, routingProblem, type Problem } from "../../names.js";
import { bytesOf, UUID_TEXT_BYTES, writeUuidText, type LogRecord, type Routing } from "../../record.js";
import { documentText, fieldKey, hasEntries, topLevelValue, type AddedField, type FieldKey } from "./document.js";
import type { DestinationSettings } from "./options.js";
import type { Rejection } from "../target.js";

/** How often the server itself tries an update again that met another one of the same document. */
const RETRY_ON_CONFLICT = 3;

const BEHIND_DOCUMENT: Readonly<Record<DestinationSettings["op"], string>> = {
  create: "\n",
  index: "\n",
  update: "}\n",
  upsert: ',"doc_as_upsert":true}\n',
};

/** Stands for the usual document: an object that has none of the added fields. */
const ORDINARY = Buffer.from("{ ");

/** Bytes around a document: an action with an id, and the fields that are put in. Only a guess: the body grows. */
const BYTES_AROUND = 160;

/** A body while it is written. */
export class BulkBody {
  #bytes: Buffer;
  #end = 0;

  /** With room for these records, as far as can be guessed. */
  constructor(records: readonly LogRecord[]) {
    this.#bytes = Buffer.allocUnsafe(bytesOf(records) + records.length * BYTES_AROUND);
  }

  get length(): number {
    return this.#end;
  }

  /** What has been written, without a copy. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#end);
  }

  text(text: string): void {
    if (text === "") return;
    this.#reserve(text.length * 3);
    this.#end += this.#bytes.write(text, this.#end);
  }

  uuid(id: Uint8Array): void {
    this.#reserve(UUID_TEXT_BYTES);
    this.#end = writeUuidText(this.#bytes, this.#end, id);
  }

  copy(bytes: Buffer, from = 0): void {
    this.#reserve(bytes.length);
    this.#end += bytes.copy(this.#bytes, this.#end, from);
  }

  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#end + bytes));
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
}

/** The action of all records that have the same routing and go to the same index. */
interface Action {
  readonly routing: Routing;
  readonly index: string;
  /** Why none of them can be sent: one bad name would fail the whole request. */
  readonly refusal: Rejection | undefined;
  /** Up to an id of ours, which follows; with the id of the user, or without any, up to where that would be. */
  readonly start: Buffer;
  /** From behind the id up to the document. */
  readonly end: string;
}

/** What stands between the id and the stored bytes, for all records of an action that were accepted in one moment. */
interface Front {
  readonly action: Action;
  readonly acceptedAtMs: number;
  readonly replayed: boolean;
  readonly doubtful: boolean;
  readonly fields: readonly AddedField[];
  /** For the usual document: an object, not empty, that has none of the fields itself. */
  readonly bytes: Buffer;
}

/** Writes records into a body, by the settings of one exporter. What neighbours have in common is made once. */
export class BulkWriter {
  readonly #settings: DestinationSettings;
  readonly #timestamp: FieldKey = fieldKey("@timestamp");
  readonly #timestampFrom: FieldKey | undefined;
  readonly #topic: FieldKey | undefined;
  readonly #acceptedAt: FieldKey | undefined;
  readonly #replayed: FieldKey | undefined;
  readonly #doubtful: FieldKey | undefined;
  readonly #device: AddedField | undefined;
  readonly #behindDocument: Buffer;
  #action: Action | undefined;
  #front: Front | undefined;

  constructor(settings: DestinationSettings) {
    this.#settings = settings;
    const { fields } = settings;
    this.#timestampFrom = keyOf(settings.timestampFrom);
    this.#topic = keyOf(fields.topic);
    this.#acceptedAt = keyOf(fields.acceptedAt);
    this.#replayed = keyOf(fields.replayed);
    this.#doubtful = keyOf(fields.doubtful);
    const device = keyOf(fields.device);
    this.#device = device && { key: device, json: JSON.stringify(settings.device) };
    this.#behindDocument = Buffer.from(BEHIND_DOCUMENT[settings.op]);
  }

  /** The id that the user gave this record; undefined when the id is ours, or none. */
  userIdOf({ routing }: LogRecord): string | undefined {
    return this.#settings.id === "message" ? given(routing["id"]) : undefined;
  }

  /** Writes the lines of a record, or says why it cannot be sent. */
  write(body: BulkBody, record: LogRecord, index: string): Rejection | undefined {
    const action = this.#actionOf(record, index);
    if (action.refusal !== undefined) return action.refusal;
    let json: Buffer;
    let front: Front;
    try {
      json = jsonText(record);
      front = this.#frontOf(record, action, json);
    } catch (error) {
      // Damaged bytes, or a time that is none: this record will never be a document, the others can be.
      return { code: "unreadable", message: `The stored payload cannot be read: ${(error as Error).message}` };
    }
    body.copy(action.start);
    if (this.#hasOwnId(record)) body.uuid(record.id);
    if (hasEntries(json) && front.fields.every(({ key }) => topLevelValue(json, key) === undefined)) {
      body.copy(front.bytes);
      body.copy(json, 1);
    } else {
      const { before, from, after } = documentText(json, front.fields);
      body.text(action.end + before);
      body.copy(json, from);
      body.text(after);
    }
    body.copy(this.#behindDocument);
    return undefined;
  }

  #hasOwnId(record: LogRecord): boolean {
    return this.#settings.id !== "server" && this.userIdOf(record) === undefined;
  }

  #actionOf(record: LogRecord, index: string): Action {
    const last = this.#action;
    if (last !== undefined && last.routing === record.routing && last.index === index) return last;
    return (this.#action = this.#makeAction(record, index));
  }

  #makeAction(record: LogRecord, index: string): Action {
    const { op } = this.#settings;
    const isUpdate = op === "update" || op === "upsert";
    const id = this.userIdOf(record);
    const routing = given(record.routing["routing"]) ?? given(this.#settings.routing);
    const pipeline = given(record.routing["pipeline"]) ?? given(this.#settings.pipeline);
    const problem =
      namedProblem("id", id, idProblem) ??
      namedProblem("routing", routing, routingProblem) ??
      namedProblem("pipeline", pipeline, pipelineProblem);
    // Values are quoted, never just put between quotes: they may come from messages.
    let start = `{"${op === "upsert" ? "update" : op}":{"_index":${JSON.stringify(index)}`;
    let end = "";
    if (id !== undefined) start += `,"_id":${JSON.stringify(id)}`;
    else if (this.#settings.id !== "server") {
      start += ',"_id":"';
      end += '"';
    }
    if (routing !== undefined) end += `,"routing":${JSON.stringify(routing)}`;
    if (pipeline !== undefined) end += `,"pipeline":${JSON.stringify(pipeline)}`;
    if (isUpdate) end += `,"retry_on_conflict":${RETRY_ON_CONFLICT}`;
    return {
      routing: record.routing,
      index,
      refusal: problem === undefined ? undefined : { code: "invalid-name", message: problem },
      start: Buffer.from(start),
      end: `${end}}}\n${isUpdate ? '{"doc":' : ""}`,
    };
  }

  #frontOf(record: LogRecord, action: Action, json: Buffer): Front {
    const { acceptedAtMs, replayed } = record;
    const doubtful = record.isTimeDoubtful === true;
    const last = this.#front;
    const isSame =
      last !== undefined &&
      last.action === action &&
      last.acceptedAtMs === acceptedAtMs &&
      last.replayed === replayed &&
      last.doubtful === doubtful &&
      this.#timestampFrom === undefined; // otherwise each payload has its own
    if (isSame) return last;
    const fields = this.#fields(record, json);
    const bytes = Buffer.from(action.end + documentText(ORDINARY, fields).before);
    return (this.#front = { action, acceptedAtMs, replayed, doubtful, fields, bytes });
  }

  #fields(record: LogRecord, json: Buffer): AddedField[] {
    const fields: AddedField[] = [];
    const acceptedAt = `"${new Date(record.acceptedAtMs).toISOString()}"`;
    if (this.#settings.timestamp) fields.push({ key: this.#timestamp, json: this.#payloadTime(json) ?? acceptedAt });
    const topic = record.routing["topic"];
    if (this.#topic !== undefined && topic !== undefined)
      fields.push({ key: this.#topic, json: JSON.stringify(topic) });
    if (this.#acceptedAt !== undefined) fields.push({ key: this.#acceptedAt, json: acceptedAt });
    if (this.#replayed !== undefined && record.replayed) fields.push({ key: this.#replayed, json: "true" });
    if (this.#doubtful !== undefined && record.isTimeDoubtful === true)
      fields.push({ key: this.#doubtful, json: "true" });
    if (this.#device !== undefined) fields.push(this.#device);
    return fields;
  }

  /** The payload's own time as JSON text, when it names one that can be a date: a number or a text. */
  #payloadTime(json: Buffer): string | undefined {
    if (this.#timestampFrom === undefined) return undefined;
    const value = topLevelValue(json, this.#timestampFrom);
    const text = value && json.toString("utf8", value.start, value.end);
    return text !== undefined && /^(?:"|-?\d)/u.test(text) && text !== '""' ? text : undefined;
  }
}

function namedProblem(what: string, name: string | undefined, problemOf: (name: string) => Problem): Problem {
  const problem = name === undefined ? undefined : problemOf(name);
  return problem && `The ${what} ${problem}`;
}

/** An empty text counts as none: an empty pipeline or routing would be refused. */
function given(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function keyOf(name: string): FieldKey | undefined {
  return name === "" ? undefined : fieldKey(name);
}
