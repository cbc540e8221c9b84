/**
 * The body of a bulk request: for each record a line that says what to do, and the line of its document. Made from
 * the stored bytes, which are copied once and not parsed. What is put into a document is `document.ts`.
 */
import { jsonText } from "../../codec.js";
import { idProblem, pipelineProblem, routingProblem, type Problem } from "../../names.js";
import { bytesOf, runsOf, UUID_TEXT_BYTES, writeUuidText, type LogRecord, type Routing } from "../../record.js";
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
class BulkBody {
  #bytes: Buffer;
  #end = 0;

  /** With room for these records, as far as can be guessed. */
  constructor(records: readonly LogRecord[]) {
    this.#bytes = Buffer.allocUnsafe(bytesOf(records) + records.length * BYTES_AROUND);
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

  /** Bytes with a UUID put over what they have at `at`. */
  withUuid(bytes: Buffer, at: number, id: Uint8Array): void {
    const start = this.#end;
    this.whole(bytes);
    writeUuidText(this.#bytes, start + at, id);
  }

  whole(bytes: Buffer): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  part(bytes: Buffer, from: number, to: number): void {
    this.#reserve(to - from);
    this.#end += bytes.copy(this.#bytes, this.#end, from, to);
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
  /** The id of each is the record's own; it follows the start, which has room for it behind. */
  readonly hasOwnId: boolean;
  readonly start: Buffer;
  /** From behind the id, or the start, up to the document. */
  readonly end: string;
}

/** What stands before the stored bytes, for all records of an action that were accepted in one moment. */
interface Front {
  readonly action: Action;
  readonly acceptedAtMs: number;
  readonly replayed: boolean;
  readonly doubtful: boolean;
  readonly payloadTime: string | undefined;
  readonly fields: readonly AddedField[];
  /** For the usual document: an object, not empty, that has none of the fields itself. */
  readonly bytes: Buffer;
}

/** A bulk body, and the records that are not in it because they cannot be sent. */
export interface Bulk {
  readonly bytes: Buffer;
  readonly refused: ReadonlyMap<LogRecord, Rejection>;
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
  /** Of all fields that may be put in. */
  readonly #keys: readonly FieldKey[];
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
    const timestamp = settings.timestamp ? this.#timestamp : undefined;
    const keys = [timestamp, this.#topic, this.#acceptedAt, this.#replayed, this.#doubtful, device];
    this.#keys = keys.filter((key) => key !== undefined);
    this.#behindDocument = Buffer.from(BEHIND_DOCUMENT[settings.op]);
  }

  /** The id that the user gave this record; undefined when the id is ours, or none. */
  userIdOf({ routing }: LogRecord): string | undefined {
    return this.#settings.id === "message" ? given(routing["id"]) : undefined;
  }

  /** The lines of these records. */
  bulk(records: readonly LogRecord[], index: string): Bulk {
    const body = new BulkBody(records);
    const refused = new Map<LogRecord, Rejection>();
    const areWithoutKeys = this.#areWithoutKeys(records);
    for (const record of records) {
      const refusal = this.#write(body, record, index, areWithoutKeys);
      if (refusal !== undefined) refused.set(record, refusal);
    }
    return { bytes: body.bytes, refused };
  }

  /** True when no payload can have any of the fields: one search through many of them, instead of some in each. */
  #areWithoutKeys(records: readonly LogRecord[]): boolean {
    const runs = runsOf(records);
    if (runs === undefined) return false;
    return runs.every(({ page, from, to }) => {
      const payloads = page.subarray(from, to);
      return this.#keys.every(({ bytes }) => !payloads.includes(bytes));
    });
  }

  #write(body: BulkBody, record: LogRecord, index: string, isWithoutKeys: boolean): Rejection | undefined {
    const action = this.#actionOf(record, index);
    if (action.refusal !== undefined) return action.refusal;
    const { codec, page, start, size } = record;
    const liesThere = codec === 0 && isWithoutKeys && this.#timestampFrom === undefined && page !== undefined;
    try {
      if (liesThere && start !== undefined && hasEntries(page, start)) {
        this.#writeFront(body, record, this.#frontOf(record, action, undefined));
        body.part(page, start + 1, start + size);
      } else {
        this.#writeDocument(body, record, action, jsonText(record));
      }
    } catch (error) {
      // Damaged bytes, or a time that is none: this record will never be a document, the others can be.
      return { code: "unreadable", message: `The stored payload cannot be read: ${(error as Error).message}` };
    }
    body.whole(this.#behindDocument);
    return undefined;
  }

  #writeFront(body: BulkBody, record: LogRecord, { action, bytes }: Front): void {
    if (action.hasOwnId) body.withUuid(bytes, action.start.length - UUID_TEXT_BYTES, record.id);
    else body.whole(bytes);
  }

  #writeDocument(body: BulkBody, record: LogRecord, action: Action, json: Buffer): void {
    const front = this.#frontOf(record, action, this.#payloadTime(json));
    if (hasEntries(json) && front.fields.every(({ key }) => topLevelValue(json, key) === undefined)) {
      this.#writeFront(body, record, front);
      body.part(json, 1, json.length);
      return;
    }
    const { before, from, after } = documentText(json, front.fields);
    if (action.hasOwnId) body.withUuid(action.start, action.start.length - UUID_TEXT_BYTES, record.id);
    else body.whole(action.start);
    body.text(action.end + before);
    body.part(json, from, json.length);
    body.text(after);
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
    const hasOwnId = id === undefined && this.#settings.id !== "server";
    if (id !== undefined) start += `,"_id":${JSON.stringify(id)}`;
    else if (hasOwnId) {
      start += `,"_id":"${" ".repeat(UUID_TEXT_BYTES)}`;
      end += '"';
    }
    if (routing !== undefined) end += `,"routing":${JSON.stringify(routing)}`;
    if (pipeline !== undefined) end += `,"pipeline":${JSON.stringify(pipeline)}`;
    if (isUpdate) end += `,"retry_on_conflict":${RETRY_ON_CONFLICT}`;
    return {
      routing: record.routing,
      index,
      refusal: problem === undefined ? undefined : { code: "invalid-name", message: problem },
      hasOwnId,
      start: Buffer.from(start),
      end: `${end}}}\n${isUpdate ? '{"doc":' : ""}`,
    };
  }

  #frontOf(record: LogRecord, action: Action, payloadTime: string | undefined): Front {
    const { acceptedAtMs, replayed } = record;
    const doubtful = record.isTimeDoubtful === true;
    const last = this.#front;
    const isSame =
      last !== undefined &&
      last.action === action &&
      last.acceptedAtMs === acceptedAtMs &&
      last.replayed === replayed &&
      last.doubtful === doubtful &&
      last.payloadTime === payloadTime;
    if (isSame) return last;
    const fields = this.#fields(record, payloadTime);
    const bytes = Buffer.concat([action.start, Buffer.from(action.end + documentText(ORDINARY, fields).before)]);
    return (this.#front = { action, acceptedAtMs, replayed, doubtful, payloadTime, fields, bytes });
  }

  #fields(record: LogRecord, payloadTime: string | undefined): AddedField[] {
    const fields: AddedField[] = [];
    const acceptedAt = `"${new Date(record.acceptedAtMs).toISOString()}"`;
    if (this.#settings.timestamp) fields.push({ key: this.#timestamp, json: payloadTime ?? acceptedAt });
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
