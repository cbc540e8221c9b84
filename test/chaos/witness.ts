/**
 * Outlives the Node-RED under test: notes which records were accepted and when, told over a loopback socket by the flow.
 * What it has not heard of is not claimed; what it hears late is claimed late. So it never asks for too much.
 */
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createInterface } from "node:readline";

export interface Accepted {
  readonly n: number;
  /** By this process's monotonic clock. */
  readonly atMs: number;
}

export class Witness {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Accepted since the last `take`, in order of acceptance. */
  #heard: Accepted[] = [];

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
      socket.on("error", () => socket.destroy()); // its process was killed
      createInterface(socket).on("line", (line) => {
        const n = Number(line);
        // A number that was cut off by the kill has no line end, and is told as a line all the same.
        if (Number.isSafeInteger(n) && n > 1e12) this.#heard.push({ n, atMs: performance.now() });
      });
    });
  }

  static async listen(): Promise<Witness> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Witness(server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get count(): number {
    return this.#heard.length;
  }

  /** What was accepted in a life that is over; waits until its last word is read. */
  async take(): Promise<Accepted[]> {
    await Promise.all([...this.#sockets].map((socket) => once(socket, "close")));
    const heard = this.#heard;
    this.#heard = [];
    return heard;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
