/**
 * The body of a bulk request: for each record a line that says what to do, and the line of its document. Made from
 * the stored bytes, which are copied once and not parsed. What is put into a document is `document.ts`.
 */
import { jsonText } from "../../codec.js";
import { idProblem, pipelineProblem, routingProblem, type Problem } from "../../names.js";
import { uuidText, type LogRecord } from "../../record.js";
import { documentPieces, fieldKey, topLevelValue, type AddedField, type FieldKey } from "./document.js";
import type { DestinationSettings } from "./options.js";
import type { Rejection } from "../target.js";

/** How often the server itself tries an update again that met another one of the same document. */
const RETRY_ON_CONFLICT = 3;

/** The lines of one record, not yet joined. */
export interface BulkEntry {
  readonly pieces: readonly (Buffer | string)[];
  readonly byteLength: number;
}

export function joinEntries(entries: readonly BulkEntry[]): Buffer {
  let total = 0;
  for (const entry of entries) total += entry.byteLength;
  const body = Buffer.allocUnsafe(total);
  let at = 0;
  for (const entry of entries) {
    for (const piece of entry.pieces) {
      if (typeof piece === "string") at += body.write(piece, at);
      else at += piece.copy(body, at);
    }
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
    let document: readonly (Buffer | string)[];
    try {
      const json = jsonText(record);
      document = documentPieces(json, this.#fields(record, json));
    } catch (error) {
      // Damaged bytes, or a time that is none: this record will never be a document, the others can be.
      return { code: "unreadable", message: `The stored payload cannot be read: ${(error as Error).message}` };
    }

    const { op } = this.#settings;
    const action: Record<string, string | number> = { _index: index };
    if (id !== undefined) action["_id"] = id;
    if (routing !== undefined) action["routing"] = routing;
    if (pipeline !== undefined) action["pipeline"] = pipeline;
    if (op === "update" || op === "upsert") action["retry_on_conflict"] = RETRY_ON_CONFLICT;
    const line = `{"${op === "upsert" ? "update" : op}":${JSON.stringify(action)}}\n`;

    return entryOf([line, ...updateBraces(op, document), "\n"]);
  }

  #fields(record: LogRecord, json: Buffer): AddedField[] {
    const fields: AddedField[] = [];
    const acceptedAt = new Date(record.acceptedAtMs).toISOString();
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

  /** The payload's own time as JSON text, when it names one that can be a date: a number or a text. */
  #payloadTime(json: Buffer): string | undefined {
    if (this.#timestampFrom === undefined) return undefined;
    const value = topLevelValue(json, this.#timestampFrom);
    const text = value && json.toString("utf8", value.start, value.end);
    return text !== undefined && /^(?:"|-?\d)/u.test(text) && text !== '""' ? text : undefined;
  }
}

function updateBraces(
  op: DestinationSettings["op"],
  document: readonly (Buffer | string)[],
): readonly (Buffer | string)[] {
  if (op === "update") return ['{"doc":', ...document, "}"];
  if (op === "upsert") return ['{"doc":', ...document, ',"doc_as_upsert":true}'];
  return document;
}

function entryOf(pieces: readonly (Buffer | string)[]): BulkEntry {
  let byteLength = 0;
  for (const piece of pieces) byteLength += typeof piece === "string" ? Buffer.byteLength(piece) : piece.length;
  return { pieces, byteLength };
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
