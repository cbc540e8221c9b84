/** MongoDB as the target under chaos: its server (FerretDB, which is not mongod) is killed and started again. */
import { MongoClient } from "mongodb";
import { MongoServer } from "../servers/mongodb.js";
import { mongodbNode } from "../node-red/exporters.js";
import type { Subject } from "./subject.js";

export class MongodbSubject implements Subject {
  readonly name = "MongoDB";
  readonly inOrder = false;
  readonly #server: MongoServer;
  #isHeld = false;
  /** How often the server was killed. */
  holds = 0;

  static async start(): Promise<MongodbSubject> {
    const server = await MongoServer.make();
    await server.start();
    return new MongodbSubject(server);
  }

  private constructor(server: MongoServer) {
    this.#server = server;
  }

  get exporter(): Readonly<Record<string, unknown>> {
    return mongodbNode({ uri: this.#server.url, control: false });
  }

  async hold(): Promise<string> {
    await this.#server.kill();
    this.#isHeld = true;
    this.holds++;
    return "its server was killed";
  }

  async release(): Promise<void> {
    if (this.#isHeld) await this.#server.start();
    this.#isHeld = false;
  }

  async *arrived(): AsyncIterable<unknown> {
    const client = await MongoClient.connect(this.#server.url, { directConnection: true });
    try {
      yield* client
        .db("plant")
        .collection("readings")
        .find({}, { projection: { _id: 0 }, batchSize: 10_000 });
    } finally {
      await client.close();
    }
  }

  close(): Promise<void> {
    return this.#server.remove();
  }
}
