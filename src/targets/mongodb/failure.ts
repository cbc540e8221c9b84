/**
 * From what the driver has thrown to an error that may be shown: in words for the user, with a code, without secrets.
 * What it means is decided in `judge.ts`.
 */
import { TargetConfigError, TargetUnavailableError } from "../target.js";
import { chainOf, type Judgement, judgeThrown } from "./judge.js";

/** What must never be shown. Texts shorter than this hide nothing and would blot out half of every message. */
const MIN_SECRET_LENGTH = 3;
/** Messages of the driver may hold a whole document. */
const MAX_MESSAGE_LENGTH = 500;

/** Takes secrets, and the user part of any URI, out of a text. */
export function redact(text: string, secrets: readonly string[]): string {
  let clean = text;
  const forms = secrets.flatMap((secret) => [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]);
  for (const form of forms.sort((a, b) => b.length - a.length)) {
    if (form.length >= MIN_SECRET_LENGTH) clean = clean.replaceAll(form, "***");
  }
  return clean
    .replace(/\b([a-z][a-z+]*:\/\/)[^\s/]*@/gi, "$1***@")
    .replace(/([?&]\w*(?:password|passphrase|token|secret)\w*=)[^&\s]*/gi, "$1***");
}

/**
 * A copy of an error and its causes that holds text only: the driver's own hangs on to sockets, topologies and
 * documents, and whoever inspects it would see them.
 */
export function shownCause(error: unknown, secrets: readonly string[]): Error | undefined {
  let copy: Error | undefined;
  for (const link of chainOf(error).reverse() as Error[]) {
    const shown = new Error(shorten(redact(link.message, secrets)), copy && { cause: copy });
    shown.name = link.name;
    shown.stack = redact(`${link.name}: ${shown.message}\n${framesOf(link)}`, secrets);
    const { code } = link as { code?: unknown };
    if (typeof code === "string" || typeof code === "number") Object.assign(shown, { code });
    copy = shown;
  }
  return copy;
}

/** One sentence for the user: what it means, then what the driver says. */
export function describe(error: unknown, judgement: Judgement, secrets: readonly string[]): string {
  // A sentence within a sentence has no full stop of its own, and OpenSSL's end in a line end.
  const detail = error instanceof Error ? shorten(redact(error.message, secrets)).trim().replace(/\.$/, "") : "";
  return `MongoDB: ${judgement.what}${detail === "" ? "" : ` (${detail})`}`;
}

/** For what makes the target unusable. */
export function failureOf(
  error: unknown,
  secrets: readonly string[],
  judgement: Judgement = judgeThrown(error),
): TargetUnavailableError | TargetConfigError {
  if (error instanceof TargetUnavailableError || error instanceof TargetConfigError) return error;
  const message = describe(error, judgement, secrets);
  const cause = shownCause(error, secrets);
  const { code, verdict, retryAfterMs } = judgement;
  return verdict === "config"
    ? new TargetConfigError(message, { code, cause })
    : new TargetUnavailableError(message, { code, cause, ...(retryAfterMs !== undefined && { retryAfterMs }) });
}

function shorten(text: string): string {
  return text.length <= MAX_MESSAGE_LENGTH ? text : `${text.slice(0, MAX_MESSAGE_LENGTH)}…`;
}

function framesOf(error: Error): string {
  return (error.stack ?? "")
    .split("\n")
    .filter((line) => /^\s+at /.test(line))
    .join("\n");
}
