/**
 * The body of a bulk request: for each record a line that says what to do, and the line of its document. Made from
 * the stored bytes, which are copied once and not parsed. What is put into a document is `document.ts`.
 */
import { jsonText } from "../../codec.js";
import { idProblem, pipelineProblem, routingProblem, type Problem } from "../../names.js";
import { uuidText, type LogRecord } from "../../record.js";
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

/** The lines of one record, not yet joined: a text, the stored bytes behind the first `from` of them, a text. */
export interface BulkEntry {
  readonly head: string;
  readonly json: Buffer;
  readonly from: number;
  readonly tail: string;
  readonly byteLength: number;
}

export function joinEntries(entries: readonly BulkEntry[]): Buffer {
  let total = 0;
  for (const entry of entries) total += entry.byteLength;
  const body = Buffer.allocUnsafe(total);
  let at = 0;
  for (const { head, json, from, tail } of entries) {
    at += body.write(head, at);
    at += json.copy(body, at, from);
    at += body.write(tail, at);
  }
  return body;
}

/** Turns records into entries, by the settings of one exporter. */
export class BulkWriter {
  readonly #settings: DestinationSettings;
  readonly #timestamp: FieldKey = fieldKey("@timestamp");
  readonly #timestampFrom: FieldKey | undefined;
  readonly #topic: FieldKey | undefined;
  readonly #acceptedAt: FieldKey | undefined;
  readonly #replayed: FieldKey | undefined;
  readonly #device: AddedField | undefined;
  #lineIndex: string | undefined;
  #lineStart = "";
  #lastMs = NaN;
  #lastIso = "";

  constructor(settings: DestinationSettings) {
    this.#settings = settings;
    const { fields } = settings;
    this.#timestampFrom = keyOf(settings.timestampFrom);
    this.#topic = keyOf(fields.topic);
    this.#acceptedAt = keyOf(fields.acceptedAt);
    this.#replayed = keyOf(fields.replayed);
    const device = keyOf(fields.device);
    this.#device = device && { key: device, json: JSON.stringify(settings.device) };
  }

  /** The id that the document gets; undefined when Elasticsearch chooses. */
  idOf(record: LogRecord): string | undefined {
    switch (this.#settings.id) {
      case "server":
        return undefined;
      case "message":
        return this.userIdOf(record) ?? uuidText(record.id);
      case "record":
        return uuidText(record.id);
    }
  }

  /** The id that the user gave this record; undefined when the id is ours. */
  userIdOf(record: LogRecord): string | undefined {
    return this.#settings.id === "message" ? given(record.routing["id"]) : undefined;
  }

  /** The lines of a record, or why it cannot be sent. One bad name would fail the whole request. */
  entry(record: LogRecord, index: string): BulkEntry | Rejection {
    const id = this.idOf(record);
    const routing = given(record.routing["routing"]) ?? given(this.#settings.routing);
    const pipeline = given(record.routing["pipeline"]) ?? given(this.#settings.pipeline);
    const problem =
      namedProblem("id", id, idProblem) ??
      namedProblem("routing", routing, routingProblem) ??
      namedProblem("pipeline", pipeline, pipelineProblem);
    if (problem !== undefined) return { code: "invalid-name", message: problem };
    try {
      const json = jsonText(record);
      const document = documentText(json, this.#fields(record, json));
      return this.#entryOf(this.#actionLine(index, id, routing, pipeline), json, document);
    } catch (error) {
      // Damaged bytes, or a time that is none: this record will never be a document, the others can be.
      return { code: "unreadable", message: `The stored payload cannot be read: ${(error as Error).message}` };
    }
  }

  #actionLine(
    index: string,
    id: string | undefined,
    routing: string | undefined,
    pipeline: string | undefined,
  ): string {
    const { op } = this.#settings;
    if (index !== this.#lineIndex) {
      this.#lineIndex = index;
      this.#lineStart = `{"${op === "upsert" ? "update" : op}":{"_index":${JSON.stringify(index)}`;
    }
    let line = this.#lineStart;
    // Values are quoted, never just put between quotes: they may come from messages.
    if (id !== undefined) line += `,"_id":${JSON.stringify(id)}`;
    if (routing !== undefined) line += `,"routing":${JSON.stringify(routing)}`;
    if (pipeline !== undefined) line += `,"pipeline":${JSON.stringify(pipeline)}`;
    if (op === "update" || op === "upsert") line += `,"retry_on_conflict":${RETRY_ON_CONFLICT}`;
    return `${line}}}\n`;
  }

  #entryOf(line: string, json: Buffer, { before, from, after }: DocumentText): BulkEntry {
    let head = line + before;
    let tail = `${after}\n`;
    switch (this.#settings.op) {
      case "create":
      case "index":
        break;
      case "update":
        head = `${line}{"doc":${before}`;
        tail = `${after}}\n`;
        break;
      case "upsert":
        head = `${line}{"doc":${before}`;
        tail = `${after},"doc_as_upsert":true}\n`;
        break;
    }
    return { head, json, from, tail, byteLength: Buffer.byteLength(head) + json.length - from + tail.length };
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
