/** The exporters that come with the package. Their options are those of the nodes, under the same names. */
import {
  checkElasticsearchOptions,
  type ElasticsearchOptions,
  type ElasticsearchSettings,
} from "../targets/elasticsearch/options.js";
import { ElasticsearchTarget } from "../targets/elasticsearch/target.js";
import { checkOptions, type FileTargetOptions } from "../targets/file/options.js";
import { FileTarget } from "../targets/file/target.js";
import { checkMongoOptions, type MongoConnectionOptions, type MongoOptions } from "../targets/mongodb/options.js";
import { MongoTarget } from "../targets/mongodb/target.js";
import type { Target } from "../targets/target.js";
import { Exporter } from "./exporter.js";
import { type CommonOptions, targetPart } from "./options.js";

export type FileExporterOptions = FileTargetOptions & CommonOptions;

/** Each record becomes a line of a file. */
export class FileExporter extends Exporter {
  readonly #options: FileTargetOptions;

  /** @throws {TargetConfigError | OptionError} when an option cannot be used */
  constructor(options: FileExporterOptions) {
    super(`file ${options.file ?? options.root ?? ""}`, options);
    checkOptions(options);
    this.#options = options;
  }

  protected override createTarget(): Target {
    return new FileTarget(this.#options);
  }
}

export type MongoDBExporterOptions = Partial<Omit<MongoOptions, "connection">> & {
  readonly connection?: Partial<MongoConnectionOptions>;
} & CommonOptions;

/** Each record becomes a document of a MongoDB collection. The driver is loaded at first use. */
export class MongoDBExporter extends Exporter {
  readonly #options: MongoOptions;

  /** @throws {MongoOptionsError | OptionError} when an option cannot be used */
  constructor(options: MongoDBExporterOptions) {
    super(`mongodb ${options.database ?? ""}.${options.collection ?? ""}`, options);
    this.#options = checkMongoOptions(targetPart(options));
  }

  protected override createTarget(): Target {
    return new MongoTarget(this.#options);
  }
}

export type ElasticsearchExporterOptions = ElasticsearchOptions & CommonOptions;

/** Each record becomes a document of an Elasticsearch index or data stream. The client is loaded at first use. */
export class ElasticsearchExporter extends Exporter {
  readonly #settings: ElasticsearchSettings;

  /** @throws {ElasticsearchOptionsError | OptionError} when an option cannot be used */
  constructor(options: ElasticsearchExporterOptions) {
    super(`elasticsearch ${options.index}`, options);
    this.#settings = checkElasticsearchOptions(targetPart(options));
  }

  protected override createTarget(): Target {
    return new ElasticsearchTarget(this.#settings);
  }
}
