/**
 * The naming rules for places that records are sent to. Names can come from messages, so each is checked at
 * acceptance, by the rules of the servers and some of our own against reaching what is not meant for data.
 * Each check returns undefined when the name may be used, or the reason in words that follow the name
 * ("is longer than 63 bytes").
 */
export type Problem = string | undefined;

const INTERNAL_DATABASES: ReadonlySet<string> = new Set(["admin", "local", "config"]);

/**
 * A MongoDB database: 1 to 63 bytes, the stricter rules of Windows everywhere.
 * @see https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions
 */
export function databaseProblem(name: string): Problem {
  return (
    lengthProblem(name, 63) ??
    characterProblem(name, /[/\\. "$*<>:|?\0]/u) ??
    // The server compares without case, too.
    (INTERNAL_DATABASES.has(name.toLowerCase()) ? "belongs to the server itself" : undefined)
  );
}

/**
 * A MongoDB collection: with its database and the dot between them at most 255 bytes, 235 when it is sharded.
 * @param database a name that `databaseProblem` has found good
 */
export function collectionProblem(database: string, name: string, isSharded = false): Problem {
  const limit = isSharded ? 235 : 255;
  if (name === "") return "is empty";
  if (Buffer.byteLength(database) + 1 + Buffer.byteLength(name) > limit) {
    return `is longer than ${limit} bytes together with its database`;
  }
  if (/^system\.|\.system\./u.test(name)) return "is kept for the server itself (system.)";
  if (/^\.|\.$|\.\./u.test(name)) return "has an empty part before, after or between dots";
  return characterProblem(name, /[$\0]/u);
}

/**
 * An Elasticsearch index, data stream or alias. Stricter than the server in two points: no names that start with "."
 * (the server's own), none that start with "<" (date math, evaluated by the server at the time of sending).
 * @see https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create
 */
export function indexProblem(name: string): Problem {
  const length = lengthProblem(name, 255);
  if (length !== undefined) return length;
  if (name.startsWith(".")) return 'starts with ".", as the server\'s own indices do';
  if (name.startsWith("<")) return 'starts with "<", which the server would read as date math';
  if (/^[_+-]/u.test(name)) return `starts with "${name[0]}"`;
  if (name !== name.toLowerCase()) return "has capital letters";
  return characterProblem(name, /[ "*,/<>?\\|#:]/u) ?? controlProblem(name);
}

/** An Elasticsearch document id: 1 to 512 bytes. A longer one fails every record of its request. */
export function idProblem(id: string): Problem {
  return lengthProblem(id, 512);
}

/** An Elasticsearch routing value. */
export function routingProblem(routing: string): Problem {
  return lengthProblem(routing, 512) ?? controlProblem(routing);
}

/** An Elasticsearch ingest pipeline. "_none" would bypass the pipeline that the index asks for. */
export function pipelineProblem(pipeline: string): Problem {
  return (
    routingProblem(pipeline) ?? (pipeline === "_none" ? "would bypass the pipeline that the index asks for" : undefined)
  );
}

/**
 * Confinement: a name that comes from messages must start with a text that only the flow decides, and have something
 * of its own behind it, or whoever sends the messages chooses among everything on the server.
 * @param prefix the fixed part; "" confines nothing, so it is refused
 * @param isAnyAllowed the user's word that any destination is meant
 */
export function confinementProblem(name: string, prefix: string, isAnyAllowed = false): Problem {
  if (isAnyAllowed) return undefined;
  if (prefix === "") return "comes from the message and has no fixed prefix";
  if (!name.startsWith(prefix)) return `does not start with the fixed prefix "${prefix}"`;
  return name.length === prefix.length ? `has nothing behind the fixed prefix "${prefix}"` : undefined;
}

/** Text and numbers can name something; nothing else is a name. A number must be one that text gives back. */
export function nameText(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (typeof value === "number" && Number.isFinite(value)) return String(value);
  return typeof value === "bigint" ? value.toString() : undefined;
}

function lengthProblem(name: string, maxBytes: number): Problem {
  if (name === "") return "is empty";
  return Buffer.byteLength(name) > maxBytes ? `is longer than ${maxBytes} bytes` : loneSurrogateProblem(name);
}

/** Two names that differ in half characters only would be one name on the server. */
function loneSurrogateProblem(name: string): Problem {
  return /\p{Surrogate}/u.test(name) ? "contains half a character (a lone surrogate)" : undefined;
}

function characterProblem(name: string, forbidden: RegExp): Problem {
  const found = forbidden.exec(name)?.[0];
  if (found === undefined) return loneSurrogateProblem(name);
  if (found === "\0") return "contains a NUL character";
  return `contains ${found === " " ? "a space" : JSON.stringify(found)}`;
}

function controlProblem(name: string): Problem {
  return /\p{Cc}/u.test(name) ? "contains a control character" : undefined;
}
