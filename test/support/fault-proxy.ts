/**
 * A TCP proxy that misbehaves on request, between a real client and a real server: refuses, resets, stalls, cuts after
 * so many bytes, loses the answer to one request, adds latency, limits bandwidth. It knows no protocol.
 */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** "up" is client to server, "down" is server to client. */
export type Direction = "up" | "down";

/** What is wrong with the link. All may be combined; none given is a perfect link. */
export interface Faults {
  /** New connections: "refuse" closes the port, "reset" accepts and resets, "mute" accepts, never reads, never answers. */
  readonly accept?: "refuse" | "reset" | "mute";
  /** Bytes in this direction wait until the fault is lifted; connections stay open. */
  readonly stall?: Direction | "both";
  /** Each connection is reset once this many more bytes have passed in this direction, counted from now or its start. */
  readonly cut?: { readonly direction: Direction; readonly afterBytes: number };
  /** Delay of every byte in each direction, ms. */
  readonly latencyMs?: number;
  /** Bytes per second and direction, of each connection. */
  readonly bytesPerSecond?: number;
}

interface LostAnswer {
  readonly pattern: Buffer;
  readonly happened: () => void;
}

const MAX_WAITING_BYTES = 256 * 1024;

/** One direction of one connection: chunks leave in order, when latency, bandwidth and stalls allow. */
class Lane {
  readonly #proxy: FaultProxy;
  readonly #direction: Direction;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #seen: (chunk: Buffer) => void;
  readonly #mayPass: () => boolean;
  #last: Promise<void> = Promise.resolve();
  #waitingBytes = 0;
  /** Bytes passed since the faults last changed. */
  passedBytes = 0;

