/**
 * The body of a bulk request: for each record a line that says what to do, and the line of its document. Made from
 * the stored bytes, which are copied once and not parsed. What is put into a document is `document.ts`.
 */
import { jsonText } from "../../codec.js";
import { idProblem, pipelineProblem, routingProblem, type Problem } from "../../names.js";
import { bytesOf, UUID_TEXT_BYTES, writeUuidText, type LogRecord } from "../../record.js";
import {
  documentText,
  fieldKey,
  topLevelValue,
  type AddedField,
  type DocumentText,
  type FieldKey,
} from "./document.js";
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

/** Writes records into a body, by the settings of one exporter. */
export class BulkWriter {
  readonly #settings: DestinationSettings;
  readonly #timestamp: FieldKey = fieldKey("@timestamp");
  readonly #timestampFrom: FieldKey | undefined;
  readonly #topic: FieldKey | undefined;
  readonly #acceptedAt: FieldKey | undefined;
  readonly #replayed: FieldKey | undefined;
  readonly #doubtful: FieldKey | undefined;
  readonly #device: AddedField | undefined;
  #lineIndex: string | undefined;
  /** The beginning of each action with that index. */
  #lineStart: Buffer = Buffer.alloc(0);
  readonly #behindDocument: string;
  #lastMs = NaN;
  #lastIso = "";

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
    this.#behindDocument = BEHIND_DOCUMENT[settings.op];
  }

  /** The id that the user gave this record; undefined when the id is ours, or none. */
  userIdOf(record: LogRecord): string | undefined {
    return this.#settings.id === "message" ? given(record.routing["id"]) : undefined;
  }

  /** Writes the lines of a record, or says why it cannot be sent: one bad name would fail the whole request. */
  write(body: BulkBody, record: LogRecord, index: string): Rejection | undefined {
    const id = this.userIdOf(record);
    const routing = given(record.routing["routing"]) ?? given(this.#settings.routing);
    const pipeline = given(record.routing["pipeline"]) ?? given(this.#settings.pipeline);
    const problem =
      namedProblem("id", id, idProblem) ??
      namedProblem("routing", routing, routingProblem) ??
      namedProblem("pipeline", pipeline, pipelineProblem);
    if (problem !== undefined) return { code: "invalid-name", message: problem };
    let json: Buffer;
    let document: DocumentText;
    try {
      json = jsonText(record);
      document = documentText(json, this.#fields(record, json));
    } catch (error) {
      // Damaged bytes, or a time that is none: this record will never be a document, the others can be.
      return { code: "unreadable", message: `The stored payload cannot be read: ${(error as Error).message}` };
    }
    this.#beginAction(body, index);
    // Values are quoted, never just put between quotes: they may come from messages.
    if (id !== undefined) {
      body.text(`,"_id":${JSON.stringify(id)}`);
    } else if (this.#settings.id !== "server") {
      body.text(',"_id":"');
      body.uuid(record.id);
      body.text('"');
    }
    let rest = "";
    if (routing !== undefined) rest += `,"routing":${JSON.stringify(routing)}`;
    if (pipeline !== undefined) rest += `,"pipeline":${JSON.stringify(pipeline)}`;
    if (this.#isUpdate) rest += `,"retry_on_conflict":${RETRY_ON_CONFLICT}`;
    body.text(`${rest}}}\n${this.#isUpdate ? '{"doc":' : ""}${document.before}`);
    body.copy(json, document.from);
    body.text(document.after + this.#behindDocument);
    return undefined;
  }

  get #isUpdate(): boolean {
    return this.#settings.op === "update" || this.#settings.op === "upsert";
  }

  #beginAction(body: BulkBody, index: string): void {
    if (index !== this.#lineIndex) {
      const { op } = this.#settings;
      this.#lineIndex = index;
      this.#lineStart = Buffer.from(`{"${op === "upsert" ? "update" : op}":{"_index":${JSON.stringify(index)}`);
    }
    body.copy(this.#lineStart);
  }

  #fields(record: LogRecord, json: Buffer): AddedField[] {
    const fields: AddedField[] = [];
    const acceptedAt = this.#isoOf(record.acceptedAtMs);
    if (this.#settings.timestamp) {
      fields.push({ key: this.#timestamp, json: this.#payloadTime(json) ?? `"${acceptedAt}"` });
    }
    const topic = record.routing["topic"];
    if (this.#topic !== undefined && topic !== undefined)
      fields.push({ key: this.#topic, json: JSON.stringify(topic) });
    if (this.#acceptedAt !== undefined) fields.push({ key: this.#acceptedAt, json: `"${acceptedAt}"` });
    if (this.#replayed !== undefined && record.replayed) fields.push({ key: this.#replayed, json: "true" });
    if (this.#doubtful !== undefined && record.isTimeDoubtful === true)
      fields.push({ key: this.#doubtful, json: "true" });
    if (this.#device !== undefined) fields.push(this.#device);
    return fields;
  }

  /** Records of a burst share their millisecond. */
  #isoOf(ms: number): string {
    if (ms !== this.#lastMs) {
      this.#lastIso = new Date(ms).toISOString();
      this.#lastMs = ms;
    }
    return this.#lastIso;
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
