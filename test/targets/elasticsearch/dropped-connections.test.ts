/**
 * Connections that are dropped in the middle of a request, in the delivery: because of one record, or because the
 * server really is away.
 */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { systemClock } from "../../../src/clock.js";
import type { DeliveryEvent } from "../../../src/delivery/events.js";
import { Delivery } from "../../../src/delivery/loop.js";
import type { LogRecord } from "../../../src/record.js";
import type { Rejection } from "../../../src/targets/target.js";
import { MemorySource } from "../../support/memory-source.js";
import { records } from "./records.js";
import { actionsOf, bulkReply, ScriptedPeer, type SeenRequest } from "./scripted-peer.js";
import { CLIENTS, closeTargets, makeTarget } from "./targets.js";

const reset = (response: ServerResponse): void => void response.socket?.resetAndDestroy();
const close = (response: ServerResponse): void => void response.socket?.destroy();
const closeInAnswer = (response: ServerResponse): void => {
  const headers = { "content-type": "application/json", "x-elastic-product": "Elasticsearch", "content-length": 1_000 };
  response.writeHead(200, headers).write('{"errors":', () => response.destroy());
};

for (const client of CLIENTS) {
  describe(`Elasticsearch whose connections are dropped (${client.name})`, () => {
    let peer: ScriptedPeer;
    let delivery: Delivery | undefined;
    let source: MemorySource;
    let dead: { readonly record: LogRecord; readonly rejection: Rejection }[];
    /** Ids of the documents that the server has taken, once for each time. */
    let stored: string[];
    const listeners = new Set<(event: DeliveryEvent) => void>();

    before(async () => {
      await client.load();
    });
    beforeEach(async () => {
      peer = await ScriptedPeer.listen();
      source = new MemorySource();
      dead = [];
      stored = [];
    });
    afterEach(async () => {
      listeners.clear();
      await delivery?.close();
      delivery = undefined;
      await closeTargets();
      await peer.close();
    });

    /** Takes each document once, and answers with a conflict when it comes again. */
    function take(request: SeenRequest): ReturnType<typeof bulkReply> {
      const ids = actionsOf(request).map(({ _id }) => _id!);
      return bulkReply(request, (place) => {
        if (stored.includes(ids[place]!)) return { status: 409, type: "version_conflict_engine_exception" };
        stored.push(ids[place]!);
        return { status: 201 };
      });
    }

    function start(waiting: readonly LogRecord[], connection: object = {}): void {
      delivery = new Delivery({
        source,
        target: makeTarget({ connection: { nodes: peer.url, ...connection } }, { loadDriver: client.load }),
        clock: systemClock,
        deadLetters: {
          async setAside(record, rejection) {
            dead.push({ record, rejection });
          },
        },
        settings: { batchWaitMs: 5, backoffMinMs: 10, backoffMaxMs: 20 },
        onEvent: (event) => setImmediate(() => listeners.forEach((listener) => listener(event))),
      });
      source.append(...waiting);
    }

    const until = (isSo: () => boolean): Promise<void> =>
      new Promise((resolve) => {
        const look = (): void => {
          if (isSo()) resolve();
        };
        listeners.add(look);
        look();
      });

    for (const [what, drop] of [
      ["resets the connection", reset],
      ["closes the connection", close],
      ["cuts the answer short", closeInAnswer],
    ] as const) {
      it(`sets aside the one record for which a firewall ${what}, and delivers the others once`, async () => {
        peer.onBulk = (request) => (request.body.includes("poison") ? drop : take(request));
        const waiting = records(32, (i) => ({ text: i === 5 ? "poison" : "good" }));

        start(waiting);
        await until(() => source.confirmed.length === 32);

        assert.equal(new Set(stored).size, 31);
        assert.equal(stored.length, 31);
        assert.deepEqual(
          dead.map(({ record }) => record),
          [waiting[5]],
        );
        assert.match(dead[0]!.rejection.message, /dropped each time this was sent, although the server answers/u);
        assert.equal(dead[0]!.rejection.code, "connection-dropped");
      });
    }

    it("sets aside the one record that is too large for what breaks off in the middle of a request", async () => {
      peer.dropsAboveBytes = 200_000;
      peer.onBulk = take;
      const waiting = records(32, (i) => ({ text: "x".repeat(i === 0 ? 2_000_000 : 20_000) }));

      start(waiting, { compression: "off" });
      await until(() => source.confirmed.length === 32);

      assert.equal(stored.length, 31);
      assert.deepEqual(
        dead.map(({ record }) => record),
        [waiting[0]],
      );
    });

    it("recognises what got through although each answer was lost, once one comes through", async () => {
      let losses = 4;
      peer.onBulk = (request) => {
        const answer = take(request);
        return losses-- > 0 ? reset : answer;
      };

      start(records(8, (i) => ({ i })));
      await until(() => source.confirmed.length === 8);

      assert.equal(stored.length, 8);
      assert.deepEqual(dead, []);
    });

    it("sets nothing aside while the server is away: whatever is asked, the connection is dropped", async () => {
      start(records(1, () => ({})));
      await until(() => source.confirmed.length === 1);
      const { onOther } = peer;
      peer.onBulk = () => reset;
      let asked = 0;
      const askedOften = new Promise<void>((resolve) => {
        peer.onOther = () => {
          if (++asked > 15) resolve();
          return reset;
        };
      });
      source.append(...records(1, () => ({})));
      await askedOften;

      assert.equal(source.confirmed.length, 1);

      peer.onOther = onOther;
      peer.onBulk = take;
      await until(() => source.confirmed.length === 2);
      assert.deepEqual(dead, []);
    });

    it("sets nothing aside while the server comes and goes, and is never there after a drop", async () => {
      let isDropped = false;
      let drops = 0;
      peer.onBulk = () => {
        isDropped = true;
        drops++;
        return reset;
      };
      const { onOther } = peer;
      peer.onOther = (request) => {
        if (!isDropped) return onOther(request);
        isDropped = false;
        return reset;
      };

      start(records(1, () => ({})));
      await until(() => drops > 12);
      peer.onBulk = take;
      await until(() => source.confirmed.length === 1);

      assert.equal(stored.length, 1);
      assert.deepEqual(dead, []);
    });
  });
}
