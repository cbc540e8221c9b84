/**
 * The TLS part of a dialog: the certificates are in the flow, the key and its passphrase among the credentials.
 */
import { switchOf, textOf, valueOf } from "./config.js";
import { pemOrPath } from "./pem.js";

export interface TlsSettings {
  /** Only where the address does not say it. */
  readonly on: boolean;
  /** PEM text or the path of a PEM file, "" for none; `cert` and `key` likewise. */
  readonly ca: string;
  readonly fingerprint: string;
  readonly cert: string;
  readonly key: string;
  readonly passphrase: string;
  readonly verify: boolean;
}

export function tlsSettings(config: object, secrets: Readonly<Record<string, string>>): TlsSettings {
  const value = valueOf(config, "tls");
  const tls = typeof value === "object" && value !== null ? value : {};
  return {
    on: switchOf(tls, "on", false),
    ca: pemOrPath(textOf(tls, "ca")),
    fingerprint: textOf(tls, "fingerprint").trim(),
    cert: pemOrPath(textOf(tls, "cert")),
    key: pemOrPath(secrets["key"] ?? ""),
    passphrase: secrets["passphrase"] ?? "",
    verify: switchOf(tls, "verify", true),
  };
}
