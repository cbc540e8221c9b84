/** Elasticsearch as the target under chaos: its server is killed and started again. */
import { type ElasticsearchServer, startElasticsearch, VERSIONS } from "../servers/elasticsearch.js";
import { elasticsearchNode } from "../node-red/exporters.js";
import type { Subject } from "./subject.js";

const PAGE = 10_000;

interface Hit {
  readonly _source: unknown;
  readonly sort: readonly unknown[];
}

export class ElasticsearchSubject implements Subject {
  readonly name = "Elasticsearch";
  readonly inOrder = false;
  readonly #server: ElasticsearchServer;
  #isHeld = false;
  /** How often the server was killed. */
  holds = 0;

  /** Of our own, since it is killed. */
  static async start(): Promise<ElasticsearchSubject> {
    return new ElasticsearchSubject(await startElasticsearch(VERSIONS[0] as string, { security: false }));
  }

  private constructor(server: ElasticsearchServer) {
    this.#server = server;
  }

  get exporter(): Readonly<Record<string, unknown>> {
    return elasticsearchNode({ nodes: this.#server.url.href, control: false, options: { timestamp: false } });
  }

  async hold(): Promise<string> {
    await this.#server.kill();
    this.#isHeld = true;
    this.holds++;
    return "its server was killed";
  }

  async release(): Promise<void> {
    if (this.#isHeld) await this.#server.restart();
    this.#isHeld = false;
  }

  async *arrived(): AsyncIterable<unknown> {
    const { status } = await this.#server.request("HEAD", "/readings");
    if (status === 404) return;
    // A server that was started just now answers before it has its shards.
    await this.#server.request("GET", "/_cluster/health/readings?wait_for_status=yellow&timeout=60s");
    await this.#server.request("POST", "/readings/_refresh");
    for (let after: readonly unknown[] | undefined; ;) {
      const search = { size: PAGE, sort: [{ n: "asc" }, "_doc"], ...(after && { search_after: after }) };
      const { status: found, body } = await this.#server.request("POST", "/readings/_search", search);
      if (found !== 200) throw new Error(`${found} ${JSON.stringify(body)}`);
      const { hits } = (body as { hits: { hits: readonly Hit[] } }).hits;
      for (const { _source } of hits) yield _source;
      if (hits.length < PAGE) return;
      after = hits.at(-1)!.sort;
    }
  }

  /** The server ends with the run. */
  async close(): Promise<void> {
    if (!this.#isHeld) await this.#server.kill();
  }
}
