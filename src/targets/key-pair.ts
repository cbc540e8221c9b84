/**
 * Whether a client certificate and its key can be used at all. Known before anything is sent: on the way the drivers
 * report it like a server that cannot be reached, in OpenSSL's words, and it would be waited for.
 */
import { createSecureContext } from "node:tls";
import { TargetConfigError } from "./target.js";

/** PEM texts. */
export interface KeyPair {
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly passphrase?: string | undefined;
}

/** By Node.js' codes for errors of OpenSSL. */
const FAULTS: ReadonlyMap<string, string> = new Map([
  ["ERR_OSSL_BAD_DECRYPT", "the passphrase of the key is wrong or missing"],
  ["ERR_OSSL_X509_KEY_VALUES_MISMATCH", "the key belongs to another certificate"],
]);

/** @throws {TargetConfigError} in words, without the passphrase */
export function checkKeyPair({ cert, key, passphrase }: KeyPair): void {
  if (cert === undefined && key === undefined) return;
  try {
    createSecureContext({ cert, key, passphrase });
  } catch (error) {
    const { code = "unreadable", message } = error as NodeJS.ErrnoException;
    throw new TargetConfigError(
      `The client certificate cannot be used: ${FAULTS.get(code) ?? `it or its key is no PEM that can be read (${message})`}`,
      { code },
    );
  }
}
