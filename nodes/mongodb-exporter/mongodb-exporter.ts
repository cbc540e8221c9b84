/**
 * `resilient-mongodb`: each record becomes a document. How it gets there once is the engine's MongoDB target.
 */
import type { Node, NodeAPI, NodeDef } from "node-red";
import { collectionProblem, databaseProblem } from "../../src/names.js";
import { checkMongoOptions } from "../../src/targets/mongodb/options.js";
import { MongoTarget } from "../../src/targets/mongodb/target.js";
import { testConnection } from "../../src/targets/mongodb/test-connection.js";
import { asInFlow } from "../shared/as-in-flow.js";
import { becomeExporter } from "../shared/become-exporter.js";
import { type RawConfig, textOf } from "../shared/config.js";
import { credentialsOf, rememberDeployed, serveConnectionTest } from "../shared/connection-test.js";
import { destinationName, evaluateAll, nameFrom, standingName } from "../shared/destination-name.js";
import { type Resolve, environmentOf } from "../shared/environment.js";
import type { ExporterKind } from "../shared/exporter-node.js";
import { RoutingCache } from "../shared/routing-cache.js";
import { tellProblems } from "../shared/setup.js";
import {
  MONGO_SECRETS,
  checkMongoSettings,
  hasSecretInUri,
  isUnverified,
  mongoConnection,
  mongoDocuments,
  mongoPlace,
} from "./mongodb-settings.js";

const TYPE = "resilient-mongodb";

export default function register(RED: NodeAPI): void {
  function ResilientMongodb(this: Node, config: NodeDef): void {
    RED.nodes.createNode(this, config);
    becomeExporter(RED, this, config, () => mongoExporter(RED, this, config as unknown as RawConfig));
  }

  RED.nodes.registerType(TYPE, ResilientMongodb, {
    credentials: {
      user: { type: "text" },
      password: { type: "password" },
      key: { type: "password" },
      passphrase: { type: "password" },
    },
  });

  serveConnectionTest(RED, {
    type: TYPE,
    secrets: MONGO_SECRETS,
    placeOf: mongoPlace,
    async test(config, credentials, resolve, signal) {
      const { settings } = checkMongoSettings(config, resolve);
      const connection = mongoConnection(config, settings, credentials, resolve);
      const [database, collection] = ["database", "collection"].map((field) => fixedName(config, field, resolve));
      const place = database === undefined || collection === undefined ? undefined : { database, collection };
      const { ok, message, details } = await testConnection(connection, signal, place);
      return { ok, messages: [message, ...details] };
    },
  });
}

/** @throws when the dialog's values do not suffice, or an expression cannot be read */
function mongoExporter(RED: NodeAPI, node: Node, config: RawConfig): ExporterKind {
  const resolve = environmentOf(RED, node);
  const credentials = credentialsOf(node, resolve);
  rememberDeployed(node, config, credentials);
  const { settings, problems } = checkMongoSettings(config, resolve);
  tellProblems(node, problems);
  const connection = mongoConnection(config, settings, credentials, resolve);
  if (hasSecretInUri(asInFlow(RED, node, config))) node.warn(RED._("warning.secretInAddress"));

  const database = destinationName(RED, node, config, resolve, "database", "database name");
  const collection = destinationName(RED, node, config, resolve, "collection", "collection name");
  const options = checkMongoOptions({
    ...mongoDocuments(settings),
    connection,
    database: standingName(database),
    collection: standingName(collection),
  });
  // A fixed name is not kept with the record: whoever mends it in the dialog means the records that wait as well.
  const fromMessages = [database, collection].filter(({ value }) => value.kind !== "fixed");
  const values = fromMessages.map(({ value }) => value);
  const namesIn = (given: readonly unknown[]): Record<string, string> => {
    const names: Record<string, string> = {};
    for (const [i, name] of fromMessages.entries()) {
      if (name === database) names["database"] = nameFrom(given[i], name, databaseProblem);
      else {
        const within = names["database"] ?? options.database;
        names["collection"] = nameFrom(given[i], name, (text) => collectionProblem(within, text));
      }
    }
    return names;
  };
  const routings = new RoutingCache();
  return {
    target: () => new MongoTarget(options),
    routesLater: values.some(({ kind }) => kind === "later"),
    routingOf: (message) => {
      const found = evaluateAll(values, message);
      if (found instanceof Promise) return found.then((given) => routings.with(namesIn(given), message));
      return routings.with(namesIn(found), message);
    },
    warning: isUnverified(connection) ? RED._("warning.unverified") : "",
  };
}

/** The name that a dialog holds; undefined when it is none yet, or comes from messages. */
function fixedName(config: RawConfig, field: string, resolve: Resolve): string | undefined {
  if (textOf(config, `${field}Type`, "str") !== "str") return undefined;
  const name = resolve(textOf(config, field).trim());
  return name === "" ? undefined : name;
}