  constructor(
    proxy: FaultProxy,
    direction: Direction,
    from: Socket,
    to: Socket,
    seen: (chunk: Buffer) => void,
    mayPass: () => boolean,
  ) {
    this.#proxy = proxy;
    this.#direction = direction;
    this.#from = from;
    this.#to = to;
    this.#seen = seen;
    this.#mayPass = mayPass;
    from.on("data", (chunk: Buffer) => this.#enqueue(chunk));
    from.on("end", () => {
      this.#last = this.#last.then(() => void to.end());
    });
  }

  #enqueue(chunk: Buffer): void {
    this.#waitingBytes += chunk.length;
    if (this.#waitingBytes > MAX_WAITING_BYTES) this.#from.pause();
    const dueAt = performance.now() + (this.#proxy.faults.latencyMs ?? 0);
    this.#last = this.#last.then(async () => {
      await this.#pass(chunk, dueAt);
      this.#waitingBytes -= chunk.length;
      if (this.#waitingBytes <= MAX_WAITING_BYTES) this.#from.resume();
    });
  }

  async #pass(chunk: Buffer, dueAt: number): Promise<void> {
    const early = dueAt - performance.now();
    if (early > 0) await pause(early);
    await this.#proxy.untilFlowing(this.#direction, this.#to);
    let rest = chunk;
    // What comes behind a cut is lost.
    while (rest.length > 0 && !this.#to.destroyed && !this.#to.writableEnded) {
      const { cut, bytesPerSecond } = this.#proxy.faults;
      let piece = bytesPerSecond === undefined ? rest : rest.subarray(0, Math.max(1, Math.ceil(bytesPerSecond / 20)));
      let isLast = false;
      if (cut !== undefined && cut.direction === this.#direction) {
        const left = Math.max(0, cut.afterBytes - this.passedBytes);
        isLast = left <= piece.length;
        piece = piece.subarray(0, left);
      }
      this.#seen(piece);
      if (!this.#mayPass()) return;
      this.passedBytes += piece.length;
      if (!this.#to.write(piece)) await drained(this.#to);
      if (isLast) {
        // The other side gets what came before the cut, even when its connection is still being made.
        this.#to.end(() => this.#from.resetAndDestroy());
        return;
      }
      rest = rest.subarray(piece.length);
      if (bytesPerSecond !== undefined) await pause((piece.length / bytesPerSecond) * 1_000);
    }
  }
}

/** Resolves when more may be written, or nothing more will be. */
async function drained(socket: Socket): Promise<void> {
  // An error ends the connection, and is heard where that was made.
  await Promise.race([once(socket, "drain"), once(socket, "close")]).catch(() => undefined);
}

export class FaultProxy {
  readonly #upstreamPort: number;
  readonly #upstreamHost: string;
  #server: Server;
  #port = 0;
  #faults: Faults = {};
  #changed: (() => void)[] = [];
  #lostAnswers: LostAnswer[] = [];
  readonly #sockets = new Set<Socket>();
  readonly #lanes = new Set<Lane>();
  /** Connections accepted so far. */
  connections = 0;

  private constructor(upstreamPort: number, upstreamHost: string) {
    this.#upstreamPort = upstreamPort;
    this.#upstreamHost = upstreamHost;
    this.#server = this.#makeServer();
  }

  /** Listens on a free port of 127.0.0.1 (or on `port`) and passes everything on to the server at `upstreamPort`. */
  static async listen(upstreamPort: number, upstreamHost = "127.0.0.1", port = 0): Promise<FaultProxy> {
    const proxy = new FaultProxy(upstreamPort, upstreamHost);
    proxy.#port = port;
    await proxy.#listen();
    return proxy;
  }

  get port(): number {
    return this.#port;
  }

  get faults(): Faults {
    return this.#faults;
  }

  /** Replaces the faults; `{}` heals the link. Open connections feel it too, except that "mute" ones stay mute. */
  async set(faults: Faults): Promise<void> {
    const wasClosed = this.#faults.accept === "refuse";
    this.#faults = faults;
    for (const lane of this.#lanes) lane.passedBytes = 0;
    for (const wake of this.#changed.splice(0)) wake();
    if (faults.accept === "refuse" && !wasClosed) await this.#closeServer();
    if (faults.accept !== "refuse" && wasClosed) {
      this.#server = this.#makeServer();
      await this.#listen();
    }
  }

  /** Resets every open connection, once. */
  resetAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /**
   * The next request that contains `pattern` reaches the server, but its answer is lost: the connection is reset at the
   * answer's first byte. Resolves when that has happened.
   */
  loseAnswerTo(pattern: string | Buffer): Promise<void> {
    return new Promise((resolve) => {
      this.#lostAnswers.push({ pattern: Buffer.from(pattern as string), happened: resolve });
    });
  }

  /** For the lanes: resolves when nothing stalls this direction, or the socket has gone. */
  async untilFlowing(direction: Direction, socket: Socket): Promise<void> {
    while (!socket.destroyed && (this.#faults.stall === direction || this.#faults.stall === "both")) {
      await Promise.race([new Promise<void>((resolve) => this.#changed.push(resolve)), once(socket, "close")]);
    }
  }

  async close(): Promise<void> {
    for (const wake of this.#changed.splice(0)) wake();
    for (const socket of this.#sockets) socket.destroy();
    if (this.#server.listening) await this.#closeServer();
  }

  #makeServer(): Server {
    return createServer({ allowHalfOpen: true }, (client) => this.#accept(client));
  }

  async #listen(): Promise<void> {
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async #closeServer(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.resetAll();
    await closed;
  }

  #accept(client: Socket): void {
    this.connections++;
    this.#track(client);
    if (this.#faults.accept === "reset") return void client.resetAndDestroy();
    if (this.#faults.accept === "mute") return void client.pause();

    const server = connect({ port: this.#upstreamPort, host: this.#upstreamHost, allowHalfOpen: true });
    this.#track(server);
    client.setNoDelay(true);
    server.setNoDelay(true);
    const abandon = (): void => {
      // The server's own death must look like one to the client: a reset, not a polite end.
      if (!client.destroyed) client.resetAndDestroy();
      if (!server.destroyed) server.destroy();
    };
    client.on("close", abandon);
    server.on("close", abandon);

    let losing: LostAnswer | undefined;
    let tail: Buffer = Buffer.alloc(0);
    const watchRequest = (chunk: Buffer): void => {
      if (this.#lostAnswers.length === 0) return;
      // A pattern may lie across two chunks.
      const text = Buffer.concat([tail, chunk]);
      const index = this.#lostAnswers.findIndex((lost) => text.includes(lost.pattern));
      if (index >= 0) [losing] = this.#lostAnswers.splice(index, 1);
      tail = text.subarray(-128);
    };
    const mayAnswer = (): boolean => {
      if (losing === undefined) return true;
      losing.happened();
      losing = undefined;
      abandon();
      return false;
    };
    const lanes = [
      new Lane(this, "up", client, server, watchRequest, () => true),
      new Lane(this, "down", server, client, () => {}, mayAnswer),
    ];
    for (const lane of lanes) this.#lanes.add(lane);
    client.on("close", () => {
      for (const lane of lanes) this.#lanes.delete(lane);
    });
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {
      // Broken links are this proxy's business; "close" follows and does the rest.
    });
  }
}

/** Never less than `ms`: a timer of Node may fire up to a millisecond early. */
async function pause(ms: number): Promise<void> {
  const untilMs = performance.now() + ms;
  for (let left = ms; left > 0; left = untilMs - performance.now()) {
    await new Promise((resolve) => setTimeout(resolve, Math.ceil(left)));
  }
}
