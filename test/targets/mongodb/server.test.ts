/**
 * Against a server: FerretDB, which speaks MongoDB's protocol but is not mongod, or whatever `MONGODB_URL` names.
 */
import { randomBytes } from "node:crypto";
import { MongoClient } from "mongodb";
import { splitUri } from "../../../src/targets/mongodb/options.js";
import { MongoServer, needMongoServer } from "../../servers/mongodb.js";
import { FaultProxy } from "../../support/fault-proxy.js";
import { describeTarget, type TargetBench } from "../../support/target-suite.js";
import { makeTarget, QUICK } from "./rig.js";

const givenUrl = process.env["MONGODB_URL"];
const DEADLINE_MS = 1_500;
const SETTINGS = { ...QUICK, selectTimeoutMs: 1_000, connectTimeoutMs: 1_000, requestTimeoutMs: DEADLINE_MS };

describe("MongoDB target", () => {
  before(async function () {
    if (givenUrl === undefined) await needMongoServer(this);
  });

  describeTarget("MongoDB", {
    oncePer: "id",
    can: { stop: givenUrl === undefined, mute: false, poison: true },
    deadlineMs: DEADLINE_MS,
    async make({ isStarted }) {
      if (givenUrl !== undefined) return benchFor(givenUrl, givenUrl);
      const server = await MongoServer.make();
      if (isStarted) await server.start();
      return {
        ...benchFor(server.url, server.url),
        stop: () => server.kill(),
        start: () => server.start(),
        dispose: () => server.remove(),
      };
    },
  });

  describeTarget("MongoDB behind a bad link", {
    oncePer: "id",
    can: { stop: true, mute: true, poison: true },
    deadlineMs: DEADLINE_MS * 2 + SETTINGS.selectTimeoutMs,
    async make({ isStarted }) {
      const server = givenUrl === undefined ? await MongoServer.make() : undefined;
      await server?.start();
      const url = givenUrl ?? server!.url;
      const { host, port } = addressOf(url);
      const proxy = await FaultProxy.listen(port, host);
      if (!isStarted) await proxy.set({ accept: "refuse" });
      return {
        ...benchFor(url.replace(/(\/\/(?:[^@/]*@)?)[^/?]+/, `$1127.0.0.1:${proxy.port}`), url),
        stop: () => proxy.set({ accept: "refuse" }),
        start: () => proxy.set({}),
        mute: () => proxy.set({ stall: "down" }),
        unmute: () => proxy.set({}),
        async dispose() {
          await proxy.close();
          await server?.remove();
        },
      };
    },
  });
});

/** A target through `url`, and a look at what has arrived, past any proxy, through `directUrl`. */
function benchFor(url: string, directUrl: string): TargetBench {
  const database = `resilient_${randomBytes(4).toString("hex")}`;
  const make = () => makeTarget(url, { database }, { ...SETTINGS, direct: true });
  return {
    target: make(),
    another: make,
    // An array is no _id, for every server.
    poison: (n) => ({ payload: { _id: [n] } }),
    async readBack() {
      const client = await MongoClient.connect(directUrl, { directConnection: true });
      try {
        const found = await client.db(database).collection("readings").find().toArray();
        return found.map((document) => document["n"] as number);
      } finally {
        await client.close();
      }
    },
    async dispose() {
      const client = await MongoClient.connect(directUrl, { directConnection: true });
      await client.db(database).dropDatabase();
      await client.close();
    },
  };
}

function addressOf(url: string): { host: string; port: number } {
  const [host = "127.0.0.1", port = "27017"] = splitUri(url)
    .uri.replace(/^mongodb:\/\//, "")
    .split(/[,/?]/)[0]!
    .split(":");
  return { host, port: Number(port) };
}
