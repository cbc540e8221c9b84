/**
 * PEM text as people paste it: through a field of one line, or an environment variable, line ends become spaces or "\n".
 */

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----([\s\S]*?)-----END \1-----/g;

/** PEM text with its line ends again; anything else, a path for example, as it is, trimmed. */
export function pemOrPath(text: string): string {
  const unescaped = text.includes("-----BEGIN") ? text.replaceAll(/\\r?\\n|\\n/g, "\n") : text;
  return unescaped.trim().replaceAll(BLOCK, (_whole, label: string, body: string) => {
    // Old encrypted keys carry headers, which end in an empty line: they cannot be told from the key once it is lost.
    if (body.includes(":")) return `-----BEGIN ${label}-----${body}-----END ${label}-----`;
    return `-----BEGIN ${label}-----\n${body.trim().replaceAll(/\s+/g, "\n")}\n-----END ${label}-----`;
  });
}
