/** A peer in a process of its own, asked over IPC: { open: ... } first, then { insert: count } as often as wanted. */
import { type ChildProcess, fork } from "node:child_process";

export class PeerProcess {
  readonly #name: string;
  readonly #child: ChildProcess;

  /** @param script a JavaScript file; @param execPath the Node.js that runs it, by default this one */
  constructor(
    name: string,
    script: string,
    options: { readonly execPath?: string; readonly execArgv?: string[] } = {},
  ) {
    this.#name = name;
    this.#child = fork(script, [], { execArgv: [], ...options });
  }

  /** @throws what it answers as its error */
  async open(what: object): Promise<void> {
    await this.#ask({ open: what });
  }

  /** Inserts so many records one by one, and resolves to records per second. */
  async insert(count: number): Promise<number> {
    return (await this.#ask({ insert: count })).rate!;
  }

  #ask(message: object): Promise<{ readonly rate?: number; readonly error?: string }> {
    return new Promise((resolve, reject) => {
      const onEnd = (): void => reject(new Error(`${this.#name} ended`));
      this.#child.once("exit", onEnd);
      this.#child.once("message", (answer: { rate?: number; error?: string }) => {
        this.#child.off("exit", onEnd);
        if (answer.error === undefined) resolve(answer);
        else reject(new Error(answer.error));
      });
      this.#child.send(message);
    });
  }

  close(): void {
    if (this.#child.connected) this.#child.disconnect();
  }
}
