/**
 * `resilient-elasticsearch`: each record becomes a document. How it gets there once is the engine's Elasticsearch target.
 */
import type { Node, NodeAPI, NodeDef, NodeMessage } from "node-red";
import { type Problem, idProblem, indexProblem, nameText, pipelineProblem, routingProblem } from "../../src/names.js";
import { resolveIndexName } from "../../src/targets/elasticsearch/index-name.js";
import { type ElasticsearchSettings, checkElasticsearchOptions } from "../../src/targets/elasticsearch/options.js";
import { ElasticsearchTarget } from "../../src/targets/elasticsearch/target.js";
import { testConnection } from "../../src/targets/elasticsearch/test-connection.js";
import { asInFlow } from "../shared/as-in-flow.js";
import { becomeExporter } from "../shared/become-exporter.js";
import { type RawConfig, switchOf, textOf } from "../shared/config.js";
import { credentialsOf, rememberDeployed, serveConnectionTest } from "../shared/connection-test.js";
import { destinationName, evaluateAll, nameFrom, standingName } from "../shared/destination-name.js";
import { type Resolve, environmentOf } from "../shared/environment.js";
import { NodeError } from "../shared/errors.js";
import type { ExporterKind } from "../shared/exporter-node.js";
import { RoutingCache } from "../shared/routing-cache.js";
import { tellProblems } from "../shared/setup.js";
import { type TypedValue, typedValue } from "../shared/typed-value.js";
import {
  ELASTICSEARCH_SECRETS,
  checkElasticsearchSettings,
  elasticsearchConnection,
  elasticsearchDocuments,
  elasticsearchPlace,
  hasLoginInAddress,
} from "./elasticsearch-settings.js";

const TYPE = "resilient-elasticsearch";

/** Any time does: the codes of a date suffix are as long at all times. */
const ANY_TIME_MS = 0;

export default function register(RED: NodeAPI): void {
  function ResilientElasticsearch(this: Node, config: NodeDef): void {
    RED.nodes.createNode(this, config);
    becomeExporter(RED, this, config, () => elasticsearchExporter(RED, this, config as unknown as RawConfig));
  }

  RED.nodes.registerType(TYPE, ResilientElasticsearch, {
    credentials: {
      username: { type: "text" },
      password: { type: "password" },
      apiKey: { type: "password" },
      token: { type: "password" },
      key: { type: "password" },
      passphrase: { type: "password" },
      proxyUser: { type: "text" },
      proxyPassword: { type: "password" },
    },
  });

  serveConnectionTest(RED, {
    type: TYPE,
    secrets: ELASTICSEARCH_SECRETS,
    placeOf: elasticsearchPlace,
    test: (config, credentials, resolve, signal) => {
      const isFixed = textOf(config, "indexType", "str") === "str";
      const name = resolve(textOf(config, isFixed ? "index" : "indexPrefix").trim());
      // Privileges are asked for what such a name could be.
      const index = isFixed ? name : `${name}unrouted`;
      const { settings } = checkElasticsearchSettings(config, resolve);
      const connection = elasticsearchConnection(config, settings, credentials, resolve);
      return testConnection(
        checkElasticsearchOptions({ ...elasticsearchDocuments(config, settings, resolve), connection, index }),
        signal,
      );
    },
  });
}

/** A property of the bulk line that a message may set. */
interface Extra {
  readonly field: "id" | "routing" | "pipeline";
  readonly value: TypedValue;
  readonly problemOf: (name: string) => Problem;
  /** A message without it is refused. */
  readonly isNeeded: boolean;
  /** In front of what a message gives: a pipeline can send a document elsewhere, so it is confined as the index is. */
  readonly prefix?: string;
}

