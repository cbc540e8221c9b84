/**
 * A double that speaks MongoDB's wire protocol (OP_MSG) to the real driver and answers as a script tells it: for what
 * no server at hand can be made to say. It stores inserts by `_id`, so that repeats are refused as mongod refuses them.
 * It is not MongoDB; the shapes of its replies are those of the server's documentation.
 * @see https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
 */
import { deserialize, type Document, Long, serialize } from "bson";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";

const OP_REPLY = 1;
const OP_MSG = 2013;
const OP_QUERY = 2004;
const HEADER_BYTES = 16;

export interface Command {
  /** "insert", "ping", ... */
  readonly name: string;
  readonly database: string;
  readonly body: Document;
}

/** What a script gives for one command: a reply; "drop" resets the connection; "mute" never answers; undefined: as usual. */
export type Reply = Record<string, unknown> | "drop" | "mute" | undefined;

export class WireDouble {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #scripts: { readonly name: string; readonly reply: (command: Command) => Reply }[] = [];
  /** What each connection is told about the server; extended by tests. */
  hello: Document = {
    isWritablePrimary: true,
    maxBsonObjectSize: 16_777_216,
    maxMessageSizeBytes: 48_000_000,
    maxWriteBatchSize: 100_000,
    minWireVersion: 0,
    maxWireVersion: 25,
    logicalSessionTimeoutMinutes: 30,
    readOnly: false,
    localTime: new Date(0),
  };
  /** Every command but hello, in order of arrival. */
  readonly commands: Command[] = [];
  /** Documents by "database.collection", then by the bytes of their `_id`. */
  readonly stored = new Map<string, Map<string, Document>>();
  /** Whether duplicate-key errors say which index: mongod does since 4.4, look-alikes do not. */
  tellsKeyPattern = true;

  private constructor() {
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** On a free port, or on `port`. */
  static async listen(port = 0): Promise<WireDouble> {
    const double = new WireDouble();
    double.#server.listen(port, "127.0.0.1");
    await once(double.#server, "listening");
    return double;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `mongodb://127.0.0.1:${this.port}`;
  }

  /** Answers the next command of this name with `reply`, once. Several wait in line. */
  next(name: string, reply: Reply | ((command: Command) => Reply)): void {
    this.#scripts.push({ name, reply: typeof reply === "function" ? reply : () => reply });
  }

  /** The documents stored in a collection. */
  documents(namespace: string): Document[] {
    return [...(this.stored.get(namespace)?.values() ?? [])];
  }

  count(name: string): number {
    return this.commands.filter((command) => command.name === name).length;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {
      // The driver resets connections when a deadline passes: expected here.
    });
    let waiting: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      waiting = Buffer.concat([waiting, chunk]);
      while (waiting.length >= 4 && waiting.length >= waiting.readInt32LE(0)) {
        const length = waiting.readInt32LE(0);
        this.#answer(socket, waiting.subarray(0, length));
        waiting = waiting.subarray(length);
      }
    });
  }

  #answer(socket: Socket, message: Buffer): void {
    const requestId = message.readInt32LE(4);
    const opCode = message.readInt32LE(12);
    if (opCode === OP_QUERY) return void socket.write(legacyReply(requestId, { ok: 1, helloOk: true, ...this.hello }));
    const body = readMessage(message);
    const name = Object.keys(body)[0] ?? "";
    const reply = this.#replyTo({ name, database: String(body["$db"]), body });
    if (reply === "drop") return void socket.resetAndDestroy();
    if (reply !== "mute") socket.write(writeMessage(requestId, reply));
  }

  #replyTo(command: Command): Document | "drop" | "mute" {
    const { name } = command;
    const isHello = name === "hello" || name === "isMaster" || name === "ismaster";
    if (!isHello) this.commands.push(command);
    const index = this.#scripts.findIndex((script) => script.name === name);
    const scripted = index < 0 ? undefined : this.#scripts.splice(index, 1)[0]?.reply(command);
    if (scripted !== undefined) return typeof scripted === "string" ? scripted : { ok: 1, ...scripted };
    if (isHello) return { ok: 1, ...this.hello };
    if (name === "insert") return this.#insert(command);
    if (name === "update") return { ok: 1, n: (command.body["updates"] as unknown[]).length, nModified: 0 };
    if (name === "find") return this.#find(command);
    if (name === "listCollections")
      return { ok: 1, cursor: { id: Long.ZERO, ns: `${command.database}.$cmd`, firstBatch: [] } };
    return { ok: 1 };
  }

  #insert({ database, body }: Command): Document {
    const namespace = `${database}.${String(body["insert"])}`;
    const collection = this.stored.get(namespace) ?? new Map<string, Document>();
    this.stored.set(namespace, collection);
    const writeErrors: Document[] = [];
    let n = 0;
    for (const [index, document] of (body["documents"] as Document[]).entries()) {
      const id = idKey(document);
      if (collection.has(id)) writeErrors.push({ index, ...duplicateKey(namespace, "_id", this.tellsKeyPattern) });
      else {
        collection.set(id, document);
        n++;
      }
      // As mongod: an ordered insert ends at its first error.
      if (writeErrors.length > 0 && body["ordered"] !== false) break;
    }
    return { ok: 1, n, ...(writeErrors.length > 0 && { writeErrors }) };
  }

  #find({ database, body }: Command): Document {
    const namespace = `${database}.${String(body["find"])}`;
    const wanted = new Set((body["filter"]._id.$in as unknown[]).map((_id) => idKey({ _id })));
    const firstBatch = this.documents(namespace).filter((document) => wanted.has(idKey(document)));
    return { ok: 1, cursor: { id: Long.ZERO, ns: namespace, firstBatch } };
  }
}

