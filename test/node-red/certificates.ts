/** Certificates of an authority of the tests' own, made with openssl. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Certificates {
  /** Path of the authority's certificate; of the others, `server.crt`, `server.key` and so on in the same folder. */
  readonly ca: string;
  text(name: string): string;
}

/** An authority, and by it a certificate for localhost and 127.0.0.1 for each name. */
export function makeCertificates(folder: string, names: readonly string[]): Certificates {
  const openssl = (...args: string[]): void => {
    execFileSync("openssl", args, { cwd: folder, stdio: "ignore" });
  };
  writeFileSync(join(folder, "san"), "subjectAltName=DNS:localhost,IP:127.0.0.1");
  const request = ["req", "-newkey", "rsa:2048", "-nodes"];
  openssl(...request, "-x509", "-days", "30", "-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.crt");
  for (const name of names) {
    openssl(...request, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.csr`);
    const byCa = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", "san"];
    openssl("x509", "-req", "-in", `${name}.csr`, "-out", `${name}.crt`, ...byCa);
  }
  return { ca: join(folder, "ca.crt"), text: (name) => readFileSync(join(folder, name), "utf8") };
}