/** @throws when the dialog's values do not suffice, or an expression cannot be read */
function elasticsearchExporter(RED: NodeAPI, node: Node, config: RawConfig): ExporterKind {
  const resolve = environmentOf(RED, node);
  const credentials = credentialsOf(node, resolve);
  rememberDeployed(node, config, credentials);
  const { settings, problems } = checkElasticsearchSettings(config, resolve);
  tellProblems(node, problems);
  if (hasLoginInAddress(asInFlow(RED, node, config))) node.warn(RED._("warning.secretInAddress"));

  const index = destinationName(RED, node, config, resolve, "index", "index name");
  const extras = extrasOf(RED, node, config, resolve, settings);
  const fixed = Object.fromEntries(
    extras
      .filter(({ value }) => value.kind === "fixed")
      .map(({ field, value }) => [field, nameText(value.evaluate({})) ?? ""]),
  );
  const options: ElasticsearchSettings = checkElasticsearchOptions({
    ...elasticsearchDocuments(config, settings, resolve),
    connection: elasticsearchConnection(config, settings, credentials, resolve),
    index: standingName(index),
    routing: fixed["routing"] ?? "",
    pipeline: fixed["pipeline"] ?? "",
  });
  // A fixed name is not kept with the record: whoever mends it in the dialog means the records that wait as well.
  const isNamed = index.value.kind !== "fixed";
  const perMessage = extras.filter(({ value }) => value.kind !== "fixed");
  const values = [...(isNamed ? [index.value] : []), ...perMessage.map(({ value }) => value)];
  const routings = new RoutingCache();

  const fieldsOf = (given: readonly unknown[]): Record<string, string> => {
    const fields: Record<string, string> = {};
    if (isNamed) {
      fields["index"] = nameFrom(given[0], index, (name) =>
        indexProblem(resolveIndexName(name, options.dateSuffix, ANY_TIME_MS)),
      );
    }
    const first = isNamed ? 1 : 0;
    for (const [i, extra] of perMessage.entries()) {
      const text = extraFrom(given[first + i], extra);
      if (text !== undefined) fields[extra.field] = text;
    }
    return fields;
  };
  return {
    target: () => new ElasticsearchTarget(options, { onWarning: (message) => node.warn(message) }),
    routesLater: values.some(({ kind }) => kind === "later"),
    routingOf: (message: NodeMessage) => {
      const found = evaluateAll(values, message);
      if (found instanceof Promise) return found.then((given) => routings.with(fieldsOf(given), message));
      return routings.with(fieldsOf(found), message);
    },
    warning: options.connection.tls.verify ? "" : RED._("warning.unverified"),
  };
}

function extrasOf(
  RED: NodeAPI,
  node: Node,
  config: RawConfig,
  resolve: Resolve,
  settings: { readonly op: string; readonly id: string },
): Extra[] {
  const valueOf = (name: string): TypedValue | undefined => {
    const type = textOf(config, `${name}Type`, "str");
    const typed = textOf(config, name).trim();
    if (typed === "") return undefined;
    return typedValue(RED, node, type === "str" ? resolve(typed) : typed, type);
  };
  const pipeline = valueOf("pipeline");
  const prefix = pipeline?.kind === "fixed" ? "" : resolve(textOf(config, "pipelinePrefix").trim());
  if (
    pipeline !== undefined &&
    pipeline.kind !== "fixed" &&
    prefix === "" &&
    !switchOf(config, "anyDestination", false)
  ) {
    throw new NodeError("no-destination", "The pipeline comes from messages and needs a fixed prefix.");
  }
  const changesOne = settings.op === "update" || settings.op === "upsert";
  const wanted = [
    {
      field: "id",
      value: settings.id === "message" ? valueOf("docId") : undefined,
      problemOf: idProblem,
      isNeeded: changesOne,
    },
    { field: "routing", value: valueOf("routing"), problemOf: routingProblem, isNeeded: false },
    { field: "pipeline", value: pipeline, problemOf: pipelineProblem, isNeeded: false, prefix },
  ] as const;
  if (settings.id === "message" && wanted[0].value === undefined) {
    throw new NodeError("no-destination", RED._("error.docIdMissing"));
  }
  if (wanted[0].value?.kind === "fixed") throw new NodeError("no-destination", RED._("error.docIdFixed"));
  return wanted.flatMap(({ value, ...rest }) => (value === undefined ? [] : [{ value, ...rest }]));
}

/** @throws {NodeError} when it may not be used, or is needed and missing */
function extraFrom(given: unknown, { field, problemOf, isNeeded, prefix = "" }: Extra): string | undefined {
  const text = nameText(given);
  if (text === undefined || text === "") {
    if (given === undefined || given === null || given === "") {
      if (!isNeeded) return undefined;
      throw new NodeError("no-destination", `The ${field} of the document to change is missing in the message.`);
    }
    throw new NodeError("no-destination", `The ${field} must be a text or a number.`);
  }
  const problem = problemOf(prefix + text);
  if (problem !== undefined) throw new NodeError("no-destination", `The ${field} ${problem}.`);
  return prefix + text;
}