/** A duplicate-key error as mongod words it; without `keyPattern`, and the index's name, as look-alikes do. */
export function duplicateKey(namespace: string, field: string, tellsKeyPattern = true): Document {
  const errmsg = `E11000 duplicate key error collection: ${namespace}`;
  if (!tellsKeyPattern) return { code: 11000, errmsg };
  const index = field === "_id" ? "_id_" : `${field}_1`;
  return { code: 11000, errmsg: `${errmsg} index: ${index} dup key: { ${field}: 1 }`, keyPattern: { [field]: 1 } };
}

function idKey(document: Document): string {
  return Buffer.from(serialize({ _id: document["_id"] as unknown })).toString("latin1");
}

/** The body and the document sequences of an OP_MSG, as one command. */
function readMessage(message: Buffer): Document {
  const body: Document = {};
  let at = HEADER_BYTES + 4;
  while (at < message.length) {
    const kind = message[at++];
    const size = message.readInt32LE(at);
    if (kind === 0) Object.assign(body, read(message.subarray(at, at + size)));
    else {
      const end = at + size;
      const nameEnd = message.indexOf(0, at + 4);
      const documents: Document[] = [];
      for (let next = nameEnd + 1; next < end; next += message.readInt32LE(next)) {
        documents.push(read(message.subarray(next, next + message.readInt32LE(next))));
      }
      body[message.toString("utf8", at + 4, nameEnd)] = documents;
    }
    at += size;
  }
  return body;
}

/** Types as they were sent, so that what comes back is byte for byte what was stored. */
function read(bytes: Buffer): Document {
  return deserialize(bytes, { promoteLongs: false, promoteBuffers: false, bsonRegExp: true });
}

function writeMessage(responseTo: number, reply: Document): Buffer {
  const body = serialize(reply);
  const header = Buffer.alloc(HEADER_BYTES + 5);
  header.writeInt32LE(header.length + body.length, 0);
  header.writeInt32LE(responseTo, 8);
  header.writeInt32LE(OP_MSG, 12);
  return Buffer.concat([header, body]);
}

/** The first hello of a connection is asked, and answered, in the old format. */
function legacyReply(responseTo: number, reply: Document): Buffer {
  const body = serialize(reply);
  const header = Buffer.alloc(HEADER_BYTES + 20);
  header.writeInt32LE(header.length + body.length, 0);
  header.writeInt32LE(responseTo, 8);
  header.writeInt32LE(OP_REPLY, 12);
  header.writeInt32LE(1, HEADER_BYTES + 16);
  return Buffer.concat([header, body]);
}
