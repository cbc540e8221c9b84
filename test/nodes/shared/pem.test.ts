import assert from "node:assert/strict";
import { pemOrPath } from "../../../nodes/shared/pem.js";

const PEM = "-----BEGIN CERTIFICATE-----\nMIIB\nAgMB\n-----END CERTIFICATE-----";

describe("PEM text from a dialog", () => {
  it("gets back the line ends that a field of one line, or a variable, has taken from it", () => {
    for (const typed of [
      PEM,
      PEM.replaceAll("\n", " "),
      PEM.replaceAll("\n", "\\n"),
      ` ${PEM.replaceAll("\n", "\r\n")}\n`,
    ])
      assert.equal(pemOrPath(typed), PEM);
  });

  it("keeps all certificates of a chain", () => {
    assert.equal(pemOrPath(`${PEM} ${PEM}`.replaceAll("\n", " ")), `${PEM} ${PEM}`);
  });

  it("leaves a path as it is, also one of Windows", () => {
    assert.equal(pemOrPath(" /etc/ssl/ca.pem "), "/etc/ssl/ca.pem");
    assert.equal(pemOrPath("C:\\new\\ca.pem"), "C:\\new\\ca.pem");
  });

  it("does not touch the headers of an old encrypted key", () => {
    const key = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIB\n-----END RSA PRIVATE KEY-----";
    assert.equal(pemOrPath(key), key);
  });
});
